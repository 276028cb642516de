"""OPT024: a list of generators, or of modules, as parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Finding, Severity
from convlint.program.facts import ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.ownership import object_of
from convlint.rules.patterns.settings import optimizers_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Edit, Location
    from convlint.program.facts import TrainingProgram, Value
    from convlint.rules import Changes


class ParametersNotFlat(Rule):
    """An optimizer is given a list of generators or modules instead of tensors.

    ## What it does
    Reports `[a.parameters(), b.parameters()]` and lists of modules as the parameters of an
    optimizer.

    ## Why it hurts
    PyTorch expects tensors or groups of them, and fails with an error as soon as the optimizer is
    built.

    ## Example
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        head = nn.Linear(2, 2)
        optimizer = torch.optim.SGD([model.parameters(), head.parameters()], lr=0.1)
        x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
        for epoch in range(20):
            optimizer.zero_grad()
            loss = criterion(head(model(x)), y)
            loss.backward()
            optimizer.step()

    ## Use instead
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        criterion = nn.CrossEntropyLoss()
        head = nn.Linear(2, 2)
        optimizer = torch.optim.SGD([*model.parameters(), *head.parameters()], lr=0.1)
        x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
        for epoch in range(20):
            optimizer.zero_grad()
            loss = criterion(head(model(x)), y)
            loss.backward()
            optimizer.step()

    ## When it is fine
    Groups given as dicts, `itertools.chain`, lists of single tensors.

    ## Measured
    Not measured: PyTorch refuses to build the optimizer.

    ## References
    - PyTorch, `torch.optim.Optimizer`
    """

    code, slug, severity = "OPT024", "parameters-not-flat", Severity.ERROR
    fix = Applicability.UNSAFE

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report lists that hold no tensors."""
        places: set[Location] = set()
        for optimizer in optimizers_of(program):
            given = optimizer.args.get("params")
            if given is None or given.keys is not None:
                continue
            for item in given.items or ():
                held = object_of(program, item.object)
                whole = item.name == "parameters"
                module = held is not None and held.kind in (ObjectKind.LAYER, ObjectKind.MODEL)
                if not whole and not (module and item.name is None):
                    continue
                if one_per_place(places, given.location or optimizer.location):
                    yield self.finding(
                        given.location or optimizer.location,
                        "the list holds "
                        + ("generators" if whole else "modules")
                        + ", not tensors",
                        help="unpack them: [*a.parameters(), *b.parameters()]",
                        fix=self.repair("unpack them", _unpacked(program, given)),
                    )
                break


def _unpacked(program: TrainingProgram, given: Value) -> Changes:
    layout = program.layout(given.location)
    elements = [] if layout is None else layout.elements(given.location)
    items = given.items or ()
    if layout is None or not elements or len(elements) != len(items):
        return None
    changes: list[Edit] = []
    for item, place in zip(items, elements, strict=True):
        held = object_of(program, item.object)
        if item.name == "parameters":
            changes += edits.insert_at(place, "*") or ()
        elif held is not None and layout.is_path_of_names(layout.text(place)):
            changes += edits.wrap(place, "*", ".parameters()") or ()
        else:
            return None
    return tuple(changes)
