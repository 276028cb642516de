"""Abstract values, places and tests as facts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.program.domain import UNKNOWN as NOTHING_KNOWN
from convlint.program.domain import (
    Abstract,
    Argument,
    Batches,
    Choice,
    Class,
    Condition,
    Const,
    Function,
    Indexed,
    Instance,
    Library,
    Map,
    ParameterGroups,
    Parameters,
    Seq,
    Site,
    Tensor,
)
from convlint.program.facts import UNKNOWN, ObjectKind, Value
from convlint.program.symbols import lone_steppers, symbol_kind

if TYPE_CHECKING:
    from convlint.findings import Location
    from convlint.program.index import SourceModule
    from convlint.program.statements import Statements

_DEEPEST_VALUE = 4


class ValueExport:
    """What every fact is made of: constants, references to objects, places."""

    def __init__(self, walk: Statements, module: SourceModule) -> None:
        self._walk = walk
        self._module = module
        self._condition_texts: dict[int, str] = {}
        self._lone_steppers = lone_steppers(walk.entries)
        self._training_symbols = frozenset(
            i.id
            for i in walk.instances
            if i.kind is ObjectKind.SYMBOL and self._kind_of(i) is not ObjectKind.SYMBOL
        )

    def _kind_of(self, symbol: Instance) -> ObjectKind:
        kind = symbol_kind(symbol)
        if kind is ObjectKind.SYMBOL and symbol.id in self._lone_steppers:
            return ObjectKind.OPTIMIZER
        return kind

    def _conditions(self, conditions: tuple[Condition, ...]) -> tuple[str, ...]:
        return tuple(self._condition(condition) for condition in conditions)

    def _condition(self, condition: Condition) -> str:
        key = id(condition.site.node)
        text = self._condition_texts.get(key)
        if text is None:
            code = condition.site.module.positions.text(condition.site.node)
            text = self._condition_texts[key] = " ".join(code.split())
        return f"not ({text})" if condition.negated else text

    def _place(self, site: Site | None) -> Location | None:
        return self._place_of(site) if site is not None else None

    def _place_of(self, site: Site) -> Location:
        return site.module.positions.of(site.node)

    def _arguments(self, arguments: dict[str, Argument]) -> dict[str, Value]:
        return {name: self._value(a.value, a.site) for name, a in arguments.items()}

    def _value(self, value: Abstract, site: Site | None = None, depth: int = 0) -> Value:
        location = site.module.positions.of(site.node) if site is not None else None
        if isinstance(value, Const):
            return Value(candidates=(value.value,), origin=value.origin, location=location)
        if value is NOTHING_KNOWN:
            return UNKNOWN if location is None else Value(location=location)
        if isinstance(value, Choice):
            return self._choice(value, location)
        if isinstance(value, Instance):
            return Value(object=value.id, location=location)
        if isinstance(value, Indexed):
            items = tuple(Value(candidates=(constant,)) for constant in value.values)
            return Value(items=items, loop=value.loop, location=location)
        if isinstance(value, Batches):
            return Value(name="<batches>", location=location)
        if isinstance(value, ParameterGroups):
            return Value(object=value.optimizer.leader.id, name="param_groups", location=location)
        if isinstance(value, Tensor):
            return Value(flow=value.flow, location=location)
        if isinstance(value, Library):
            return Value(name=value.name, location=location)
        if isinstance(value, (Function, Class)):
            name = f"{value.scope.module.name}.{value.name}"
            return Value(name=name, project=True, location=location)
        if isinstance(value, Parameters) and len(value.owners) == 1:
            name = "parameter" if value.single else "parameters"
            return Value(object=value.owners[0].id, name=name, location=location)
        if depth < _DEEPEST_VALUE and isinstance(value, Seq) and value.complete:
            items = tuple(self._value(item, None, depth + 1) for item in value.items)
            return Value(items=items, location=location)
        if depth < _DEEPEST_VALUE and isinstance(value, Map) and value.complete:
            items = tuple(self._value(item, None, depth + 1) for item in value.items.values())
            return Value(items=items, keys=tuple(value.items), location=location)
        return Value(location=location) if location is not None else UNKNOWN

    def _choice(self, value: Choice, location: Location | None) -> Value:
        constants = [o for o in value.options if isinstance(o, Const)]
        if len(constants) == len(value.options):
            return Value(
                candidates=tuple(c.value for c in constants),
                origin=constants[0].origin,
                location=location,
            )
        instances = {o.leader.id for o in value.options if isinstance(o, Instance)}
        if any(type(c.value) in (int, float) for c in constants):
            return Value(location=location)  # a number or an object is neither for certain
        if len(instances) == 1 and not any(isinstance(o, Tensor) for o in value.options):
            others = [o for o in value.options if not isinstance(o, Instance)]
            optional = len(others) == len(constants) == 1 and constants[0].value is None
            return Value(object=instances.pop(), optional=optional, location=location)
        return Value(location=location)
