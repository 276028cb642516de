"""LOP033: the clipped parameters are not those the optimizer updates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Finding, Severity
from convlint.program.facts import EventKind, ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns import edits, statement_edits
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.layers import canonical, is_recurrent, is_weight_layer
from convlint.rules.patterns.ownership import (
    Match,
    acts_on,
    name_of,
    object_of,
    sole_optimizer,
    submodules,
)
from convlint.rules.patterns.training_loops import training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import Event, TrainingProgram
    from convlint.rules import Changes
    from convlint.rules.patterns.paths import Occurrence

MOST = 0.5
"""Share of the updated layers: below it the clip may be meant for the part that needs it."""


class ClipOtherParameters(Rule):
    """Clipping concerns other parameters than the optimizer updates.

    ## What it does
    Reports clipping whose parameters have nothing in common with those of the loop's only
    optimizer, or leave out most of its layers.

    ## Why it hurts
    The gradients that drive the step stay as large as they are. The call looks like a safeguard
    and is none.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        encoder = nn.Linear(8, 8)
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(encoder(x)), y)
                loss.backward()
                nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
                optimizer.step()

    ## Use instead
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()

    ## When it is fine
    Several clips that together cover the optimizer, a clip of the recurrent part alone, parameters
    that cannot be resolved, several optimizers: none is reported.

    ## Measured
    Not measured on its own: unclipped spikes show as `gradient-spikes`.

    ## References
    - PyTorch documentation, `torch.nn.utils.clip_grad_norm_`
    """

    code = "LOP033"
    slug = "clip-other-parameters"
    severity = Severity.WARNING
    fix = Applicability.UNSAFE

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report loops all of whose clips miss the parameters of the optimizer."""
        places: set[Location] = set()
        for loop in training_loops(program):
            clips = loop.of_kind(EventKind.CLIP)
            for optimizer in loop.optimizers:
                if not clips or not sole_optimizer(loop, optimizer):
                    continue
                name = name_of(object_of(program, optimizer), "the optimizer")
                if all(acts_on(program, o.event, optimizer) is Match.NO for o in clips):
                    message = f"the clipped parameters are none of those `{name}` updates"
                elif missed := _missed(program, clips, optimizer):
                    message = f"the clipped parameters leave out {missed} that `{name}` updates"
                else:
                    continue
                if one_per_place(places, clips[0].event.location):
                    yield self.finding(
                        clips[0].event.location,
                        message,
                        help=f"clip the parameters that were given to `{name}`",
                        fix=self.repair(
                            f"clip the parameters that were given to `{name}`",
                            _clip_those_of(program, clips[0].event, optimizer),
                        ),
                    )


def _missed(program: TrainingProgram, clips: list[Occurrence], optimizer: int) -> str:
    """How much of what the optimizer updates no clip concerns, in words: empty unless it is most.

    Clipping a recurrent part alone is a choice: the rest has no need of it.
    """
    owner = object_of(program, optimizer)
    if owner is None or not owner.parameters_of:
        return ""
    clipped: set[int] = set()
    for clip in clips:
        if not clip.event.over or clip.conditional:
            return ""
        clipped |= submodules(program, clip.event.over)
    updated = submodules(program, owner.parameters_of)
    layers = [
        item
        for item in program.objects
        if item.id in updated and item.kind in (ObjectKind.LAYER, ObjectKind.MODEL)
    ]
    if any(is_recurrent(canonical(item.cls)) for item in layers if item.id in clipped):
        return ""
    if any(item.kind is ObjectKind.MODEL and not item.complete for item in layers):
        return ""
    weights = [item for item in layers if is_weight_layer(canonical(item.cls))]
    missed = [item for item in weights if item.id not in clipped]
    if len(missed) == len(weights) or len(missed) <= MOST * len(weights):
        return ""
    return f"{len(missed)} of the {len(weights)} layers"


def _clip_those_of(program: TrainingProgram, clip: Event, optimizer: int) -> Changes:
    """Clip ``model.parameters()`` when that is what the optimizer was given, by the same name."""
    owner = object_of(program, optimizer)
    call = edits.call_at(program, clip.location)
    layout = program.layout(clip.location)
    if owner is None or call is None or layout is None or owner.location.path != layout.path:
        return None
    made = edits.call_at(program, owner.location)
    given = None if made is None else made.argument("params", 0)
    parameters = layout.call(given.value) if given is not None else None
    if parameters is None or parameters.method != "parameters" or parameters.arguments:
        return None
    clipped = call.argument("parameters", 0)
    statement = statement_edits.statement_at(program, owner.location)
    in_scope = statement is not None and (
        statement.function is None
        or statement_edits.same_function(program, owner.location, clip.location)
    )
    if clipped is None or not in_scope or not layout.is_path_of_names(parameters.receiver_text):
        return None
    return edits.replace(clipped.value, layout.text(parameters.place))
