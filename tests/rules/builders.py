"""Builds facts by hand, so that rules are tested without reading any source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from convlint.findings import Location
from convlint.program.facts import (
    Arm,
    Branch,
    Call,
    Entry,
    Event,
    EventKind,
    Flow,
    Loop,
    LossCall,
    Model,
    Object,
    ObjectKind,
    Origin,
    TrainingProgram,
    Value,
)

if TYPE_CHECKING:
    from convlint.program.facts import Node

PATH = "train.py"


def at(line: int, column: int = 1, width: int = 10) -> Location:
    """A place on one line of the file under test."""
    return Location(PATH, line, column, line, column + width)


def literal(value: bool | int | float | str | None, line: int = 1) -> Value:
    """A value written in the source."""
    return Value(candidates=(value,), origin=Origin("literal"), location=at(line))


def named(qualified_name: str) -> Value:
    """Something of a library, such as ``torch.float16``."""
    return Value(name=qualified_name)


def refer(number: int) -> Value:
    """An object by its number."""
    return Value(object=number)


def display(*items: Value) -> Value:
    """A list or tuple display."""
    return Value(items=items)


def branch(
    condition: str,
    *body: Node,
    otherwise: tuple[Node, ...] = (),
    ends: str | None = None,
    modulo: bool = False,
    first_iteration: bool = False,
    line: int = 90,
) -> Branch:
    """``if condition: body`` with an optional ``else``; ``ends`` is how the body is left."""
    return Branch(
        location=at(line),
        arms=(Arm(body=body, ends=ends), Arm(body=otherwise)),
        condition=condition,
        modulo=modulo,
        first_iteration=first_iteration,
    )


class ProgramBuilder:
    """Collects objects, flows and entries; every ``add`` returns the number to refer to."""

    def __init__(self) -> None:
        self.objects: list[Object] = []
        self.flows: list[Flow] = []
        self.models: list[Model] = []
        self.calls: list[Call] = []
        self.losses: list[LossCall] = []
        self.entries: list[Entry] = []
        self._line = 0
        self._loops = 0

    def next_line(self) -> int:
        """A fresh line number, so that places tell events apart."""
        self._line += 1
        return self._line

    def add(self, kind: ObjectKind, cls: str, **fields: Any) -> int:
        """Add an object."""
        number = len(self.objects)
        fields.setdefault("location", at(self.next_line()))
        self.objects.append(Object(id=number, kind=kind, cls=cls, **fields))
        return number

    def layer(self, cls: str, **args: Value) -> int:
        """Add a library module."""
        return self.add(ObjectKind.LAYER, cls, args=args)

    def model(self, *layers: int, name: str = "model", complete: bool = True) -> int:
        """Add a project model holding ``layers``."""
        children = {f"layer{index}": layer for index, layer in enumerate(layers)}
        number = self.add(ObjectKind.MODEL, "train.Net", children=children, names=(name,))
        self.models.append(
            Model(
                object=number,
                cls="train.Net",
                location=self.objects[number].location,
                layers=layers,
                complete=complete,
            )
        )
        return number

    def optimizer(
        self,
        of: tuple[int, ...] | int | None,
        cls: str = "torch.optim.SGD",
        name: str = "optimizer",
        **fields: Any,
    ) -> int:
        """Add an optimizer over the parameters of ``of``."""
        modules = (of,) if isinstance(of, int) else of
        return self.add(ObjectKind.OPTIMIZER, cls, names=(name,), parameters_of=modules, **fields)

    def scheduler(
        self, optimizer: int, cls: str = "torch.optim.lr_scheduler.StepLR", **args: Value
    ) -> int:
        """Add a scheduler of ``optimizer``."""
        args = {"optimizer": refer(optimizer), **args}
        return self.add(ObjectKind.SCHEDULER, cls, names=("scheduler",), args=args)

    def flow(self, op: str, *inputs: int, **fields: Any) -> int:
        """Add a tensor."""
        number = len(self.flows)
        self.flows.append(Flow(id=number, op=op, inputs=inputs, **fields))
        return number

    def event(self, kind: EventKind, target: int | None = None, **fields: Any) -> Event:
        """Make an event on a fresh line."""
        fields.setdefault("location", at(self.next_line()))
        return Event(kind=kind, target=target, **fields)

    def zero(self, target: int | None, **fields: Any) -> Event:
        """``target.zero_grad()``."""
        return self.event(EventKind.ZERO_GRAD, target, **fields)

    def forward(self, model: int | None, **fields: Any) -> Event:
        """``model(x)``."""
        return self.event(EventKind.FORWARD, model, **fields)

    def backward(self, **fields: Any) -> Event:
        """``loss.backward()``."""
        return self.event(EventKind.BACKWARD, **fields)

    def step(self, optimizer: int | None, **fields: Any) -> Event:
        """``optimizer.step()``."""
        return self.event(EventKind.STEP, optimizer, **fields)

    def clip(self, *over: int, **fields: Any) -> Event:
        """``clip_grad_norm_(over.parameters(), 1.0)``."""
        return self.event(EventKind.CLIP, over=over or None, **fields)

    def unscale(self, scaler: int, optimizer: int) -> Event:
        """``scaler.unscale_(optimizer)``."""
        return self.event(EventKind.UNSCALE, scaler, optimizer=optimizer)

    def scaler_step(self, scaler: int | None, optimizer: int) -> Event:
        """``scaler.step(optimizer)``."""
        return self.event(EventKind.SCALER_STEP, scaler, optimizer=optimizer)

    def loop(self, *body: Node, incomplete: bool = False, kind: str = "for") -> Loop:
        """A loop over ``body``."""
        self._loops += 1
        return Loop(
            id=self._loops,
            location=at(self.next_line()),
            kind=kind,
            body=body,
            incomplete=incomplete,
        )

    def entry(self, *body: Node, standalone: bool = False, name: str = "<module>") -> None:
        """Add a place where execution starts."""
        self.entries.append(Entry(name=name, location=at(1), body=body, standalone=standalone))

    def program(self, *body: Node, **fields: Any) -> TrainingProgram:
        """The program; ``body``, when given, is its only entry."""
        if body:
            self.entry(*body)
        return TrainingProgram(
            path=PATH,
            objects=tuple(self.objects),
            flows=tuple(self.flows),
            models=tuple(self.models),
            calls=tuple(self.calls),
            losses=tuple(self.losses),
            entries=tuple(self.entries),
            **fields,
        )
