"""Builds the facts of models, data and schedules by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from builders import ProgramBuilder, at, display, literal, refer

from convlint.findings import Location
from convlint.program.facts import (
    EventKind,
    Initialisation,
    Loop,
    LossCall,
    Model,
    ObjectKind,
    PlainList,
    TrainingProgram,
    Value,
)
from convlint.rules.patterns.layers import canonical

if TYPE_CHECKING:
    from convlint.findings import Finding
    from convlint.rules import Rule


CLASS_LINE = 9_000
"""Where the class of every model stands; the models are built on lines before it."""


class ModelBuilder(ProgramBuilder):
    """A program builder that knows layers in a row, losses, datasets and schedules."""

    def __init__(self) -> None:
        """Start empty."""
        super().__init__()
        self.initialisations: list[Initialisation] = []

    def linear(self, inputs: int = 64, outputs: int = 64) -> int:
        """A torch.nn.Linear."""
        return self.layer(
            "torch.nn.Linear", in_features=literal(inputs), out_features=literal(outputs)
        )

    def straight(self, *layers: int | str, complete: bool = True, start: int | None = None) -> int:
        """A model whose forward applies modules (by number) and operations (by name) in a row."""
        first = self.flow("<input>") if start is None else start
        current, modules = first, []
        for layer in layers:
            if isinstance(layer, int):
                modules.append(layer)
                op = canonical(self.objects[layer].cls)
                current = self.flow(op, current, layer=layer, location=self.objects[layer].location)
            else:
                current = self.flow(layer, current, location=at(self.next_line()))
        return self.analysed(tuple(modules), first, current, complete=complete)

    def analysed(
        self, modules: tuple[int, ...], first: int, last: int, *, complete: bool = True
    ) -> int:
        """A model with these modules whose forward leads from flow ``first`` to ``last``."""
        number = self.model(*modules)
        self.models[-1] = Model(
            object=number,
            cls="train.Net",
            location=at(CLASS_LINE),
            layers=modules,
            inputs=(first,),
            outputs=(last,),
            forward_known=True,
            complete=complete,
        )
        return number

    def output(self) -> int:
        """The flow the last model returns."""
        return self.models[-1].outputs[0]

    def hide(self, attribute: str, *modules: int, **fields: Any) -> None:
        """Keep modules of the last model in a plain list attribute."""
        fields.setdefault("container", "list")
        fields.setdefault("holds", "modules")
        hidden = PlainList(
            attribute=attribute, location=at(self.next_line()), layers=modules, **fields
        )
        model = self.models[-1]
        self.models[-1] = Model(
            object=model.object,
            cls=model.cls,
            location=model.location,
            layers=model.layers,
            plain_lists=(*model.plain_lists, hidden),
        )

    def loss(
        self, name: str, prediction: int | None, target: int | None = None, **fields: Any
    ) -> Location:
        """A loss call; returns its place."""
        place = at(self.next_line())
        self.losses.append(
            LossCall(name=name, location=place, input=prediction, target=target, **fields)
        )
        return place

    def initialise(self, name: str, *layers: int, **fields: Any) -> Location:
        """A call of torch.nn.init on the weight of these layers."""
        place = at(self.next_line())
        fields.setdefault("parameter", "weight")
        self.initialisations.append(
            Initialisation(
                name=f"torch.nn.init.{name}",
                location=place,
                layers=layers,
                order=len(self.initialisations),
                **fields,
            )
        )
        return place

    def array(self, name: str, index: int) -> int:
        """One of the two arrays of sklearn.datasets.``name``."""
        place = at(self.next_line())
        return self.flow("<array>", name=f"sklearn.datasets.{name}", index=index, location=place)

    def tensor_dataset(self, *flows: int, **fields: Any) -> int:
        """A TensorDataset of these tensors."""
        args = {str(i): Value(flow=flow) for i, flow in enumerate(flows)}
        return self.add(ObjectKind.DATASET, "torch.utils.data.TensorDataset", args=args, **fields)

    def loader(self, dataset: int | None, name: str = "loader", **args: Value) -> int:
        """A DataLoader that a function of the project makes."""
        if dataset is not None:
            args["dataset"] = refer(dataset)
        cls = "torch.utils.data.DataLoader"
        made_in = ("make_loaders",)
        return self.add(ObjectKind.LOADER, cls, names=(name,), args=args, within=made_in)

    def batch(self, loader: int, index: int) -> int:
        """An item of a batch of ``loader``."""
        return self.flow("<batch>", source=loader, index=index)

    def epochs(self, trips: int | None, *body: Any) -> Loop:
        """``for epoch in range(trips)``."""
        self._loops += 1
        known = literal(trips) if trips is not None else Value()
        return Loop(
            id=self._loops, location=at(self.next_line()), kind="for", trips=known, body=body
        )

    def batches(self, loader: int, *body: Any, incomplete: bool = False) -> Loop:
        """``for batch in loader``."""
        self._loops += 1
        return Loop(
            id=self._loops,
            location=at(self.next_line()),
            kind="for",
            over=refer(loader),
            body=body,
            incomplete=incomplete,
        )

    def scheduler_step(self, scheduler: int, **fields: Any) -> Any:
        """``scheduler.step()``."""
        return self.event(EventKind.SCHEDULER_STEP, scheduler, **fields)

    def program(self, *body: Any, **fields: Any) -> TrainingProgram:
        """The program; ``body``, when given, is its only entry."""
        return super().program(*body, initialisations=tuple(self.initialisations), **fields)


def slugs(rule: Rule, program: TrainingProgram) -> list[str]:
    """The slugs ``rule`` reports on ``program``."""
    return [finding.slug for finding in rule.static(program)]


def only(rule: Rule, program: TrainingProgram) -> Finding:
    """The single finding of ``rule``; fails when there is not exactly one."""
    (finding,) = rule.static(program)
    return finding


def numbers(*values: float) -> Value:
    """A list of numbers."""
    return display(*(literal(value) for value in values))
