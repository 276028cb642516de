"""Methods of library objects: where most training events come from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from convlint.program.command_line import PARSERS, SUBPARSERS, parser_method
from convlint.program.container_methods import constant_method
from convlint.program.domain import (
    UNKNOWN,
    Abstract,
    Argument,
    Arguments,
    Choice,
    Const,
    Function,
    Instance,
    Iterated,
    Layers,
    Map,
    Parameters,
    Scope,
    Seq,
    Site,
    Tensor,
)
from convlint.program.facts import EventKind, ObjectKind
from convlint.program.fields import as_dict, replaced
from convlint.program.libraries.operations import (
    DETACHING,
    operation,
)
from convlint.program.module_methods import SAME_MODULE, ModuleMethods
from convlint.program.namespaces import is_namespace, keep_hyperparameters, namespace_method

_QUIET_PREFIXES = ("save", "load", "print", "log", "add_", "get_", "set_", "is_", "num_", "format")


class LibraryMethods(ModuleMethods):
    """Method calls whose receiver is not a project object with that method."""

    def library_method(
        self, receiver: Abstract, name: str, arguments: Arguments, site: Site, scope: Scope
    ) -> Abstract:
        """``receiver.name(...)``."""
        if isinstance(receiver, Tensor):
            return self._tensor_method(receiver, name, arguments, site)
        if isinstance(receiver, Instance):
            receiver.methods.add(name)
            if name == "save_hyperparameters":
                keep_hyperparameters(self, receiver, arguments, scope.names, site)
            handler = _BY_KIND.get(receiver.kind, LibraryMethods._other_method)
            return handler(self, receiver, name, arguments, site)
        if isinstance(receiver, Parameters):
            return self._parameter_method(receiver, name, arguments, site)
        if isinstance(receiver, Layers):
            return self._layers_method(receiver, name, site)
        if isinstance(receiver, Seq):
            return self._sequence_method(receiver, name, arguments, site)
        if isinstance(receiver, Map):
            return self.mapping_method(receiver, name, arguments, site)
        if isinstance(receiver, Const):
            return constant_method(receiver, name, arguments)
        if isinstance(receiver, Iterated) and name == "__next__":
            return self.element_of(receiver, site)
        return UNKNOWN

    def _optimizer_method(
        self, optimizer: Instance, name: str, arguments: Arguments, site: Site
    ) -> Abstract:
        leader = optimizer.leader
        if name == "zero_grad":
            self.emit(EventKind.ZERO_GRAD, site, target=leader, name=name)
        elif name == "step":
            closure = arguments.get(0, "closure")
            if isinstance(closure, Function):
                self.call_function(closure, [], {}, site)
            flags = ("closure",) if closure is not None and not _is_none(closure) else ()
            self.emit(EventKind.STEP, site, target=leader, flags=flags)
        elif name == "add_param_group":
            optimizer.args["param_groups"] = Argument(UNKNOWN, site)
        elif name in ("train", "eval"):
            return Const(None)
        return UNKNOWN

    def _scheduler_method(
        self, scheduler: Instance, name: str, arguments: Arguments, site: Site
    ) -> Abstract:
        if name in ("step", "step_update"):
            leader = scheduler.leader
            self.emit(
                EventKind.SCHEDULER_STEP,
                site,
                target=leader,
                name=name,
                args=self._stepped_with(arguments),
            )
        return UNKNOWN

    def _stepped_with(self, arguments: Arguments) -> dict[str, Argument]:
        """The argument of a scheduler's step, and its source: ``val_loss``, ``epoch + 1``."""
        args = {str(i): a for i, a in enumerate(arguments.positional)} | arguments.keywords
        first = next(iter(args.values()), None)
        if first is not None and first.site is not None:
            code = first.site.module.positions.text(first.site.node)
            args["text"] = Argument(Const(" ".join(code.split())), first.site)
        return args

    def _scaler_method(
        self, scaler: Instance, name: str, arguments: Arguments, site: Site
    ) -> Abstract:
        leader = scaler.leader
        first = arguments.positional[0].value if arguments.positional else UNKNOWN
        if name == "scale":
            flow = self.as_flow(first, site)
            return self.new_flow(
                "scaled", (flow,) if flow is not None else (), source=leader, site=site
            )
        optimizer = self.training_object(first)
        if name == "unscale_":
            self.emit(EventKind.UNSCALE, site, target=leader, optimizer=optimizer)
        elif name == "step":
            self.emit(EventKind.SCALER_STEP, site, target=leader, optimizer=optimizer)
        elif name == "update":
            self.emit(EventKind.SCALER_UPDATE, site, target=leader)
        return UNKNOWN

    def training_object(self, value: Abstract) -> Instance | None:
        """The one optimizer (or symbol) that ``value`` is."""
        if isinstance(value, Instance):
            return value.leader
        if isinstance(value, Choice):
            found = {i.leader.id: i.leader for i in value.options if isinstance(i, Instance)}
            return next(iter(found.values())) if len(found) == 1 else None
        return None

    def _accelerator_method(
        self, accelerator: Instance, name: str, arguments: Arguments, site: Site
    ) -> Abstract:
        values = [a.value for a in arguments.positional]
        if name in ("prepare", "setup", "setup_dataloaders", "prepare_model", "prepare_optimizer",
                    "prepare_data_loader", "prepare_scheduler", "unwrap_model", "setup_module"):  # fmt: skip
            return values[0] if len(values) == 1 else Seq("tuple", values)
        if name == "backward":
            flow = next((f for v in values if (f := self.as_flow(v, site)) is not None), None)
            self.emit(EventKind.BACKWARD, site, flow=flow, flags=("accelerate",))
            return Const(None)
        if name in ("clip_grad_norm_", "clip_grad_value_", "clip_gradients"):
            position = 1 if name == "clip_gradients" else 0
            owners, resolved = self.parameter_owners(
                arguments.get(position, "parameters") or UNKNOWN
            )
            self.emit(
                EventKind.CLIP,
                site,
                over=owners if resolved else None,
                name=f"accelerator.{name}",
                args={str(i): a for i, a in enumerate(arguments.positional)},
                flags=("accelerate",),
            )
            return UNKNOWN
        if name in ("accumulate", "autocast", "no_sync", "no_backward_sync"):
            return self.new_instance(ObjectKind.LIBRARY, f"accelerator.{name}", site)
        if name in ("gather", "gather_for_metrics", "reduce", "pad_across_processes"):
            flow = self.as_flow(values[0], site) if values else None
            return (
                self.new_flow(name, (flow,), site=site, detached=True)
                if flow is not None
                else UNKNOWN
            )
        return UNKNOWN

    def _estimator_method(
        self, estimator: Instance, name: str, arguments: Arguments, site: Site
    ) -> Abstract:
        flow = self.as_flow(arguments.positional[0].value, site) if arguments.positional else None
        if name == "fit":
            return estimator
        if name in ("transform", "fit_transform", "inverse_transform", "predict", "predict_proba"):
            inputs = (flow,) if flow is not None else ()
            return self.new_flow(
                name, inputs, source=estimator, name=f"{estimator.cls}.{name}", site=site
            )
        return UNKNOWN

    def _symbol_method(
        self, symbol: Instance, name: str, arguments: Arguments, site: Site
    ) -> Abstract:
        values = arguments.values()
        if name == "backward":
            return self._backward_on(self.as_flow(symbol, site), arguments, site)
        if name == "step":
            return self._symbol_step(symbol, arguments, site)
        if name == "zero_grad":
            self.emit(EventKind.ZERO_GRAD, site, target=symbol, name=name)
            return Const(None)
        if name in ("train", "eval") and len(values) <= 1:
            self._set_mode(symbol, name, arguments, site)
            return symbol
        if name in ("parameters", "named_parameters"):
            return Parameters((symbol,), named=name.startswith("named"), lazy=True)
        if name == "scale" and values and self.as_flow(values[0], site) is not None:
            return self._scaler_method(symbol, name, arguments, site)
        if name in ("unscale_", "update"):
            return self._scaler_method(symbol, name, arguments, site)
        if name in ("modules", "children", "named_modules"):
            return Iterated(name, (symbol,))
        if name == "manual_backward" and values:
            return self._backward_on(self.as_flow(values[0], site), arguments, site)
        if name in SAME_MODULE:
            return symbol
        if name in ("clip_grad_norm_", "clip_grad_value_"):
            return self._accelerator_method(symbol, name, arguments, site)
        if name == "item":
            return UNKNOWN
        if name in ("items", "values", "keys", "append", "format", "join", "state_dict", "apply"):
            return UNKNOWN
        if not name.startswith(_QUIET_PREFIXES):
            self.escape(values, site, name)
        flow = self.as_flow(symbol, site)
        inputs = (flow,) if flow is not None else ()
        return self.new_flow(
            operation(name),
            inputs,
            site=site,
            name=f"torch.Tensor.{name}",
            detached=name in DETACHING,
        )

    def _symbol_step(self, symbol: Instance, arguments: Arguments, site: Site) -> Abstract:
        values = arguments.values()
        first = values[0] if values else None
        stepped = self.training_object(first) if first is not None else None
        if stepped is not None and (
            stepped.kind is ObjectKind.OPTIMIZER or stepped.methods & {"zero_grad", "param_groups"}
        ):
            self.emit(EventKind.SCALER_STEP, site, target=symbol, optimizer=stepped)
        elif first is None or isinstance(first, Function):
            if isinstance(first, Function):
                self.call_function(first, [], {}, site)
            self.emit(
                EventKind.STEP, site, target=symbol, flags=("closure",) if first is not None else ()
            )
        else:
            self.emit(EventKind.UNKNOWN_CALL, site, target=symbol, name="step")
        return UNKNOWN

    def _fit(self, arguments: Arguments) -> None:
        """Remember what ``trainer.fit(module, loader)`` or ``fit(module, datamodule=data)`` trains on."""
        module = arguments.get(0, "model")
        data = arguments.get(1, "train_dataloaders") or arguments.get(3, "datamodule")
        if isinstance(module, Instance) and data is not None:
            self.fitted[module.id] = data

    def _other_method(
        self, instance: Instance, name: str, arguments: Arguments, site: Site
    ) -> Abstract:
        if instance.kind is ObjectKind.LIBRARY and (
            instance.cls in PARSERS or instance.cls == SUBPARSERS
        ):
            return parser_method(self, instance, name, arguments, site)
        if is_namespace(instance):
            return namespace_method(self, instance, name, arguments, site)
        if instance.kind is ObjectKind.INSTANCE and name in ("_replace", "_asdict"):
            fields = replaced(self, instance, arguments, site)
            return fields if name == "_replace" else as_dict(fields, site)
        if (
            instance.kind is ObjectKind.INSTANCE
            and instance.klass is not None
            and not instance.klass.resolved
        ):
            self.escape((instance, *arguments.values()), site, name)
            return self.new_symbol(name, site)
        if instance.kind is ObjectKind.TRAINER:
            if name == "fit" and instance.cls.startswith("lightning."):
                self._fit(arguments)
            self.escape(arguments.values(), site, name)
            return UNKNOWN
        if (
            instance.kind in (ObjectKind.LOSS, ObjectKind.LOADER, ObjectKind.DATASET)
            and name in SAME_MODULE
        ):
            return instance
        if instance.kind is ObjectKind.LOSS and name == "forward":
            return self.call_loss(instance.cls, arguments, site, instance)
        if instance.kind is ObjectKind.LIBRARY and instance.cls.startswith("torch.distributions."):
            return self.new_flow(
                name,
                tuple(f for v in arguments.values() if (f := self.as_flow(v, site)) is not None),
                site=site,
            )
        return UNKNOWN


def _is_none(value: Abstract) -> bool:
    return isinstance(value, Const) and value.value is None


_BY_KIND: dict[ObjectKind, Callable[[Any, Instance, str, Arguments, Site], Abstract]] = {
    ObjectKind.OPTIMIZER: LibraryMethods._optimizer_method,
    ObjectKind.SCHEDULER: LibraryMethods._scheduler_method,
    ObjectKind.SCALER: LibraryMethods._scaler_method,
    ObjectKind.MODEL: LibraryMethods._module_method,
    ObjectKind.LAYER: LibraryMethods._module_method,
    ObjectKind.ACCELERATOR: LibraryMethods._accelerator_method,
    ObjectKind.ESTIMATOR: LibraryMethods._estimator_method,
    ObjectKind.SYMBOL: LibraryMethods._symbol_method,
}
