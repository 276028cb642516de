"""Assignments: names, attributes, items, and what they do to modules and gradients."""

from __future__ import annotations

import ast

from convlint.program.access import LITERAL
from convlint.program.domain import (
    UNKNOWN,
    Abstract,
    Argument,
    Children,
    Choice,
    Const,
    CurrentRate,
    Instance,
    Map,
    ParameterGroups,
    Parameters,
    Scope,
    Seq,
    Site,
    Tensor,
    merged_parameters,
)
from convlint.program.drafts import (
    PlainListDraft,
)
from convlint.program.facts import EventKind, ObjectKind, Origin
from convlint.program.library_methods import LibraryMethods

_FOLLOWED = frozenset(
    {ast.Add, ast.Sub, ast.Mult, ast.Div, ast.MatMult, ast.Pow, ast.FloorDiv, ast.Mod}
)
"""Operators of augmented assignments whose result is known."""


def _resembles_requires_grad(name: str) -> bool:
    """Whether an attribute is a slip of the pen for ``requires_grad``."""
    squeezed = name.replace("_", "").lower()
    return name != "requires_grad" and squeezed in _SLIPS


_SLIPS = frozenset(
    {
        "requiresgrad", "requiregrad", "requiresgrads", "requiregrads", "requiredgrad",
        "requiersgrad", "reqiresgrad", "requiresgard", "requriesgrad", "requirsgrad",
        "requiresgradient", "requiregradient",
    }
)  # fmt: skip


