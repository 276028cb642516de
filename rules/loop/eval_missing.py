"""LOP010: a model is evaluated in training mode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Confidence, Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits, statement_edits
from convlint.rules.patterns.evaluations import evaluated_in_training_mode
from convlint.rules.patterns.ownership import name_of, object_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram
    from convlint.rules import Changes


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
    fix = Applicability.UNSAFE
    confidence = Confidence.MEDIUM

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report the first forward of an evaluation that runs in training mode."""
        for evaluated in evaluated_in_training_mode(program):
            if evaluated.beside is not None:
                continue  # partial-eval says which model was forgotten
            name = name_of(object_of(program, evaluated.forward.target), "the model")
            yield self.finding(
                evaluated.forward.location,
                f"`{name}` is evaluated here in training mode: dropout is active and batch "
                "statistics are those of the evaluation batches",
                help=f"call `{name}.eval()` before and `{name}.train()` after the evaluation",
                fix=self.repair(
                    "evaluate in eval mode, then switch back",
                    _in_eval_mode(program, evaluated.forward.location),
                ),
            )


def _in_eval_mode(program: TrainingProgram, forward: Location) -> Changes:
    """Set the modes before and after the loop around the forward."""
    call = edits.call_at(program, forward)
    layout = program.layout(forward)
    statement = statement_edits.statement_at(program, forward)
    if call is None or layout is None or statement is None:
        return None
    loop = next((s for s in statement.around() if s.kind in ("For", "While")), None)
    if loop is None or loop.function != statement.function:
        return None
    if not layout.is_path_of_names(call.callee_text):
        return None
    if statement_edits.made_in_loop(program, loop.place, call.callee_text):
        return None
    if call.callee_text.partition(".")[0] in loop.loop_names:
        return None
    before = statement_edits.insert_before(loop, f"{call.callee_text}.eval()")
    after = statement_edits.insert_after(program, loop, f"{call.callee_text}.train()")
    return None if before is None or after is None else (*before, *after)
