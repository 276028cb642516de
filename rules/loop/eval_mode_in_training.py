"""LOP009: a model goes on training in eval mode after an evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Confidence, Evidence, Finding, Related, Severity
from convlint.predictions import Prediction
from convlint.program.facts import EventKind
from convlint.rules import Rule
from convlint.rules.patterns import edits, statement_edits
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.modes import (
    MODE_EVENTS,
    leaves_eval,
    mode_sensitive_layers,
    sets_mode,
    trained_in,
    trains_before_train_mode,
)
from convlint.rules.patterns.ownership import is_managed, name_of, object_of, submodules
from convlint.rules.patterns.paths import occurrences, paths
from convlint.rules.patterns.places import place_to_location
from convlint.rules.patterns.training_loops import training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.gpu_probes.observations import ModeUse, Observations
    from convlint.program.facts import Loop, TrainingProgram
    from convlint.rules import Changes
    from convlint.rules.patterns.paths import Occurrence, Path

EVAL_FORWARDS = 2
"""Forwards whose loss was back-propagated, in eval mode. An evaluation is not back-propagated, so a
healthy run has none; two rule out a single trial pass."""
_DELIBERATE = ("freeze", "frozen")
"""Words in a test that say eval mode during training is meant: frozen batch normalisation."""


class EvalModeInTraining(Rule):
    """A model goes on training in eval mode.

    ## What it does
    Reports a `model.eval()` inside the epoch or batch loop after which training goes on with no
    `model.train()` in between, callees included.

    ## Why it hurts
    From the first evaluation on, dropout is off and batch normalisation uses its running
    statistics without updating them. The regularisation that was asked for is gone, and the loss
    moves for a reason nobody sees.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        val_loader = DataLoader(data, batch_size=32)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model.train()
        for epoch in range(10):
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

    ## Use instead
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        val_loader = DataLoader(data, batch_size=32)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
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

    ## When it is fine
    A `train()` at the top of the loop, an evaluation that restores the mode, an evaluation after
    the last epoch, batch normalisation frozen on purpose, a model some of whose parameters are
    frozen (a probe on pretrained features), another model than the one trained: none is reported. A model without dropout or batch normalisation gets an `info`.

    ## Measured
    `convlint probe` counts in how many back-propagated forwards each mode-sensitive module was in
    eval mode. An evaluation later than the observed steps is beyond its sight.

    ## References
    - PyTorch documentation, `torch.nn.Module.eval`
    - PyTorch documentation, "Autograd mechanics", section on evaluation mode
    """

    code = "LOP009"
    slug = "eval-mode-in-training"
    prediction = Prediction("eval share", "above", 0.0)
    severity = Severity.ERROR
    fix = Applicability.UNSAFE
    confidence = Confidence.MEDIUM
    measurements = ("modes",)
    unmeasured_because = "the probe saw no evaluation within its steps"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report eval calls from which training resumes without a train call."""
        places: set[Location] = set()
        for loop in training_loops(program):
            if is_managed(program, loop):
                continue
            for model in trained_in(program, loop):
                if _is_partly_frozen(program, model):
                    continue
                for around in reversed(loop.nest):
                    hit = _training_in_eval(program, around, model)
                    if hit is None:
                        continue
                    if one_per_place(places, hit[0].event.location):
                        yield self._finding(program, around, model, *hit)
                    break

    def _finding(
        self,
        program: TrainingProgram,
        loop: Loop,
        model: int,
        switch: Occurrence,
        backward: Occurrence,
    ) -> Finding:
        name = name_of(object_of(program, model), "the model")
        sensitive = mode_sensitive_layers(program, model)
        severity = {True: Severity.ERROR, None: Severity.WARNING, False: Severity.INFO}[sensitive]
        harm = (
            "it has no layer that eval mode changes, so this is harmless until one is added"
            if sensitive is False
            else "dropout stays off and batch statistics stay frozen"
        )
        return self.finding(
            switch.event.location,
            f"`{name}` is put in eval mode here and trained again with no `train()` in between: "
            f"{harm}",
            help=f"call `{name}.train()` at the top of the loop that trains it",
            severity=severity,
            related=(Related(backward.event.location, "trained here in eval mode"),),
            fix=self.repair(
                "switch to training mode at the start of each iteration that trains",
                _switched_back(program, loop, switch),
            ),
        )

    def measured(self, seen: Observations) -> Iterator[Finding]:
        """Report trainable mode-sensitive modules that were in eval mode while trained."""
        modes = _judged(seen)
        in_eval = [mode for mode in modes if mode.eval_share * mode.forwards >= EVAL_FORWARDS]
        if not in_eval or _freezes_batch_statistics(in_eval, modes):
            return
        worst = max(in_eval, key=lambda mode: mode.eval_share)
        yield self.finding(
            place_to_location(worst.place, seen),
            f"{worst.module} ({worst.cls}) was in eval mode in {worst.eval_share:.0%} of "
            f"{worst.forwards} back-propagated forwards, as were {len(in_eval)} of {len(modes)} "
            "modules with a mode",
            help="call `model.train()` before the training steps",
            evidence=(
                Evidence(
                    source="measured",
                    statement=f"share of training forwards in eval mode, {worst.module}",
                    quantity="eval share",
                    value=worst.eval_share,
                    expected="0",
                ),
            ),
        )

    def reading(self, seen: Observations) -> str | None:
        """How often mode-sensitive modules trained in eval mode, when an evaluation was seen."""
        modes = _judged(seen)
        if not modes or seen.stopped != "finished":
            # A healthy start does not refute a switch that comes with the first evaluation.
            return None
        worst = max(modes, key=lambda mode: mode.eval_share)
        return (
            f"{worst.module} ({worst.cls}) was in eval mode in {worst.eval_share:.0%} of "
            f"{worst.forwards} back-propagated forwards, up to the end of the script"
        )