class Assignment(LibraryMethods):
    """Assignment statements."""

    def _assign(self, statement: ast.Assign, scope: Scope) -> None:
        value = self.evaluate(statement.value, scope)
        if scope.parent is None and isinstance(value, Const) and value.origin is LITERAL:
            # People edit the constants at the top of a script: neither branch of a test on one
            # is out of reach.
            name = statement.targets[0]
            text = name.id if isinstance(name, ast.Name) else ""
            value = Const(value.value, Origin("module constant", text), certain=False)
        for target in statement.targets:
            self.bind_target(target, value, scope)

    def _annotated(self, statement: ast.AnnAssign, scope: Scope) -> None:
        if statement.value is not None:
            self.bind_target(statement.target, self.evaluate(statement.value, scope), scope)

    def bind_target(self, target: ast.expr, value: Abstract, scope: Scope) -> None:
        """Assign ``value`` to an assignment target."""
        if isinstance(target, ast.Name):
            self._bind_name(target.id, value, scope)
        elif isinstance(target, (ast.Tuple, ast.List)):
            self._unpack_into(target, value, scope)
        elif isinstance(target, ast.Attribute):
            owner = self.evaluate(target.value, scope)
            self._assign_attribute(owner, target.attr, value, Site(scope.module, target))
        elif isinstance(target, ast.Subscript):
            self._assign_item(target, value, scope)
        elif isinstance(target, ast.Starred):
            self.bind_target(target.value, value, scope)

    def _bind_name(self, name: str, value: Abstract, scope: Scope) -> None:
        if isinstance(value, Instance) and name not in value.names:
            value.names.append(name)
        elif isinstance(value, Choice):
            for option in value.options:
                if isinstance(option, Instance) and name not in option.names:
                    option.names.append(name)
        home = scope
        if name in scope.globals:
            while home.parent is not None:
                home = home.parent
        self.write(home.names, name, value)

    def _unpack_into(self, target: ast.Tuple | ast.List, value: Abstract, scope: Scope) -> None:
        site = Site(scope.module, target)
        elements = target.elts
        starred = next((i for i, e in enumerate(elements) if isinstance(e, ast.Starred)), None)
        if starred is not None:
            if isinstance(value, Seq) and value.complete and len(value.items) >= len(elements) - 1:
                after = len(elements) - starred - 1
                end = len(value.items) - after
                parts: list[Abstract] = [
                    *value.items[:starred],
                    Seq("list", value.items[starred:end]),
                    *value.items[end:],
                ]
            else:
                parts = self.unpack(value, len(elements), site)
        else:
            parts = self.unpack(value, len(elements), site)
        for element, part in zip(elements, parts, strict=False):
            self.bind_target(
                element.value if isinstance(element, ast.Starred) else element, part, scope
            )

    def _assign_attribute(self, owner: Abstract, name: str, value: Abstract, site: Site) -> None:
        if name == "grad" and _is_none(value) and _may_be_parameter(owner):
            # of a model that could not be followed all the way
            self.emit(EventKind.ZERO_GRAD, site, over=None, flags=("hand-written",))
        if isinstance(owner, Parameters):
            self._assign_parameter_view(owner, name, value, site)
        elif isinstance(owner, Tensor):
            if name == "requires_grad":
                self.record_requires_grad(owner, value, site)
            elif _resembles_requires_grad(name):
                self.switch_gradient(Parameters(()), name, value, "tensor", site)
            else:
                self.mark_written(owner)
        elif isinstance(owner, Instance):
            self.set_attribute(owner, name, value, site)
        elif isinstance(owner, Choice):
            for option in owner.options:
                if isinstance(option, Instance):
                    self.set_attribute(option, name, value, site)

    def _assign_parameter_view(
        self, owner: Parameters, name: str, value: Abstract, site: Site
    ) -> None:
        over = owner.owners if owner.resolved else None
        if name == "grad":
            cleared = isinstance(value, Const) and value.value is None
            kind = EventKind.ZERO_GRAD if cleared else EventKind.GRAD_WRITE
            self.emit(kind, site, over=over, flags=("hand-written",))
        elif name == "requires_grad" or _resembles_requires_grad(name):
            self.switch_gradient(owner, name, value, "parameters", site)
        elif name == "data" and self.loops:
            self.emit(EventKind.PARAMETER_WRITE, site, over=over)

    def set_attribute(self, owner: Instance, name: str, value: Abstract, site: Site) -> None:
        """``owner.name = value``, registering submodules and noting modules kept in plain lists."""
        if isinstance(value, Instance) and f"self.{name}" not in value.names:
            value.names.append(f"self.{name}")
        if owner.is_module:
            if isinstance(value, Parameters) and owner.cls.startswith("torch.nn."):
                # a weight of another module: not all its parameters are its own
                owner.complete = False
            named = name == "requires_grad" or _resembles_requires_grad(name)
            # what a library layer calls by that name may be a parameter
            certain = owner.parent is None and not self._among_tensors()
            if named and certain and not self.forward_depth and isinstance(value, Const):
                self.switch_gradient(Parameters((owner,)), name, value, "module", site)
            child = value
            if isinstance(child, Choice):
                modules = [o for o in child.options if isinstance(o, Instance) and o.is_module]
                child = modules[0] if modules else child
            if isinstance(child, Instance) and child.is_module:
                self.register_child(owner, name, child)
                self.write(owner.attributes, name, value)
                return
            if isinstance(value, (Seq, Map)):
                self._plain_container(owner, name, value, site)
        self.write(owner.attributes, name, value)

    def _among_tensors(self) -> bool:
        """Whether an ``isinstance`` test lets only tensors and parameters through here."""
        return any(
            name.rpartition(".")[2] in ("Parameter", "Tensor")
            for guard in self.class_guards
            for name in guard
        )

    def _plain_container(self, owner: Instance, name: str, value: Seq | Map, site: Site) -> None:
        container = "dict" if isinstance(value, Map) else value.kind
        self.plain_lists.append(PlainListDraft(owner, name, container, "", site, ()))
        self._plain_values[id(self.plain_lists[-1])] = value

    def _assign_item(self, target: ast.Subscript, value: Abstract, scope: Scope) -> None:
        owner = self.evaluate(target.value, scope)
        key = self.subscript_key(target, scope)
        site = Site(scope.module, target)
        if isinstance(owner, Map):
            if isinstance(key, Const):
                self.write(owner.items, key.value, value)
            else:
                owner.complete = False
        elif isinstance(owner, Seq):
            if (
                isinstance(key, Const)
                and isinstance(key.value, int)
                and owner.complete
                and -len(owner.items) <= key.value < len(owner.items)
            ):
                owner.items[key.value] = value
            else:
                owner.complete = False
        elif isinstance(owner, Tensor):
            self.mark_written(owner)
        elif isinstance(owner, ParameterGroups):
            if isinstance(key, Const) and key.value == "lr":
                args = {"value": Argument(value, site)}
                if isinstance(value, CurrentRate) and value.optimizer is owner.optimizer:
                    if value.factor is None:
                        return
                    args = {"factor": Argument(value.factor, site), "read": Argument(Const(True))}
                self.emit(EventKind.LR_WRITE, site, target=owner.optimizer, args=args)
        elif isinstance(owner, Instance):
            if owner.is_module and isinstance(value, Instance) and value.is_module:
                known = str(key.value) if isinstance(key, Const) else f"<{len(owner.children)}>"
                self.register_child(owner, known, value)
            elif isinstance(key, Const) and isinstance(key.value, str):
                self.write(owner.attributes, key.value, value)

    def _augmented(self, statement: ast.AugAssign, scope: Scope) -> None:
        current = self.evaluate(statement.target, scope)
        value = self.evaluate(statement.value, scope)
        site = Site(scope.module, statement)
        op = type(statement.op)
        lists = [v for v in (current, value) if not (isinstance(v, Seq) and not v.items)]
        gathered = merged_parameters(lists) if op is ast.Add else None
        if gathered is not None and not any(isinstance(v, Parameters) and v.single for v in lists):
            self.bind_target(statement.target, gathered, scope)
            return
        if isinstance(current, Parameters):
            over = current.owners if current.resolved else None
            kind = EventKind.PARAMETER_WRITE
            if current.view == "grad":
                kind = EventKind.CLIP if op in (ast.Mult, ast.Div) else EventKind.GRAD_WRITE
            self.emit(kind, site, over=over, flags=("hand-written",))
            return
        if isinstance(statement.target, ast.Subscript) and isinstance(
            current, (type(UNKNOWN), CurrentRate)
        ):
            owner = self.evaluate(statement.target.value, scope)
            if isinstance(owner, ParameterGroups):
                self._scale_learning_rate(owner, statement, op, value, scope)
                return
        if op is ast.Add and isinstance(value, Tensor) and self.forward_depth == 0:
            self.emit(EventKind.ACCUMULATE, site, flow=value.flow)
        if op is ast.BitOr and isinstance(current, Map):
            self.bind_target(statement.target, self.binary(op, current, value, site), scope)
            return
        if op not in _FOLLOWED:
            self.bind_target(statement.target, UNKNOWN, scope)
            return
        if isinstance(current, Seq) and op is ast.Add and not isinstance(value, Seq):
            known = self.known_items(value)
            value = Seq("list", known or [], known is not None)
        if isinstance(current, Seq) and self.loops and isinstance(value, Seq):
            value = Seq(value.kind, value.items, False, value.node)
        result = self.binary(op, current, value, site)
        if isinstance(current, Const) and isinstance(result, Const) and self.loops:
            result = UNKNOWN
        self.bind_target(statement.target, result, scope)

    def _is_model_state(self, scope: Scope) -> bool:
        return self.forward_depth > 0

    def _scale_learning_rate(
        self,
        owner: ParameterGroups,
        statement: ast.AugAssign,
        op: type[ast.operator],
        value: Abstract,
        scope: Scope,
    ) -> None:
        target = statement.target
        assert isinstance(target, ast.Subscript)
        key = self.subscript_key(target, scope)
        if isinstance(key, Const) and key.value == "lr":
            name = {ast.Mult: "factor", ast.Div: "divisor"}.get(op, "value")
            self.emit(
                EventKind.LR_WRITE,
                Site(scope.module, statement),
                target=owner.optimizer,
                args={name: Argument(value, Site(scope.module, statement.value))},
            )

    _plain_values: dict[int, Seq | Map]

    def duplicate_module(self, value: Instance, site: Site) -> Instance:
        """A deep copy: another object whose submodules are copies as well."""
        copies: dict[int, Instance] = {}

        def copied(module: Instance, place: Site) -> Instance:
            if module.id not in copies:
                copy = copies[module.id] = self.duplicate(module, place)
                for name, child in module.children.items():
                    copy.children[name] = copied(child, child.site)
                for name, held in module.attributes.items():
                    if isinstance(held, Instance) and held.id in copies:
                        copy.attributes[name] = copies[held.id]
                for name, given in module.args.items():
                    if isinstance(given.value, Instance) and given.value.is_module:
                        whole = copied(given.value, given.value.site)
                        copy.args[name] = Argument(whole, given.site)
            return copies[module.id]

        return copied(value, site)

    def duplicate(self, value: Instance, site: Site) -> Instance:
        """A shallow copy: another object with the same parts."""
        copy = self.new_instance(value.kind, value.cls, site, dict(value.args), value.klass)
        copy.attributes = dict(value.attributes)
        copy.children = Children(value.children)
        copy.bases = value.bases
        copy.complete = value.complete
        copy.parent = value
        return copy


def _is_none(value: Abstract) -> bool:
    return isinstance(value, Const) and value.value is None


def _may_be_parameter(value: Abstract) -> bool:
    """Whether this is a parameter for all that is known, without being known as one."""
    if isinstance(value, Choice):
        return any(isinstance(o, Parameters) or _may_be_parameter(o) for o in value.options)
    if isinstance(value, Instance):
        return value.kind is ObjectKind.SYMBOL
    return value is UNKNOWN
