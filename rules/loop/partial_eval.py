"""LOP041: of several models that are evaluated together, only some are in eval mode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Confidence, Finding, Related, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits, statement_edits
from convlint.rules.patterns.evaluations import evaluated_in_training_mode
from convlint.rules.patterns.ownership import name_of, object_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import TrainingProgram
    from convlint.rules import Changes


class PartialEval(Rule):
    """Of several models that are evaluated together, only some are in eval mode.

    ## What it does
    Reports an evaluation that runs several trained models, one of which was put in eval mode while
    another with dropout or batch normalisation was not.

    ## Why it hurts
    The model left in training mode still drops units, and its batch statistics follow the
    evaluation data. The score is noisier and worse than the models are, and looks cared for.

    ## Example
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        val_loader = DataLoader(data, batch_size=32)
        encoder = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.2))
        decoder = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 2))
        optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3)
        for epoch in range(10):
            encoder.train()
            decoder.train()
            for x, y in loader:
                optimizer.zero_grad()
                nn.functional.cross_entropy(decoder(encoder(x)), y).backward()
                optimizer.step()
            encoder.eval()
            with torch.no_grad():
                for x, y in val_loader:
                    print((decoder(encoder(x)).argmax(1) == y).float().mean().item())

    ## Use instead
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset

        data = TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
        loader = DataLoader(data, batch_size=32, shuffle=True)
        val_loader = DataLoader(data, batch_size=32)
        encoder = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.2))
        decoder = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 2))
        optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3)
        for epoch in range(10):
            for model in (encoder, decoder):
                model.train()
            for x, y in loader:
                optimizer.zero_grad()
                nn.functional.cross_entropy(decoder(encoder(x)), y).backward()
                optimizer.step()
            for model in (encoder, decoder):
                model.eval()
            with torch.no_grad():
                for x, y in val_loader:
                    print((decoder(encoder(x)).argmax(1) == y).float().mean().item())

    ## When it is fine
    Models without such layers, and models handed to code that cannot be read, are not reported.
    Where no model at all is in eval mode, `eval-missing` speaks.

    ## Measured
    Not measured: a probe rarely reaches the first evaluation.

    ## References
    - PyTorch documentation, `torch.nn.Module.eval`
    """

    code = "LOP041"
    slug = "partial-eval"
    severity = Severity.WARNING
    fix = Applicability.UNSAFE
    confidence = Confidence.MEDIUM
    unmeasured_because = "the probe rarely reaches the first evaluation"

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report the first forward of the model that was forgotten."""
        for evaluated in evaluated_in_training_mode(program):
            if evaluated.beside is None:
                continue
            name = name_of(object_of(program, evaluated.forward.target), "one of the models")
            other = name_of(object_of(program, evaluated.beside.target), "another model")
            beside = f"`{other}`" if other != name else "another of the models"
            yield self.finding(
                evaluated.forward.location,
                f"`{name}` is evaluated here in training mode, beside {beside}, which is in eval mode",
                help="put every model in eval mode: `for model in models: model.eval()`",
                related=(Related(evaluated.beside.location, "the eval call of the other model"),),
                fix=self.repair(
                    "put this model in eval mode too",
                    _beside(program, evaluated.beside.location, evaluated.forward.location),
                ),
            )


def _beside(program: TrainingProgram, switch: Location, forward: Location) -> Changes:
    call, layout = edits.call_at(program, forward), program.layout(forward)
    if call is None or layout is None or not layout.is_path_of_names(call.callee_text):
        return None
    if not statement_edits.same_function(program, switch, forward):
        return None
    if statement_edits.made_in_loop(program, forward, call.callee_text):
        return None
    statement = statement_edits.lone_call(program, switch)
    before = statement_edits.insert_after(program, statement, f"{call.callee_text}.eval()")
    if f"{call.callee_text}.train(" in layout.source:
        return before
    user = statement_edits.statement_at(program, forward)
    loops = [s for s in user.around() if s.kind in ("For", "While")] if user is not None else []
    after = statement_edits.insert_after(
        program, loops[0] if loops else None, f"{call.callee_text}.train()"
    )
    return None if before is None or after is None else (*before, *after)