def _judged(seen: Observations) -> list[ModeUse]:
    return [mode for mode in seen.modes if mode.trainable and mode.forwards > 0]


def _freezes_batch_statistics(in_eval: list[ModeUse], modes: list[ModeUse]) -> bool:
    """Whether batch normalisation alone was in eval mode, all along, beside modules in train mode.

    That is how its statistics are frozen on purpose.
    """
    return len(in_eval) < len(modes) and all(
        mode.eval_share == 1.0 and "BatchNorm" in mode.cls for mode in in_eval
    )


def _is_partly_frozen(program: TrainingProgram, model: int) -> bool:
    """Whether gradients were switched off for some of its parameters.

    A probe on frozen features runs its backbone in eval mode on purpose, batch statistics included.
    """
    parts = submodules(program, (model,))
    return any(
        switch.trainable is False and not parts.isdisjoint(switch.modules)
        for switch in program.switches
    )


def _training_in_eval(
    program: TrainingProgram, loop: Loop, model: int
) -> tuple[Occurrence, Occurrence] | None:
    """An eval call in ``loop`` and the backward that follows it in eval mode, or None."""
    if _train_call_out_of_sight(program, loop, model):
        return None
    found = paths(loop.body, MODE_EVENTS)
    if found is None:
        return None
    for path in found:
        hit = _within(program, path, model) or _in_next_iteration(program, path, found, model)
        if hit is not None:
            return hit
    return None


def _within(
    program: TrainingProgram, path: Path, model: int
) -> tuple[Occurrence, Occurrence] | None:
    """Eval, forward and backward in one iteration, under tests that do not exclude each other."""
    for index, switch in enumerate(path.occurrences):
        if not _switches(program, switch, model):
            continue
        backward = trains_before_train_mode(program, path.occurrences[index + 1 :], model)
        if backward is None:
            continue
        # A test on a setting (`if training: ... else: model.eval()`) may exclude the backward by
        # a rule we cannot see; a test on the iteration cannot.
        settings = {c for c in switch.conditions if not c.modulo}
        if settings <= set(backward.conditions):
            return switch, backward
    return None


def _in_next_iteration(
    program: TrainingProgram, path: Path, following: list[Path], model: int
) -> tuple[Occurrence, Occurrence] | None:
    """Eval after training in one iteration, training without a train call in a later one."""
    if not any(o.kind is EventKind.BACKWARD for o in path.occurrences):
        return None
    switch = leaves_eval(program, path.occurrences, model)
    if switch is None or not _switches(program, switch, model) or switch.last_iteration:
        return None
    for later in following:
        if path.compatible(later):
            backward = trains_before_train_mode(program, later.occurrences, model)
            if backward is not None:
                return switch, backward
    return None


def _switches(program: TrainingProgram, occurrence: Occurrence, model: int) -> bool:
    if occurrence.kind is not EventKind.EVAL_MODE or not sets_mode(program, occurrence, model):
        return False
    return not any(
        word in condition.text.lower()
        for condition in occurrence.conditions
        for word in _DELIBERATE
    )


def _train_call_out_of_sight(program: TrainingProgram, loop: Loop, model: int) -> bool:
    """Whether a call that could not be read got the model and may have called ``train()``."""
    parts = submodules(program, (model,))
    calls = [o.event for o in occurrences(loop.body) if o.kind is EventKind.UNKNOWN_CALL]
    if loop.incomplete and not calls:
        return True
    return any(parts & {*call.escapes, call.target} for call in calls)


def _switched_back(program: TrainingProgram, loop: Loop, switch: Occurrence) -> Changes:
    """Call ``train()`` at the top of the loop from one iteration of which the next is trained in
    eval mode."""
    name = edits.receiver_of(program, switch.event.location)
    statement = statement_edits.statement_at(program, switch.event.location)
    outer = statement_edits.compound_at(program, loop.location)
    if statement is None or name is None or outer is None or outer not in statement.around():
        return None
    if outer.function != statement.function:
        return None
    return statement_edits.insert_at_start(program, outer, f"{name}.train()")
