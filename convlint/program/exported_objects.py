"""Objects and models of a finished walk as facts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.program.domain import Function, Instance
from convlint.program.exported_values import ValueExport
from convlint.program.facts import UNKNOWN, Model, Object, ObjectKind, PlainList
from convlint.program.words import attributes_of_self

if TYPE_CHECKING:
    from convlint.findings import Location


class ObjectExport(ValueExport):
    """Objects with their arguments and parts, and the models among them."""

    def _object(self, instance: Instance) -> Object:
        kind = self._kind_of(instance) if instance.kind is ObjectKind.SYMBOL else instance.kind
        parameters: tuple[int, ...] | None = None
        if instance.kind is ObjectKind.OPTIMIZER:
            given = instance.args.get("params") or instance.args.get("0")
            if given is not None and "param_groups" not in instance.args:
                owners, resolved = self._walk.parameter_owners(given.value)
                parameters = tuple(o.leader.id for o in owners) if resolved else None
        return Object(
            id=instance.id,
            kind=kind,
            cls=instance.cls,
            location=self._place_of(instance.site),
            args=self._arguments(instance.args),
            names=tuple(instance.names),
            bases=instance.bases,
            children={name: child.id for name, child in instance.children.items()},
            attributes={
                name: self._value(value)
                for name, value in instance.attributes.items()
                if not name.startswith("<") and instance.kind is not ObjectKind.SYMBOL
            },
            parameters_of=parameters,
            escaped=instance.escaped,
            context=("loop",) * instance.loops,
            same_as=instance.leader.id if instance.same_as is not None else None,
            symbolic=instance.kind is ObjectKind.SYMBOL,
            complete=instance.complete,
            within=instance.within if instance.kind is not ObjectKind.SYMBOL else (),
            conditions=self._conditions(instance.conditions)
            if instance.kind is not ObjectKind.SYMBOL
            else (),
            item=UNKNOWN if instance.item is None else self._value(instance.item),
            mentions=self._mentions(instance) if instance.kind is ObjectKind.DATASET else {},
            methods=tuple(sorted(m for m in instance.methods if not m.startswith("<"))),
        )

    def _mentions(self, instance: Instance) -> dict[str, tuple[str, ...]]:
        if instance.klass is None:
            return {}
        found: dict[str, tuple[str, ...]] = {}
        for klass in self._walk.lineage(instance.klass):
            for name, member in klass.members.items():
                if isinstance(member, Function) and name not in found:
                    code = member.scope.module.positions.text(member.node)
                    found[name] = attributes_of_self(code)
        return found

    def _models(self) -> list[Model]:
        models: list[Model] = []
        for instance in self._walk.instances:
            bare = instance.cls == "torch.nn.Sequential"
            if instance.parent is not None or not (instance.kind is ObjectKind.MODEL or bare):
                continue
            members = self._walk.modules_of(instance)
            layers = [
                m.id
                for m in members
                if m.kind is ObjectKind.LAYER
                and not m.cls.startswith("torch.nn.Module")
                and m.cls != "torch.nn.Sequential"
            ]
            forward = instance.forward
            models.append(
                Model(
                    object=instance.id,
                    cls=instance.cls,
                    location=self._class_place(instance),
                    layers=tuple(layers),
                    inputs=forward.inputs if forward is not None else (),
                    outputs=forward.outputs if forward is not None else (),
                    forward_known=bare or (forward is not None and forward.known),
                    complete=all(m.complete for m in members),
                    bases=instance.bases,
                    plain_lists=self._plain_lists(members),
                )
            )
        return models

    def _class_place(self, instance: Instance) -> Location:
        if instance.klass is not None:
            return instance.klass.scope.module.positions.of_name(instance.klass.node)
        return self._place_of(instance.site)

    def _plain_lists(self, members: list[Instance]) -> tuple[PlainList, ...]:
        found: list[PlainList] = []
        for draft in self._walk.plain_lists:
            if draft.owner not in members or not draft.holds:
                continue
            registered = {m for member in members for m in member.children.values()}
            listed = [layer in registered for layer in draft.layers]
            # one entry of a table chosen by name is registered; the others were never meant to be
            chosen = any(listed) if draft.container == "dict" else bool(listed) and all(listed)
            later = chosen or draft.attribute in draft.owner.children
            found.append(
                PlainList(
                    draft.attribute,
                    draft.container,
                    draft.holds,
                    self._place_of(draft.site),
                    tuple(layer.id for layer in draft.layers),
                    registered_later=later,
                )
            )
        return tuple(found)
