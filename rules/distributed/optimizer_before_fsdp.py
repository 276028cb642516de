"""DST004: an optimizer that holds parameters which no longer exist."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Confidence, Evidence, Finding, Related, Severity
from convlint.program.facts import ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns import statement_edits
from convlint.rules.patterns.flows import (
    objects_by_id,
    one_per_place,
)
from convlint.rules.patterns.replicas import (
    SHARDED,
    wrapped,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import (
        Call,
        Object,
        TrainingProgram,
    )


class OptimizerBeforeFsdp(Rule):
    """The optimizer was built before the model was sharded.

    ## What it does
    Reports an optimizer over the parameters of a module that `FullyShardedDataParallel` wraps
    later.

    ## Why it hurts
    Wrapping replaces the parameters by flat shards. The optimizer keeps the old tensors, which no
    gradient reaches any more: its steps change nothing.

    ## Example
        import torch
        from torch import nn
        from torch.distributed.fsdp import FullyShardedDataParallel as FSDP

        model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8))
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        model = FSDP(model)

    ## Use instead
        import torch
        from torch import nn
        from torch.distributed.fsdp import FullyShardedDataParallel as FSDP

        model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8))
        model = FSDP(model)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    ## When it is fine
    `use_orig_params=True`, and `fully_shard`, which keep the parameters.

    ## Measured
    Not measured.

    ## References
    - PyTorch, `FullyShardedDataParallel`: the optimizer must be initialized after the module is
      wrapped
    """

    code, slug, severity = "DST004", "optimizer-before-fsdp", Severity.ERROR
    fix = Applicability.UNSAFE
    confidence = Confidence.MEDIUM
    unmeasured_because = "one process cannot see what the others do"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per optimizer."""
        objects = objects_by_id(program)
        built: list[tuple[Call, Object]] = []
        reported: set[Location] = set()
        for call in program.calls:
            made = objects.get(-1 if call.result.object is None else call.result.object)
            if (
                made is not None
                and made.kind is ObjectKind.OPTIMIZER
                and made.location == call.location
            ):
                built.append((call, made))
            original = call.args.get("use_orig_params")
            if call.name not in SHARDED or (
                original is not None and original.constant is not False
            ):
                continue
            for earlier, optimizer in built:
                held = set(optimizer.parameters_of or ())
                if (
                    wrapped(call) not in held
                    or earlier.within != call.within
                    or earlier.conditions != call.conditions
                ):
                    continue
                if one_per_place(reported, optimizer.location):
                    yield self.finding(
                        optimizer.location,
                        "this optimizer holds the parameters from before sharding; its steps change "
                        "nothing",
                        help="build it after wrapping, or pass `use_orig_params=True`",
                        related=(Related(call.location, "the model is sharded here"),),
                        fix=self.repair(
                            "build the optimizer after wrapping",
                            statement_edits.move_later(program, optimizer.location, call.location),
                        ),
                        evidence=(Evidence("static", "optimizer built, then FSDP(model)"),),
                    )
