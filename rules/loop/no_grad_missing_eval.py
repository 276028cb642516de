"""LOP013: an evaluation builds graphs nobody uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Finding, Severity
from convlint.program.facts import EventKind
from convlint.rules import Rule
from convlint.rules.patterns import edits, statement_edits
from convlint.rules.patterns.datasets import is_evaluating
from convlint.rules.patterns.flows import objects_by_id, one_per_place
from convlint.rules.patterns.modes import MODE_EVENTS, sets_mode
from convlint.rules.patterns.paths import occurrences, paths
from convlint.rules.patterns.training_loops import all_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram
    from convlint.rules import Changes
    from convlint.rules.patterns.paths import Occurrence, Path


class NoGradMissingEval(Rule):
    """An evaluation runs with gradients switched on.

    ## What it does
    Reports a loop over a validation or test loader that runs a model outside of `no_grad` and
    back-propagates nothing, and a model that was trained, is put in eval mode and then runs
    outside of `no_grad` with no backward after it.

    ## Why it hurts
    Every activation is kept until the output is released: evaluation needs several times the
    memory and is slower. The result is the same.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        val_loader = DataLoader(data, batch_size=32)
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
            for x, y in val_loader:
                print((model(x).argmax(1) == y).sum())

    ## Use instead
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        val_loader = DataLoader(data, batch_size=32)
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
            with torch.no_grad():
                for x, y in val_loader:
                    print((model(x).argmax(1) == y).sum())

    ## When it is fine
    It costs memory and no quality, which is why the rule has to be selected.

    ## Measured
    Not measured: the fault is in the text, whatever a short run shows.

    ## References
    - PyTorch documentation, `torch.no_grad`
    """

    code = "LOP013"
    slug = "no-grad-missing-eval"
    severity = Severity.INFO
    fix = Applicability.UNSAFE
    default = False

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report the first forward of each such evaluation."""
        places: set[Location] = set()
        for forward in (*_in_eval_loops(program), *_in_eval_mode(program)):
            if one_per_place(places, forward.event.location):
                yield self.finding(
                    forward.event.location,
                    "this evaluation builds a graph for every batch and never uses it",
                    help="evaluate under `torch.no_grad()` or `torch.inference_mode()`",
                    fix=self.repair(
                        "evaluate without gradients", _without_gradients(program, forward)
                    ),
                )


def _in_eval_loops(program: TrainingProgram) -> Iterator[Occurrence]:
    """The first forward of each loop over a loader for evaluation, when it records a graph."""
    objects = objects_by_id(program)
    for _, nest in all_loops(program):
        loader = objects.get(-1 if nest[-1].over.object is None else nest[-1].over.object)
        if loader is None or not is_evaluating(objects, loader):
            continue
        inside = list(occurrences(nest[-1].body))
        if any(o.kind in (EventKind.BACKWARD, EventKind.GRAD_WRITE) for o in inside):
            continue
        forward = next((o for o in inside if o.kind is EventKind.FORWARD), None)
        if forward is not None and "no_grad" not in forward.event.context:
            yield forward


def _in_eval_mode(program: TrainingProgram) -> Iterator[Occurrence]:
    """Forwards with a graph in eval mode, after training, that nothing is back-propagated from.

    Code that asks for gradients by name may want those of an evaluation (attacks, saliency).
    """
    if any(call.name == "torch.autograd.grad" for call in program.calls):
        return
    for entry in program.entries:
        for path in paths(entry.body, MODE_EVENTS) or ():
            forward = _evaluated_with_graph(program, path)
            if forward is not None:
                yield forward


def _evaluated_with_graph(program: TrainingProgram, path: Path) -> Occurrence | None:
    """The first such forward on a path that sets train mode and back-propagates before it."""
    events = path.occurrences
    last = max((i for i, o in enumerate(events) if o.kind is EventKind.BACKWARD), default=None)
    if last is None:
        return None
    for position in range(last + 1, len(events)):
        forward = events[position]
        model = forward.event.target
        if forward.kind is not EventKind.FORWARD or model is None:
            continue
        modes = [o for o in events[:position] if o.kind in _MODES and sets_mode(program, o, model)]
        if (
            "no_grad" not in forward.event.context
            and modes
            and modes[-1].kind is EventKind.EVAL_MODE
            and any(o.kind is EventKind.TRAIN_MODE for o in modes)
        ):
            return forward
    return None


_MODES = (EventKind.TRAIN_MODE, EventKind.EVAL_MODE)


def _without_gradients(program: TrainingProgram, forward: Occurrence) -> Changes:
    """Put the loop around the forward, or its statement, under ``no_grad``."""
    place = forward.event.location
    statement = statement_edits.statement_at(program, place)
    no_grad = edits.name_for(program, place, "torch.no_grad")
    if statement is None or no_grad is None:
        return None
    around = next((s for s in statement.around() if s.kind in ("For", "While")), statement)
    wrapped = statement_edits.wrap_in_block(program, around, f"with {no_grad[0]}():")
    return None if wrapped is None else (*wrapped, *no_grad[1])
