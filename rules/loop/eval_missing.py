"""LOP010: a model is evaluated in training mode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Confidence, Finding, Severity
from convlint.program.facts import EventKind
from convlint.rules import Rule
from convlint.rules.patterns.datasets import is_evaluating
from convlint.rules.patterns.flows import objects_by_id, one_per_place
from convlint.rules.patterns.modes import MODE_EVENTS, mode_sensitive_layers, sets_mode
from convlint.rules.patterns.ownership import name_of, object_of
from convlint.rules.patterns.paths import loops_in, occurrences, paths

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram
    from convlint.rules.patterns.paths import Occurrence, Path


class EvalMissing(Rule):
    """A model is evaluated in training mode.

    ## What it does
    Reports a loop over a validation or test loader that runs a model with dropout or batch
    normalisation under `no_grad` while the model is still in training mode.

    ## Why it hurts
    Dropout makes the score noisier and worse than the model is, and batch normalisation lets
    the evaluation data change the running statistics. Models and epochs are then chosen by a
    wrong number.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        val_loader = DataLoader(data, batch_size=32)
        for epoch in range(10):
            model.train()
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
            correct = 0
            with torch.no_grad():
                for x, y in val_loader:
                    correct += (model(x).argmax(1) == y).sum().item()
            print(epoch, correct)

    ## Use instead
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        val_loader = DataLoader(data, batch_size=32)
        for epoch in range(10):
            model.train()
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
            model.eval()
            correct = 0
            with torch.no_grad():
                for x, y in val_loader:
                    correct += (model(x).argmax(1) == y).sum().item()
            print(epoch, correct)

    ## When it is fine
    Models without such layers, loaders that are not known to be for evaluation, models handed
    to code that cannot be read: none is reported.

    ## Measured
    Not measured: a probe rarely reaches the first evaluation.

    ## References
    - PyTorch documentation, `torch.nn.Module.eval`
    - Amazon CodeGuru detector library, missing `eval()`
    """

    code = "LOP010"
    slug = "eval-missing"
    severity = Severity.WARNING
    confidence = Confidence.MEDIUM

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report the first forward of an evaluation that runs in training mode."""
        objects = objects_by_id(program)
        places: set[Location] = set()
        for entry in program.entries:
            evaluating = {
                loop.id
                for loop in loops_in(entry.body)
                if loop.over.object is not None
                and (loader := objects.get(loop.over.object)) is not None
                and is_evaluating(objects, loader)
                and not any(o.kind is EventKind.BACKWARD for o in occurrences(loop.body))
            }
            if not evaluating or program.managed:
                continue
            for path in paths(entry.body, _EVENTS) or ():
                forward = _in_training_mode(program, path, evaluating)
                if forward is not None and one_per_place(places, forward.event.location):
                    name = name_of(object_of(program, forward.event.target), "the model")
                    yield self.finding(
                        forward.event.location,
                        f"`{name}` is evaluated here in training mode: dropout is active and batch "
                        "statistics are those of the evaluation batches",
                        help=f"call `{name}.eval()` before and `{name}.train()` after the evaluation",
                    )


_EVENTS = MODE_EVENTS | {EventKind.UNKNOWN_CALL}


def _in_training_mode(
    program: TrainingProgram, path: Path, evaluating: set[int]
) -> Occurrence | None:
    """A forward without gradient in an evaluating loop, of a model trained before it on the path
    and never put in eval mode."""
    trained: set[int] = set()
    pending: set[int] = set()
    settled: list[Occurrence] = []
    for occurrence in path.occurrences:
        event = occurrence.event
        if occurrence.kind is EventKind.UNKNOWN_CALL and (event.escapes or event.target):
            return None
        if occurrence.kind is EventKind.EVAL_MODE:
            settled.append(occurrence)
        elif occurrence.kind is EventKind.BACKWARD:
            trained |= pending
        elif occurrence.kind is EventKind.FORWARD and event.target is not None:
            if "no_grad" not in event.context:
                pending.add(event.target)
            elif (
                event.target in trained
                and evaluating & set(occurrence.loops)
                and not any(sets_mode(program, s, event.target) for s in settled)
                and mode_sensitive_layers(program, event.target)
            ):
                return occurrence
    return None
