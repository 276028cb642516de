"""OPT020: requires_grad misspelt, called, or set on a module."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Finding, Severity
from convlint.rules import Rule
from convlint.rules.patterns import edits, statement_edits
from convlint.rules.patterns.flows import one_per_place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import GradientSwitch, TrainingProgram
    from convlint.rules import Changes


class RequiresGradTypo(Rule):
    """`requires_grad` is misspelt, called, or set on a module, and has no effect.

    ## What it does
    Reports `p.require_grad = ...` and other slips of the pen on parameters, tensors and modules,
    `p.requires_grad(...)`, and `module.requires_grad = ...`, which only makes a new attribute.

    ## Why it hurts
    Python accepts any attribute. Nothing is frozen (or unfrozen), and the optimizer goes on as
    before.

    ## Example
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        for p in model[0].parameters():
            p.require_grad = False
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
        for epoch in range(20):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()

    ## Use instead
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        for p in model[0].parameters():
            p.requires_grad = False
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
        for epoch in range(20):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()

    ## When it is fine
    An attribute of that name which a project's own class defines in its constructor.

    ## Measured
    Not measured.

    ## References
    - PyTorch, `torch.nn.Module.requires_grad_`
    """

    code, slug, severity = "OPT020", "requires-grad-typo", Severity.ERROR
    fix = Applicability.SAFE

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report switches that switch nothing."""
        places: set[Location] = set()
        for switch in program.switches:
            message = _fault(switch)
            if message and one_per_place(places, switch.location):
                yield self.finding(
                    switch.location,
                    message,
                    help="for a module: module.requires_grad_(False)"
                    if switch.on == "module"
                    else "for a tensor: p.requires_grad = False",
                    fix=self.repair("switch the gradient", _spelled(program, switch)),
                )


def _fault(switch: GradientSwitch) -> str:
    if switch.name not in ("requires_grad", "requires_grad_"):
        return f"`{switch.name}` is no attribute PyTorch knows: nothing is switched"
    if switch.called and switch.name == "requires_grad":
        return "`requires_grad` is a bool, not a method"
    if switch.on == "module" and switch.name == "requires_grad" and not switch.called:
        return "a module has no `requires_grad`: this only makes an attribute of that name"
    return ""


def _spelled(program: TrainingProgram, switch: GradientSwitch) -> Changes:
    """``require_grad =`` and ``requires_grad(...)`` to what PyTorch knows."""
    statement = statement_edits.statement_at(program, switch.location)
    layout = program.layout(switch.location)
    if statement is None or layout is None or statement.value is None:
        return None
    call = layout.call(statement.value)
    if call is not None and call.method == switch.name:
        return edits.rename_last_part(program, call.place, "requires_grad_")
    suffix = f".{switch.name}"
    if len(statement.targets) != 1 or not statement.targets[0].endswith(suffix):
        return None
    owner, value = statement.targets[0].removesuffix(suffix), layout.text(statement.value)
    if switch.on == "module":
        return edits.replace(statement.place, f"{owner}.requires_grad_({value})")
    return edits.replace(statement.place, f"{owner}.requires_grad = {value}")
