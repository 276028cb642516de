"""OPT012: all parameters of an optimizer are frozen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Applicability, Finding, Related, Severity
from convlint.lazy_regex import lazy_regex
from convlint.program.facts import ObjectKind
from convlint.rules import Rule
from convlint.rules.patterns import statement_edits
from convlint.rules.patterns.flows import one_per_place
from convlint.rules.patterns.ownership import object_of, submodules
from convlint.rules.patterns.training_loops import training_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import GradientSwitch, TrainingProgram
    from convlint.rules import Changes


class EverythingFrozen(Rule):
    """Everything the optimizer could train is frozen, the new head included.

    ## What it does
    Reports a training loop whose optimizer holds modules that were all frozen, one and all and
    unconditionally, before the loop, and that nothing unfreezes.

    ## Why it hurts
    The usual slip is to freeze the backbone after the head was put in: the head is frozen with it.
    PyTorch then refuses to back-propagate, or, where something else needs gradients, trains
    nothing.

    ## Example
        import torch
        import torchvision
        from torch import nn

        model = torchvision.models.resnet18(weights="DEFAULT")
        model.fc = nn.Linear(512, 2)
        for p in model.parameters():
            p.requires_grad = False
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        criterion = nn.CrossEntropyLoss()
        x, y = torch.randn(8, 3, 64, 64), torch.randint(0, 2, (8,))
        for epoch in range(20):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()

    ## Use instead
        import torch
        import torchvision
        from torch import nn

        model = torchvision.models.resnet18(weights="DEFAULT")
        for p in model.parameters():
            p.requires_grad = False
        model.fc = nn.Linear(512, 2)
        optimizer = torch.optim.SGD(model.fc.parameters(), lr=0.01)
        criterion = nn.CrossEntropyLoss()
        x, y = torch.randn(8, 3, 64, 64), torch.randint(0, 2, (8,))
        for epoch in range(20):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()

    ## When it is fine
    A head made after freezing, parameters picked by name, adapters injected by a library, a later
    `requires_grad_(True)`.

    ## Measured
    `convlint probe` lists parameters without a gradient.

    ## References
    - PyTorch, Finetuning torchvision models
    """

    code, slug, severity = "OPT012", "everything-frozen", Severity.ERROR
    fix = Applicability.UNSAFE
    confirmed_by = ("parameter-without-gradient",)

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """Report optimizers with nothing left to train."""
        places: set[Location] = set()
        if program.managed or not program.switches:
            return
        for loop in training_loops(program):
            for number in loop.optimizers:
                optimizer = object_of(program, number)
                if optimizer is None or optimizer.kind is not ObjectKind.OPTIMIZER:
                    continue
                if not optimizer.parameters_of or optimizer.escaped:
                    continue
                modules = submodules(program, optimizer.parameters_of)
                switch = _frozen_by(program, modules)
                if switch is not None and one_per_place(places, switch.location):
                    yield self.finding(
                        switch.location,
                        "this freezes every parameter the optimizer was given: nothing is trained",
                        help="freeze the backbone before the new head is put in, or unfreeze the head",
                        related=(Related(optimizer.location, "the optimizer"),),
                        fix=self.repair(
                            "freeze the model before its new head is put in",
                            _before_head(program, switch.location),
                        ),
                    )


def _frozen_by(program: TrainingProgram, modules: set[int]) -> GradientSwitch | None:
    """The switch that froze the last of ``modules``; None unless all of them surely are."""
    frozen: dict[int, GradientSwitch] = {}
    parts = [object_of(program, number) for number in modules]
    if any(
        part is None or part.escaped or part.kind not in (ObjectKind.MODEL, ObjectKind.LAYER)
        for part in parts
    ):
        return None
    for switch in program.switches:
        if switch.name not in ("requires_grad", "requires_grad_") or (
            switch.name == "requires_grad" and (switch.on == "module" or switch.called)
        ):
            continue
        if switch.on == "tensor":
            continue
        if switch.trainable is False and switch.whole:
            frozen.update(dict.fromkeys(switch.modules, switch))
        elif not switch.modules or modules & set(switch.modules):
            return None  # something is unfrozen, or picked by a test
    if not modules <= frozen.keys():
        return None
    return max((frozen[number] for number in modules), key=lambda s: s.location)


_OWNER = lazy_regex(r"([\w.]+)\.(?:named_)?(?:parameters|requires_grad_)\(")


def _before_head(program: TrainingProgram, place: Location) -> Changes:
    """Move what freezes the whole model in front of the last layer put into it."""
    layout, statement = program.layout(place), statement_edits.statement_at(program, place)
    if layout is None or statement is None:
        return None
    if statement.parent is not None and statement.parent.kind == "For":
        statement = statement.parent
    owner = _OWNER.search(layout.text(statement.place).split("\n")[0])
    if owner is None:
        return None
    heads = [
        other
        for other in layout.siblings(statement)
        if other.index < statement.index
        and other.kind == "Assign"
        and other.targets[0].startswith((f"{owner.group(1)}.", f"{owner.group(1)}["))
    ]
    return statement_edits.move(program, statement, before=heads[-1]) if heads else None
