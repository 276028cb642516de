"""LOP011: a model is put in eval mode before the loop that trains it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Confidence, Finding, Related, Severity
from convlint.program.facts import EventKind
from convlint.rules import Rule
from convlint.rules.patterns import edits, statement_edits
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.modes import (
    MODE_EVENTS,
    mode_sensitive_layers,
    sets_mode,
    trained_in,
    trains_before_train_mode,
)
from convlint.rules.patterns.ownership import is_managed, name_of, object_of, submodules
from convlint.rules.patterns.paths import occurrences, paths
from convlint.rules.patterns.training_loops import training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import Entry, TrainingProgram
    from convlint.rules import Changes
    from convlint.rules.patterns.paths import Occurrence
    from convlint.rules.patterns.training_loops import TrainingLoop

_DELIBERATE = ("freeze", "frozen")


class EvalBeforeTraining(Rule):
    """A model is put in eval mode before the loop that trains it.

    ## What it does
    Reports a `model.eval()` before the training loop when no `model.train()` follows before the
    first backward.

    ## Why it hurts
    The whole run trains without dropout and with batch normalisation frozen at its initial
    statistics.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))
        model.eval()
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()

    ## Use instead
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))
        model.train()
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for epoch in range(10):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()

    ## When it is fine
    A teacher or feature extractor that is not trained, batch normalisation frozen on purpose, a
    model without dropout or batch normalisation: none is reported.

    ## Measured
    The measurement of eval-mode-in-training decides: the share of training forwards in eval mode.

    ## References
    - PyTorch documentation, `torch.nn.Module.eval`
    """

    code = "LOP011"
    slug = "eval-before-training"
    severity = Severity.WARNING
    fix = Applicability.UNSAFE
    confirmed_by = ("eval-mode-in-training",)

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report eval calls outside of all loops that are still in force at the first backward."""
        places: set[Location] = set()
        for loop in training_loops(program):
            if is_managed(program, loop):
                continue
            for model in trained_in(program, loop):
                sensitive = mode_sensitive_layers(program, model)
                if sensitive is False or _handed_on(program, loop.entry, model):
                    continue
                hit = _still_in_eval(program, loop.entry, model)
                if hit is None or not one_per_place(places, hit[0].event.location):
                    continue
                switch, backward = hit
                name = name_of(object_of(program, model), "the model")
                yield self.finding(
                    switch.event.location,
                    f"`{name}` is put in eval mode here and still is when training starts: "
                    "dropout is off and batch statistics are frozen for the whole run",
                    help=f"call `{name}.train()` before the training loop",
                    confidence=Confidence.HIGH if sensitive else Confidence.MEDIUM,
                    related=(Related(backward.event.location, "trained here in eval mode"),),
                    fix=self.repair(
                        "switch to training mode before the loop",
                        _switched_back(program, loop, switch),
                    ),
                )


def _still_in_eval(
    program: TrainingProgram, entry: Entry, model: int
) -> tuple[Occurrence, Occurrence] | None:
    for path in paths(entry.body, MODE_EVENTS) or ():
        for index, switch in enumerate(path.occurrences):
            if (
                switch.kind is not EventKind.EVAL_MODE
                or switch.loops
                or not sets_mode(program, switch, model)
                or any(w in c.text.lower() for c in switch.conditions for w in _DELIBERATE)
            ):
                continue
            backward = trains_before_train_mode(program, path.occurrences[index + 1 :], model)
            if backward is not None and set(switch.conditions) <= set(backward.conditions):
                return switch, backward
    return None


def _handed_on(program: TrainingProgram, entry: Entry, model: int) -> bool:
    """Whether a call that could not be read got the model and may have called ``train()``."""
    parts = submodules(program, (model,))
    return any(
        o.kind is EventKind.UNKNOWN_CALL and parts & {*o.event.escapes, o.event.target}
        for o in occurrences(entry.body)
    )


def _switched_back(program: TrainingProgram, loop: TrainingLoop, switch: Occurrence) -> Changes:
    """Call ``train()`` directly before the outermost training loop."""
    name = edits.receiver_of(program, switch.event.location)
    place = loop.nest[0].location
    if name is None or not statement_edits.same_function(program, place, switch.event.location):
        return None
    return statement_edits.insert_before(
        statement_edits.compound_at(program, place), f"{name}.train()"
    )
