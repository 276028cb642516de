"""Which initialisation has the last word on which layer of which model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from convlint.program.facts import ObjectKind
from convlint.rules.patterns.flows import objects_by_id
from convlint.rules.patterns.layers import Architecture
from convlint.rules.patterns.once import once_per_program
from convlint.rules.patterns.ownership import object_of, submodules

if TYPE_CHECKING:
    from convlint.program.facts import Initialisation, Object, TrainingProgram, Value

__all__ = [
    "Initialised",
    "final_initialisations",
    "initialiser",
    "is_default",
    "unbuilt",
    "untouched",
]


class Initialised(msgspec.Struct, frozen=True):
    """One call that decides weights of one model, and the layers of that model it decides."""

    call: Initialisation
    architecture: Architecture
    layers: tuple[Object, ...]


def initialiser(call: Initialisation) -> str:
    """The short name of the function: ``xavier_uniform_`` of torch.nn.init, ``fill_`` ..."""
    return call.name.rpartition(".")[2]


def is_default(value: Value | None) -> bool:
    """Whether an argument was left at the library's default."""
    return value is None or (value.origin is not None and value.origin.kind == "library default")


def final_initialisations(program: TrainingProgram) -> tuple[Initialised, ...]:
    """Every initialisation of weights that no later one undoes, per model it reaches.

    A call known only by the classes it guards (``isinstance(m, nn.Linear)``) reaches the layers of
    these classes in every model of the program.
    """
    return _final_initialisations(program)


@once_per_program
def _final_initialisations(program: TrainingProgram) -> tuple[Initialised, ...]:
    objects = objects_by_id(program)
    architectures = [Architecture(program, model) for model in program.models]
    targets: list[tuple[Initialisation, frozenset[int]]] = []
    last: dict[int, int] = {}
    found: list[Initialised] = []
    for call in sorted(program.initialisations, key=lambda call: call.order):
        if not call.parameter.startswith("weight"):
            continue
        numbers = frozenset(call.layers) or frozenset(
            layer.id
            for architecture in architectures
            for layer in architecture.layers
            if layer.cls in call.classes
        )
        targets.append((call, numbers))
        last.update(dict.fromkeys(numbers, len(targets) - 1))
    for position, (call, numbers) in enumerate(targets):
        decided = {number for number in numbers if last[number] == position}
        for architecture in architectures if decided else ():
            layers = tuple(
                objects[number]
                for number in architecture.model.layers
                if number in decided and number in objects
            )
            if layers:
                found.append(Initialised(call, architecture, layers))
    return tuple(found)


def untouched(program: TrainingProgram, architecture: Architecture) -> bool:
    """Whether the weights of a model surely keep the library's default initialisation."""
    own = set(architecture.model.layers)
    for call in program.initialisations:
        if call.parameter == "bias":
            continue
        if not call.layers and not call.classes:
            return False
        if own.intersection(call.layers):
            return False
        if any(layer.cls in call.classes for layer in architecture.layers):
            return False
    return True


def unbuilt(program: TrainingProgram) -> set[int]:
    """The modules known from their class alone: the file that builds them may initialise them."""
    alone: set[int] = set()
    for model in program.models:
        built = object_of(program, model.object)
        if built is None or built.kind is not ObjectKind.MODEL:
            continue  # a bare Sequential is built where it is written
        if built.location.line != model.location.line:
            continue
        if built.location.path == model.location.path:
            alone |= submodules(program, (model.object,))
    return alone
