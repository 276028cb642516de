"""Classes of the project: making instances, finding methods, calling objects."""

from __future__ import annotations

from convlint.program.calls import Calls
from convlint.program.domain import (
    UNKNOWN,
    Abstract,
    Arguments,
    Class,
    Const,
    ForwardResult,
    Function,
    Instance,
    Scope,
    Seq,
    Site,
)
from convlint.program.facts import EventKind, ObjectKind, Origin
from convlint.program.libraries.kinds import DATASET_BASES, is_module_base
from convlint.program.syntax import positional_parameters

ENOUGH_CONSTRUCTION = 1_000
"""Statements; scripts write models of some hundred, libraries offer large ones in dozens of sizes
that differ in numbers alone."""


class Instances(Calls):
    """Instances of project classes, and calls of objects."""

    def lineage(self, klass: Class) -> list[Class]:
        """The project classes of the method resolution order, nearest first."""
        order = [klass]
        for base in klass.bases:
            if isinstance(base, Class):
                order += [c for c in self.lineage(base) if c not in order]
        return order

    def method_of(self, receiver: Abstract, name: str) -> Abstract | None:
        """The project attribute or method ``name`` of an instance's class."""
        if not isinstance(receiver, Instance) or receiver.klass is None:
            return None
        for klass in self.lineage(receiver.klass):
            member = klass.members.get(name)
            if member is None:
                continue
            if isinstance(member, Function):
                bound = Function(
                    member.node,
                    member.scope,
                    member.name,
                    klass,
                    receiver.klass if "classmethod" in member.decorators else receiver,
                    member.decorators,
                    member.options,
                )
                if (
                    "property" in member.decorators
                    or "functools.cached_property" in member.decorators
                ):
                    return self.call_function(bound, [], {}, Site(member.scope.module, member.node))
                return bound
            return member
        return None

    def instantiate(self, klass: Class, arguments: Arguments, site: Site) -> Abstract:
        """Make an instance of a project class and walk its ``__init__``."""
        kind = self.class_kind(klass)
        if kind is None:
            return UNKNOWN
        if kind is ObjectKind.MODEL and self.standalone and not self.forward_depth:
            return self._build_model(kind, klass, arguments, site)
        return self._construct(kind, klass, arguments, site)

    def _build_model(
        self, kind: ObjectKind, klass: Class, arguments: Arguments, site: Site
    ) -> Abstract:
        """A model in a function nothing here calls: one of the many sizes a library offers.

        Once enough models of its class were walked, the next ones are out of sight.
        """
        spent = self.construction_cost.get(klass, 0)
        if spent >= ENOUGH_CONSTRUCTION:
            return self.unresolved_call(arguments, site, klass.name)
        before = self.budget
        instance = self._construct(kind, klass, arguments, site)
        self.construction_cost[klass] = spent + before - self.budget
        return instance

    def _construct(
        self, kind: ObjectKind, klass: Class, arguments: Arguments, site: Site
    ) -> Instance:
        instance = self.new_instance(
            kind, f"{klass.scope.module.name}.{klass.name}", site, klass=klass
        )
        instance.bases = tuple(sorted(klass.lineage))
        instance.complete = klass.resolved
        for position, argument in enumerate(arguments.positional):
            instance.args[str(position)] = argument
        instance.args.update(arguments.keywords)
        self._fill_fields(instance, klass, arguments)
        initialiser = self.method_of(instance, "__init__")
        if isinstance(initialiser, Function):
            self._name_arguments(instance, initialiser)
            contexts, self.context = self.context, []
            self.forward_depth += 1
            try:
                self.call_with(initialiser, arguments, site)
            finally:
                self.forward_depth -= 1
                self.context = contexts
        elif not klass.resolved:
            self.escape(arguments.values(), site, klass.name)
        setup = self.method_of(instance, "setup") if kind is ObjectKind.MODEL else None
        if isinstance(setup, Function) and "lightning" in " ".join(klass.lineage):
            self.call_function(setup, [], {}, site)
        return instance

    def _name_arguments(self, instance: Instance, initialiser: Function) -> None:
        parameters = positional_parameters(initialiser.node.args)[1:]
        for position, (parameter, _) in enumerate(parameters):
            argument = instance.args.pop(str(position), None)
            if argument is not None:
                instance.args[parameter.arg] = argument

    def class_kind(self, klass: Class) -> ObjectKind | None:
        """What an instance of the class is; None for enumerations, exceptions and the like."""
        lineage = klass.lineage
        if any(is_module_base(name) for name in lineage):
            return ObjectKind.MODEL
        if lineage & DATASET_BASES or any(n.startswith("torchvision.datasets.") for n in lineage):
            return ObjectKind.DATASET
        if any(n.startswith("torch.optim.lr_scheduler.") for n in lineage):
            return ObjectKind.SCHEDULER
        if any(n.startswith("torch.optim.") for n in lineage):
            return ObjectKind.OPTIMIZER
        if any(
            n.endswith(("Enum", "Exception", "Error", "torch.autograd.Function")) for n in lineage
        ):
            return None
        return ObjectKind.INSTANCE

    def _fill_fields(self, instance: Instance, klass: Class, arguments: Arguments) -> None:
        """Dataclass-like classes: annotated fields take the arguments or their defaults."""
        owners = [owner for owner in reversed(self.lineage(klass)) if owner.fields]
        for owner in owners:
            for name, node in owner.fields.items():
                default = owner.members.get(name)
                if default is None:
                    continue
                if isinstance(default, Const):
                    place = owner.scope.module.positions.of(node)
                    origin = Origin(
                        "dataclass default", f"default of {name} in {owner.name}", place
                    )
                    default = Const(default.value, origin, certain=False)
                instance.attributes[name] = default
        if self.method_of(instance, "__init__") is None:
            fields = dict.fromkeys(name for owner in owners for name in owner.fields)
            for name, argument in zip(fields, arguments.positional, strict=False):
                instance.attributes[name] = argument.value
            for name, argument in arguments.keywords.items():
                instance.attributes[name] = argument.value
            if not arguments.complete:
                for name in fields.keys() - arguments.keywords.keys():
                    instance.attributes[name] = UNKNOWN
            completed = self.method_of(instance, "__post_init__") if fields else None
            if isinstance(completed, Function):
                self.call_function(completed, [], {}, instance.site)

    def call_instance(
        self, instance: Instance, arguments: Arguments, site: Site, scope: Scope
    ) -> Abstract:
        """Call an object: a module's forward, a loss, a symbol."""
        kind = instance.kind
        if instance.is_module:
            return self.call_module(instance, arguments, site)
        if kind is ObjectKind.LOSS:
            return self.call_loss(instance.cls, arguments, site, instance)
        if kind in (ObjectKind.TRANSFORM, ObjectKind.ESTIMATOR):
            flows = tuple(
                f for f in (self.as_flow(v, site) for v in arguments.values()) if f is not None
            )
            return self.new_flow("transform", flows, source=instance, name=instance.cls, site=site)
        if kind is ObjectKind.SYMBOL:
            return self._call_symbol(instance, arguments, site)
        called = self.method_of(instance, "__call__")
        if isinstance(called, Function):
            return self.call_with(called, arguments, site)
        return self.unresolved_call(arguments, site, instance.cls)

    def _call_symbol(self, symbol: Instance, arguments: Arguments, site: Site) -> Abstract:
        flows = tuple(
            dict.fromkeys(f for v in arguments.values() if (f := self.as_flow(v, site)) is not None)
        )
        others = [v for v in arguments.values() if self.training_objects(v)]
        if any(not (isinstance(v, Instance) and v.kind is ObjectKind.SYMBOL) for v in others):
            self.escape(arguments.values(), site, ".".join(symbol.names[:1]))
        if not flows:
            return self.new_symbol(f"{symbol.names[0]}()" if symbol.names else "", site)
        symbol.methods.add("<called>")
        output = self.new_flow("<unknown>", flows, source=symbol, site=site)
        if self.forward_depth == 0:
            self.emit(EventKind.FORWARD, site, target=symbol, flow=output.flow)
        return output

    def call_module(self, module: Instance, arguments: Arguments, site: Site) -> Abstract:
        """Apply a module: walk its forward when it is the project's."""
        outermost = self.forward_depth == 0
        self.forward_depth += 1
        try:
            result = self._forward(module, arguments, site)
        finally:
            self.forward_depth -= 1
        if outermost:
            output = self.as_flow(
                result.items[0] if isinstance(result, Seq) and result.items else result, site
            )
            self.emit(EventKind.FORWARD, site, target=module, flow=output)
        return result

    def _forward(self, module: Instance, arguments: Arguments, site: Site) -> Abstract:
        forward = self.method_of(module, "forward") if module.klass is not None else None
        if isinstance(forward, Function):
            result = self.call_with(forward, arguments, site)
            if module.forward is None:
                self._remember_forward(module, arguments, result, site)
            return result
        return self.call_layer(module, arguments, site)

    def _remember_forward(
        self, module: Instance, arguments: Arguments, result: Abstract, site: Site
    ) -> None:
        inputs = tuple(
            f for f in (self.as_flow(v, site) for v in arguments.values()) if f is not None
        )
        results = result.items if isinstance(result, Seq) else [result]
        outputs = tuple(f for f in (self.as_flow(v, site) for v in results) if f is not None)
        module.forward = ForwardResult(inputs, outputs, bool(outputs))
