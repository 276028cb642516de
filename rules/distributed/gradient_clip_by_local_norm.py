"""DST009: a gradient clipped by the norm of a shard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Evidence, Finding, Related, Severity
from convlint.program.facts import EventKind
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.flows import (
    one_per_place,
)
from convlint.rules.patterns.replicas import (
    SHARDED,
    wrapped,
    wrappings,
)
from convlint.rules.patterns.training_loops import training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import (
        TrainingProgram,
    )
    from convlint.rules import Changes


class GradientClipByLocalNorm(Rule):
    """Sharded gradients are clipped by the norm of the local shard.

    ## What it does
    Reports `torch.nn.utils.clip_grad_norm_` on a model wrapped in `FullyShardedDataParallel`.

    ## Why it hurts
    Each process sees its own shard only, and divides by the norm of that: the ranks scale their
    parts of one gradient differently, and the result points elsewhere.

    ## Example
        import torch
        from torch import nn
        from torch.distributed.fsdp import FullyShardedDataParallel as FSDP

        model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8))
        model = FSDP(model)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        for x, y in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

    ## Use instead
        import torch
        from torch import nn
        from torch.distributed.fsdp import FullyShardedDataParallel as FSDP

        model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8))
        model = FSDP(model)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        for x, y in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            model.clip_grad_norm_(1.0)
            optimizer.step()

    ## When it is fine
    `fully_shard`, whose DTensors know the whole norm; `NO_SHARD`.

    ## Measured
    Not measured.

    ## References
    - PyTorch, `FullyShardedDataParallel.clip_grad_norm_`
    """

    code, slug, severity = "DST009", "gradient-clip-by-local-norm", Severity.WARNING
    fix = Applicability.UNSAFE
    unmeasured_because = "one process cannot see what the others do"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per clipping."""
        sharded = {
            wrapped(call): call
            for call in wrappings(program, SHARDED)
            if "sharding_strategy" not in call.args
        }
        reported: set[Location] = set()
        for loop in training_loops(program):
            for occurrence in loop.of_kind(EventKind.CLIP):
                event = occurrence.event
                if event.name != "torch.nn.utils.clip_grad_norm_":
                    continue
                wrapping = next((sharded[n] for n in event.over or () if n in sharded), None)
                if wrapping is not None and one_per_place(reported, event.location):
                    yield self.finding(
                        event.location,
                        "each rank clips by the norm of its own shard of the gradient",
                        help="use `model.clip_grad_norm_(max_norm)`",
                        related=(Related(wrapping.location, "the model is sharded here"),),
                        fix=self.repair(
                            "clip by the norm over all shards",
                            _over_shards(program, event.location),
                        ),
                        evidence=(Evidence("static", "clip_grad_norm_ over an FSDP model"),),
                    )


def _over_shards(program: TrainingProgram, place: Location) -> Changes:
    """``clip_grad_norm_(model.parameters(), 1.0)`` to ``model.clip_grad_norm_(1.0)``."""
    layout, call = program.layout(place), edits.call_at(program, place)
    if layout is None or call is None or len(call.arguments) < 2 or call.open_ended:
        return None
    given = call.argument("parameters", 0)
    parameters = None if given is None else layout.call(given.value)
    if parameters is None or parameters.method != "parameters" or parameters.arguments:
        return None
    rest = [a for a in call.arguments if a != given]
    if any(a.name not in (None, "max_norm", "norm_type") for a in rest):
        return None
    text = ", ".join(a.text if a.name is None else f"{a.name}={a.text}" for a in rest)
    return edits.replace(place, f"{parameters.receiver_text}.clip_grad_norm_({text})")
