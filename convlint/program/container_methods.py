"""Methods of tensors, parameters, sequences, mappings and strings."""

from __future__ import annotations

from convlint.program.domain import (
    UNKNOWN,
    Abstract,
    Argument,
    Arguments,
    Const,
    Iterated,
    Layers,
    Map,
    Parameters,
    Seq,
    Site,
    Tensor,
)
from convlint.program.facts import EventKind
from convlint.program.libraries.operations import (
    DETACHING,
    NOT_DIFFERENTIABLE,
    SIZE_METHODS,
    operation,
)
from convlint.program.library_calls import LibraryCalls
from convlint.program.settings_files import path_method

_IN_PLACE_INITIALISERS = frozenset(
    {"normal_", "uniform_", "fill_", "zero_", "xavier_", "trunc_normal_"}
)


_IN_PLACE_UPDATES = frozenset(
    {"add_", "sub_", "mul_", "div_", "copy_", "addcdiv_", "addcmul_", "lerp_", "set_"}
)


_CLIPPING = frozenset({"clamp_", "clip_", "mul_", "div_", "clamp_min_", "clamp_max_"})


HOOKS = ("register_hook", "register_post_accumulate_grad_hook")


class ValueMethods(LibraryCalls):
    """Methods of values that are not objects."""

    def _tensor_method(
        self, tensor: Tensor, name: str, arguments: Arguments, site: Site
    ) -> Abstract:
        if name == "backward":
            return self._backward_on(tensor.flow, arguments, site)
        if name in SIZE_METHODS or name == "item" or name == "tolist":
            return UNKNOWN
        if name == "requires_grad_":
            self.record_requires_grad(
                tensor, arguments.get(0, "requires_grad") or Const(True), site
            )
        if name in HOOKS:
            self.record_hook(name, site)
        if name in (*HOOKS, "retain_grad", "requires_grad_"):
            return tensor
        if name.endswith("_") and not name.endswith("__"):
            self.mark_written(tensor)
        inputs = [tensor.flow]
        inputs += [f for v in arguments.values() if (f := self.as_flow(v, site)) is not None]
        args = {
            k: a
            for k, a in self.named_arguments(f"torch.Tensor.{name}", arguments).items()
            if not isinstance(a.value, Tensor)
        }
        return self.new_flow(
            operation(name),
            tuple(dict.fromkeys(inputs)),
            args=args,
            name=f"torch.Tensor.{name}",
            site=site,
            detached=name in DETACHING or name in NOT_DIFFERENTIABLE,
        )

    def _backward_on(self, flow: int | None, arguments: Arguments, site: Site) -> Abstract:
        flags = []
        if flow is not None and self.flows[flow].op == "scaled":
            flags.append("scaled")
        for flag in ("retain_graph", "create_graph"):
            value = arguments.keywords.get(flag)
            if value is not None and isinstance(value.value, Const) and value.value.value is True:
                flags.append(flag)
        self.emit(EventKind.BACKWARD, site, flow=flow, flags=tuple(flags))
        return Const(None)

    def _parameter_method(
        self, parameter: Parameters, name: str, arguments: Arguments, site: Site
    ) -> Abstract:
        if "requires_grad" in name:
            value = arguments.get(0, "requires_grad") or Const(True)
            self.switch_gradient(parameter, name, value, "parameters", site, called=True)
        if name in HOOKS:
            self.record_hook(name, site)
        over = parameter.owners if parameter.resolved else None
        if parameter.view == "grad":
            if name == "zero_":
                self.emit(EventKind.ZERO_GRAD, site, over=over, flags=("hand-written",))
            elif name in _CLIPPING:
                self.emit(EventKind.CLIP, site, over=over, flags=("hand-written",), name=name)
            elif name in _IN_PLACE_UPDATES:
                self.emit(EventKind.GRAD_WRITE, site, over=over, name=name)
            return parameter if name in ("detach", "detach_", "data", "clone") else UNKNOWN
        if name in _IN_PLACE_INITIALISERS:
            named = self.named_arguments(
                f"torch.nn.init.{name}",
                Arguments([Argument(parameter), *arguments.positional], arguments.keywords),
            )
            if name == "fill_":
                named = {"val": arguments.positional[0]} if arguments.positional else {}
            self.record_initialisation(f"torch.Tensor.{name}", parameter, named, site)
            return parameter
        if name in _IN_PLACE_UPDATES:
            if self.loops:
                self.emit(EventKind.PARAMETER_WRITE, site, over=over, name=name)
            elif name in ("mul_", "copy_", "div_", "add_"):
                self.record_initialisation(f"torch.Tensor.{name}", parameter, {}, site)
            return parameter
        if name in ("clamp_", "clip_"):
            self.emit(EventKind.PARAMETER_WRITE, site, over=over, name=name)
        if name in ("detach", "data", "clone", "to", "cuda", "view", "requires_grad_", "t"):
            return parameter
        if name in ("dim", "numel", "size", "nelement"):
            return UNKNOWN
        flow = self.new_flow("<parameter>", site=site)
        return self.new_flow(operation(name), (flow.flow,), site=site)

    def _layers_method(self, layers: Layers, name: str, site: Site) -> Abstract:
        if name in ("parameters", "named_parameters"):
            return Parameters(layers.instances, named=name.startswith("named"))
        return UNKNOWN

    def _sequence_method(
        self, sequence: Seq, name: str, arguments: Arguments, site: Site
    ) -> Abstract:
        value = arguments.positional[-1].value if arguments.positional else UNKNOWN
        if name in ("append", "extend"):
            self.grows(sequence)
        if name == "append":
            if isinstance(value, Tensor) and self.loops:
                self.emit(EventKind.ACCUMULATE, site, flow=value.flow, flags=("append",))
            if self.loops:
                sequence.complete = False
                if not any(item is value for item in sequence.items[-1:]):
                    sequence.items.append(value)
            else:
                sequence.items.append(value)
        elif name == "extend":
            known = self.known_items(value)
            if known is None:
                sequence.complete = False
            else:
                sequence.items.extend(known)
                sequence.complete = sequence.complete and not self.loops
        elif name == "insert":
            sequence.items.insert(0, value)
            sequence.complete = False
        elif name == "pop":
            return sequence.items[-1] if sequence.items else UNKNOWN
        elif name == "copy":
            return Seq(sequence.kind, list(sequence.items), sequence.complete, sequence.node)
        return UNKNOWN

    def mapping_method(self, mapping: Map, name: str, arguments: Arguments, site: Site) -> Abstract:
        """A method of a dict."""
        key = arguments.positional[0].value if arguments.positional else UNKNOWN
        if name in ("items", "values"):
            return Iterated(name, (mapping,))
        if name == "keys":
            return Seq("list", [Const(k) for k in mapping.items], mapping.complete)
        if name in ("get", "pop", "setdefault") and isinstance(key, Const):
            found = mapping.items.get(key.value)
            if found is not None:
                return found
            default = (
                arguments.positional[1].value if len(arguments.positional) > 1 else Const(None)
            )
            if name == "setdefault":
                mapping.items[key.value] = default if mapping.complete else UNKNOWN
            return default if mapping.complete else UNKNOWN
        if name == "update":
            if isinstance(key, Map):
                mapping.items.update(key.items)
                mapping.complete = mapping.complete and key.complete
            elif arguments.positional:
                mapping.complete = False
            mapping.items.update({k: a.value for k, a in arguments.keywords.items()})
        if name == "copy":
            return Map(dict(mapping.items), mapping.complete, mapping.node)
        return UNKNOWN


_FOLDED_STRING_METHODS = frozenset(
    {"find", "startswith", "endswith", "lower", "upper", "strip", "replace", "count"}
)


def constant_method(constant: Const, name: str, arguments: Arguments) -> Abstract:
    if not isinstance(constant.value, str):
        return UNKNOWN
    followed = path_method(constant, name, arguments)
    if followed is not None:
        return followed
    if name not in _FOLDED_STRING_METHODS:
        return UNKNOWN
    given = [v.value for v in arguments.values() if isinstance(v, Const)]
    if len(given) != len(arguments.values()):
        return UNKNOWN
    try:
        return Const(getattr(constant.value, name)(*given), constant.origin, constant.certain)
    except (TypeError, ValueError):
        return UNKNOWN
