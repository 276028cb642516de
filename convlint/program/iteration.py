"""What iterating yields: known items where they are few, else one representative element."""

from __future__ import annotations

from convlint.program.domain import (
    UNKNOWN,
    Abstract,
    Argument,
    Choice,
    Const,
    Function,
    Instance,
    Iterated,
    Layers,
    LoopRange,
    Map,
    ParameterGroups,
    Parameters,
    Seq,
    Site,
    Tensor,
)
from convlint.program.facts import ObjectKind
from convlint.program.instances import Instances
from convlint.program.state import LARGEST_UNROLLED

_CONTAINERS = frozenset({"torch.nn.ModuleList", "torch.nn.Sequential", "torch.nn.ModuleDict"})


class Iteration(Instances):
    """Iteration over abstract values."""

    def modules_of(self, instance: Instance) -> list[Instance]:
        """The module itself and every registered submodule, depth first."""
        found = [instance]
        for child in list(instance.children.values()):
            if child not in found:
                found += [m for m in self.modules_of(child) if m not in found]
        return found

    def grouped_modules(self, instance: Instance) -> list[Abstract]:
        """Submodules with those of one class taken together."""
        groups: dict[str, list[Instance]] = {}
        for module in self.modules_of(instance):
            groups.setdefault(module.cls, []).append(module)
        return [Layers(tuple(group)) for group in groups.values()]

    def known_items(self, iterable: Abstract) -> list[Abstract] | None:
        """The items when every one is known and they are few."""
        if isinstance(iterable, Seq):
            return (
                list(iterable.items)
                if iterable.complete and len(iterable.items) <= LARGEST_UNROLLED
                else None
            )
        if isinstance(iterable, LoopRange):
            if iterable.values is not None and len(iterable.values) <= LARGEST_UNROLLED:
                return [Const(i) for i in iterable.values]
            return None
        if isinstance(iterable, Map) and iterable.complete:
            return [Const(key) for key in iterable.items]
        if isinstance(iterable, Instance):
            if iterable.cls in _CONTAINERS and iterable.complete and iterable.children:
                return list(iterable.children.values())
            return None
        if isinstance(iterable, Iterated):
            return self._known_iterated(iterable)
        return None

    def _known_iterated(self, iterable: Iterated) -> list[Abstract] | None:
        if iterable.kind == "modules":
            owner = iterable.sources[0]
            return (
                self.grouped_modules(owner)
                if isinstance(owner, Instance) and owner.is_module
                else None
            )
        if iterable.kind == "named_modules":
            owner = iterable.sources[0]
            if not (isinstance(owner, Instance) and owner.is_module):
                return None
            return [Seq("tuple", [UNKNOWN, group]) for group in self.grouped_modules(owner)]
        if iterable.kind == "children":
            owner = iterable.sources[0]
            if isinstance(owner, Instance) and owner.children:
                return list(owner.children.values())
            return None
        columns = [self.known_items(source) for source in iterable.sources]
        if any(column is None for column in columns):
            return None
        if iterable.kind == "enumerate":
            return [Seq("tuple", [Const(i), v]) for i, v in enumerate(columns[0] or [])]
        if iterable.kind == "zip":
            return [
                Seq("tuple", list(row)) for row in zip(*[c or [] for c in columns], strict=False)
            ]
        if iterable.kind == "reversed":
            return list(reversed(columns[0] or []))
        if iterable.kind in ("items", "values"):
            return self._known_mapping_items(iterable)
        return columns[0] if iterable.kind in ("iter", "progress") else None

    def _known_mapping_items(self, iterable: Iterated) -> list[Abstract] | None:
        source = iterable.sources[0]
        if isinstance(source, Map):
            pairs = list(source.items.items())
        elif isinstance(source, Instance):
            pairs = list(source.children.items())
        else:
            return None
        if iterable.kind == "values":
            return [value for _, value in pairs]
        return [Seq("tuple", [Const(key), value]) for key, value in pairs]

    def element_of(self, iterable: Abstract, site: Site) -> Abstract:
        """One representative element."""
        if isinstance(iterable, Seq):
            return self.join(list(iterable.items)) if iterable.items else UNKNOWN
        if isinstance(iterable, Instance):
            return self._element_of_instance(iterable, site)
        if isinstance(iterable, Tensor):
            flow = self.flows[iterable.flow]
            if flow.op == "<symbol>" and flow.source is not None:
                return self._batch(flow.source, site)
            return self.new_flow("getitem", (iterable.flow,), site=site)
        if isinstance(iterable, Parameters):
            single = Parameters(
                iterable.owners,
                iterable.resolved,
                True,
                iterable.attribute,
                view=iterable.view,
                partial=iterable.partial or iterable.single,
            )
            return Seq("tuple", [UNKNOWN, single]) if iterable.named else single
        if isinstance(iterable, ParameterGroups):
            return ParameterGroups(iterable.optimizer, single=True)
        if isinstance(iterable, Choice):
            return self.join([self.element_of(o, site) for o in iterable.options])
        if isinstance(iterable, Map):
            return UNKNOWN
        if isinstance(iterable, Iterated):
            return self._element_of_iterated(iterable, site)
        return UNKNOWN

    def next_of(self, iterator: Iterated, site: Site) -> Abstract:
        """``next(iterator)``: from an iterator made in this very iteration, the first item.

        The flow of such a batch is named ``next(iter)``.
        """
        source = iterator.sources[0]
        fresh = (
            bool(self.loops)
            and iterator.loops == tuple(self.loops)
            and self.in_arm(iterator.arm)
            and isinstance(source, Instance)
            and source.kind in (ObjectKind.LOADER, ObjectKind.SYMBOL)
        )
        if fresh and isinstance(source, Instance):
            return self.new_flow("<batch>", source=source, name="next(iter)", site=site)
        return self.element_of(iterator, site)

    def _element_of_instance(self, iterable: Instance, site: Site) -> Abstract:
        kind = iterable.kind
        if kind in (ObjectKind.LOADER, ObjectKind.DATASET):
            return self._batch(iterable, site)
        if kind is ObjectKind.SYMBOL:
            iterable.methods.add("<iterated>")
            return self._batch(iterable, site)
        if iterable.is_module:
            return self.join(list(iterable.children.values())) if iterable.children else UNKNOWN
        method = self.method_of(iterable, "__iter__")
        if isinstance(method, Function):
            produced = self.call_function(method, [], {}, site)
            return (
                self.element_of(produced, site)
                if produced is not iterable
                else self._batch(iterable, site)
            )
        return self._batch(iterable, site) if kind is ObjectKind.INSTANCE else UNKNOWN

    def _batch(self, source: Instance, site: Site) -> Tensor:
        return self.new_flow("<batch>", source=source, site=site)

    def _element_of_iterated(self, iterable: Iterated, site: Site) -> Abstract:
        kind = iterable.kind
        if kind == "enumerate":
            return Seq("tuple", [UNKNOWN, self.element_of(iterable.sources[0], site)])
        if kind == "zip":
            return Seq("tuple", [self.element_of(source, site) for source in iterable.sources])
        if kind in ("modules", "children"):
            return self.new_symbol("module", site)
        if kind == "named_modules":
            return Seq("tuple", [UNKNOWN, self.new_symbol("module", site)])
        if kind == "items":
            source = iterable.sources[0]
            values = list(source.items.values()) if isinstance(source, Map) else []
            return Seq("tuple", [UNKNOWN, self.join(values) if values else UNKNOWN])
        if kind == "values":
            source = iterable.sources[0]
            return (
                self.join(list(source.items.values()))
                if isinstance(source, Map) and source.items
                else UNKNOWN
            )
        return self.element_of(iterable.sources[0], site)

    def unpack(self, value: Abstract, count: int, site: Site) -> list[Abstract]:
        """The ``count`` parts that unpacking ``value`` gives."""
        if isinstance(value, Seq):
            if value.complete and len(value.items) == count:
                return list(value.items)
            return [self.join(list(value.items)) if value.items else UNKNOWN] * count
        if isinstance(value, Tensor):
            flow = self.flows[value.flow]
            if flow.op == "<batch>" and flow.index is None:
                return [self._part(value, i, site) for i in range(count)]
            return [
                self.new_flow(
                    "getitem", (value.flow,), args={"index": Argument(Const(i))}, site=site
                )
                for i in range(count)
            ]
        if isinstance(value, Instance):
            if value.kind is ObjectKind.SYMBOL:
                return [self.symbol_part(value, f"[{i}]", site) for i in range(count)]
            items = self.known_items(value)
            if items is not None and len(items) == count:
                return items
        if isinstance(value, Choice):
            columns = [self.unpack(o, count, site) for o in value.options]
            return [self.join([column[i] for column in columns]) for i in range(count)]
        return [UNKNOWN] * count

    def _part(self, batch: Tensor, index: int, site: Site) -> Tensor:
        source = self.flows[batch.flow].source
        return self.new_flow("<batch>", (batch.flow,), source=source, index=index, site=site)
