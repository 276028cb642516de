"""NUM010: a comparison with NaN."""

from __future__ import annotations

from math import isnan
from typing import TYPE_CHECKING

from convlint.findings import Applicability, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.offsets import constant_operand

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Finding, Location
    from convlint.program.facts import Flow, TrainingProgram
    from convlint.rules import Changes


class NanCompare(Rule):
    """A value is compared with NaN, which equals nothing.

    ## What it does
    Reports `==`, `!=`, `<`, `<=`, `>` and `>=` with `float("nan")`, `math.nan`, `numpy.nan` or
    `torch.nan`.

    ## Why it hurts
    NaN is not equal to anything, not even to itself: the test is always false (`!=` always true) and the
    run goes on with broken numbers.

    ## Example
        import torch
        import torch.nn.functional as F
        from torch import nn

        model = nn.Linear(20, 10)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(64, 20)
        y = torch.randint(0, 10, (64,))
        for epoch in range(10):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            if loss == float("nan"):
                break
            loss.backward()
            optimizer.step()

    ## Use instead
        import torch
        import torch.nn.functional as F
        from torch import nn

        model = nn.Linear(20, 10)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(64, 20)
        y = torch.randint(0, 10, (64,))
        for epoch in range(10):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            if torch.isnan(loss):
                break
            loss.backward()
            optimizer.step()

    ## When it is fine
    `x != x`, which is true for NaN alone; `isnan`; infinities; a function that compares what it is
    given, and is given NaN.

    ## Measured
    Nothing is measured for it.

    ## References
    - IEEE 754: comparisons with NaN are unordered
    - PyTorch, `torch.isnan`
    """

    code, slug, severity = "NUM010", "nan-compare", Severity.ERROR
    fix = Applicability.SAFE

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per comparison with a NaN constant."""
        places: set[Location] = set()
        for flow in program.flows:
            if flow.op != "compare" or flow.location is None:
                continue
            sides = [constant_operand(flow, side) for side in ("left", "right")]
            if not any(side is not None and isnan(side) for side in sides):
                continue
            if not _is_written(program, flow.location):
                continue
            sign = flow.args.get("operator")
            always = "true" if sign is not None and sign.constant == "!=" else "false"
            if one_per_place(places, flow.location):
                yield self.finding(
                    flow.location,
                    f"a comparison with NaN is always {always}",
                    help="use torch.isnan, or math.isnan for a number",
                    fix=self.repair("use torch.isnan", _isnan(program, flow)),
                )


def _is_written(program: TrainingProgram, place: Location) -> bool:
    """Whether NaN stands in the comparison by name, not only in what some caller passes."""
    layout = program.layout(place)
    return layout is None or "nan" in layout.text(place).lower()


def _isnan(program: TrainingProgram, flow: Flow) -> Changes:
    place = flow.location
    layout = program.layout(place)
    sides = None if layout is None else layout.binary(place)
    name = edits.name_for(program, place, "torch.isnan")
    if layout is None or sides is None or name is None or sides[1] not in ("Eq", "NotEq"):
        return None
    left, right = (layout.text(side) for side in (sides[0], sides[2]))
    tensor = left if "nan" in right.lower() else right
    sign = "~" if sides[1] == "NotEq" else ""
    return ((edits.replace(place, f"{sign}{name[0]}({tensor})")) or ()) + name[1]
