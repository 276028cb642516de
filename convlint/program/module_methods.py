"""Methods of modules: their mode, their parameters, their children, their precision."""

from __future__ import annotations

from convlint.program.container_methods import ValueMethods
from convlint.program.domain import (
    UNKNOWN,
    Abstract,
    Argument,
    Arguments,
    Const,
    Function,
    Instance,
    Iterated,
    Layers,
    Library,
    Parameters,
    Site,
)
from convlint.program.drafts import CallDraft
from convlint.program.facts import EventKind, ObjectKind

SAME_MODULE = frozenset(
    {
        "to", "cuda", "cpu", "half", "float", "double", "bfloat16", "type", "requires_grad_",
        "share_memory", "compile", "to_empty", "xpu", "npu", "mps",
    }
)  # fmt: skip
"""Methods that answer with the module itself."""

_PRECISIONS = {
    "half": "torch.float16",
    "bfloat16": "torch.bfloat16",
    "float": "torch.float32",
    "double": "torch.float64",
}
_DTYPES = frozenset({*_PRECISIONS.values(), "torch.half", "torch.double", "torch.float"})


class ModuleMethods(ValueMethods):
    """Calls of the methods torch.nn.Module has."""

    def _module_method(
        self, module: Instance, name: str, arguments: Arguments, site: Site
    ) -> Abstract:
        leader = module.leader
        if name in ("apply", "register_comm_hook"):
            self._record_method(module, name, arguments, UNKNOWN, site)
        if name in ("parameters", "named_parameters"):
            return Parameters((leader,), named=name.startswith("named"), lazy=True)
        if name in ("train", "eval"):
            self._set_mode(leader, name, arguments, site)
            return module
        if name == "zero_grad":
            self.emit(EventKind.ZERO_GRAD, site, target=leader, over=(leader,), name=name)
            return Const(None)
        if name in ("modules", "children", "named_modules"):
            return Iterated(name, (module,))
        if name == "named_children":
            return Iterated("items", (module,))
        if name in ("items", "values"):
            return Iterated(name, (module,))
        if name == "apply":
            self._apply_function(module, arguments, site)
            return module
        if name in ("forward", "__call__"):
            output = self.call_module(module, arguments, site)
            self._record_method(module, name, arguments, output, site)
            return output
        if name in ("append", "extend", "insert"):
            return self._grow_container(module, name, arguments)
        if name in ("add_module", "register_module") and len(arguments.positional) == 2:
            key, child = (a.value for a in arguments.positional)
            if isinstance(child, Instance) and child.is_module:
                self.register_child(
                    module,
                    str(key.value) if isinstance(key, Const) else f"<{len(module.children)}>",
                    child,
                )
            return Const(None)
        if name in ("register_buffer", "register_parameter") and arguments.positional:
            key = arguments.positional[0].value
            value = arguments.get(1, "tensor") or arguments.get(1, "param")
            if isinstance(key, Const) and isinstance(key.value, str) and value is not None:
                self.write(module.attributes, key.value, value)
            return Const(None)
        if name in ("log", "log_dict", "save_hyperparameters"):
            return Const(None)
        if name == "manual_backward":
            loss = arguments.positional[0].value if arguments.positional else UNKNOWN
            return self._backward_on(self.as_flow(loss, site), arguments, site)
        if name in SAME_MODULE:
            if name == "requires_grad_":
                value = arguments.get(0, "requires_grad") or Const(True)
                self.switch_gradient(Parameters((leader,)), name, value, "module", site)
            self._note_precision(module, name, arguments)
            return module
        if name == "state_dict":
            # the tensors in it are those of the module, not copies
            state = self.new_instance(
                ObjectKind.LIBRARY, "torch.nn.Module.state_dict", site, {"module": Argument(leader)}
            )
            self._record_method(module, name, arguments, state, site)
            return state
        if name == "load_state_dict":
            self._record_method(module, name, arguments, UNKNOWN, site)
            return UNKNOWN
        if name in ("buffers", "named_buffers", "extra_repr"):
            return UNKNOWN
        if module.kind is ObjectKind.MODEL and not module.complete:
            self.escape((module, *arguments.values()), site, name)
        flows = [f for v in arguments.values() if (f := self.as_flow(v, site)) is not None]
        return (
            self.new_flow("<unknown>", tuple(flows), layer=module, site=site) if flows else UNKNOWN
        )

    def _set_mode(self, module: Instance, name: str, arguments: Arguments, site: Site) -> None:
        mode = arguments.get(0, "mode")
        if name == "train" and isinstance(mode, Const):
            kind = EventKind.TRAIN_MODE if mode.value else EventKind.EVAL_MODE
        elif name == "train" and mode is not None:
            self.emit(EventKind.UNKNOWN_CALL, site, target=module, name="train(mode)")
            return
        else:
            kind = EventKind.TRAIN_MODE if name == "train" else EventKind.EVAL_MODE
        self.emit(kind, site, target=module)

    def _apply_function(self, module: Instance, arguments: Arguments, site: Site) -> None:
        function = arguments.get(0, "fn")
        if isinstance(function, Function):
            for group in self.grouped_modules(module):
                argument = group
                if isinstance(group, Layers) and group.instances[0].klass is not None:
                    argument = group.instances[0]
                self.call_function(function, [argument], {}, site)

    def _grow_container(self, module: Instance, name: str, arguments: Arguments) -> Abstract:
        value = arguments.positional[-1].value if arguments.positional else UNKNOWN
        if name == "extend":
            known = self.known_items(value)
            if known is None:
                module.complete = False
            else:
                self.extend_container(module, known)
        else:
            self.extend_container(module, [value])
        if self.loops:
            module.complete = False
        return module

    def _note_precision(self, module: Instance, name: str, arguments: Arguments) -> None:
        """Remember the dtype a module was last brought to."""
        given = [a.value for a in (*arguments.positional, *arguments.keywords.values())]
        named = next((v for v in given if isinstance(v, Library) and v.name in _DTYPES), None)
        if name in _PRECISIONS:
            named = Library(_PRECISIONS[name])
        if named is not None:
            self.write(module.attributes, "dtype", named)

    def _record_method(
        self, module: Instance, name: str, arguments: Arguments, result: Abstract, site: Site
    ) -> None:
        """Record a call of one of a module's own methods among the program's calls."""
        qualified = f"torch.nn.Module.{name}"
        self.calls.append(
            CallDraft(
                qualified,
                site,
                self.named_arguments(qualified, arguments),
                result,
                module.leader,
                tuple(self.context),
                tuple(self.loops),
                "",
                self.inside_branch,
                self.within,
                tuple(self.conditions),
            )
        )
