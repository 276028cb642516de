"""OPT015: a generator of parameters used twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Finding, Location, Related, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits, statement_edits
from convlint.rules.patterns.flows import one_per_place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.program.facts import Exhausted, TrainingProgram
    from convlint.program.layout import Layout
    from convlint.rules import Changes


class ExhaustedParameters(Rule):
    """A generator of parameters is used a second time, when it is empty.

    ## What it does
    Reports `model.parameters()`, a `filter` or a generator expression kept in a variable, given to
    an optimizer and then to gradient clipping or to another optimizer.

    ## Why it hurts
    The optimizer walks the generator to its end. Clipping then sees no parameters, returns a norm
    of zero and clips nothing, without an error.

    ## Example
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        params = filter(lambda p: p.requires_grad, model.parameters())
        optimizer = torch.optim.Adam(params, lr=1e-3)
        x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
        for epoch in range(20):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            nn.utils.clip_grad_norm_(params, 1.0)
            optimizer.step()

    ## Use instead
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        params = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(params, lr=1e-3)
        x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
        for epoch in range(20):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            nn.utils.clip_grad_norm_(params, 1.0)
            optimizer.step()

    ## When it is fine
    A list; a generator made anew for each use.

    ## Measured
    Not measured directly; the probe's loss series shows the consequence.

    ## References
    - Python, generators
    - PyTorch, `torch.nn.utils.clip_grad_norm_`
    """

    code, slug, severity = "OPT015", "exhausted-params", Severity.ERROR
    fix = Applicability.SAFE

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report second uses of a generator."""
        places: set[Location] = set()
        for use in program.exhausted:
            if not one_per_place(places, use.second):
                continue
            name = use.name.rpartition(".")[2]
            yield self.finding(
                use.second,
                f"{name} is given a generator that was used up before: it sees no parameters",
                help="make a list of the parameters once: list(...)",
                related=(Related(use.first, "used up here"),),
                fix=self.repair("keep the parameters in a list", _listed(program, use)),
            )


def _listed(program: TrainingProgram, use: Exhausted) -> Changes:
    """Wrap the generator in ``list(...)`` where it is assigned to the name both uses read."""
    layout = program.layout(use.first)
    first = statement_edits.statement_at(program, use.first)
    second = statement_edits.statement_at(program, use.second)
    if layout is None or first is None or second is None:
        return None
    made = [
        statement
        for statement in layout.statements_in(Location(layout.path, 1, 1, first.place.line, 1))
        if statement.kind == "Assign"
        and statement.value is not None
        and set(statement.targets) & first.reads & second.reads
        and statement.function in (None, first.function)
    ]
    if not made or not _is_generator(layout, made[-1].value):
        return None
    return edits.wrap(made[-1].value, "list(", ")")


def _is_generator(layout: Layout, place: Location | None) -> bool:
    call = layout.call(place)
    if call is None:
        return layout.is_generator(place)
    return call.callee_text in ("filter", "map", "zip") or call.method == "parameters"
