"""Subscripts and attributes of abstract values."""

from __future__ import annotations

import ast
import math
from typing import Any

from msgspec.structs import replace

from convlint.program.domain import (
    UNKNOWN,
    Abstract,
    Argument,
    Choice,
    Class,
    Const,
    CurrentRate,
    Function,
    Instance,
    Iterated,
    Layers,
    Library,
    LibraryMethod,
    LoopRange,
    Map,
    ParameterGroups,
    Parameters,
    ProjectModule,
    Scope,
    Seq,
    Site,
    Tensor,
    Unknown,
)
from convlint.program.facts import ObjectKind, Origin, Scalar
from convlint.program.libraries.kinds import canonical
from convlint.program.libraries.operations import DETACHING, SIZE_ATTRIBUTES
from convlint.program.operators import Operators
from convlint.program.settings_files import path_attribute

LITERAL = Origin("literal")


class Access(Operators):
    """What ``x[i]`` and ``x.name`` give."""

    def _subscript(self, node: ast.Subscript, scope: Scope) -> Abstract:
        value = self.evaluate(node.value, scope)
        site = Site(scope.module, node)
        if isinstance(node.slice, ast.Slice):
            return self._slice(value, node.slice, scope, site)
        return self.item(value, self.subscript_key(node, scope), site)

    def subscript_key(self, node: ast.Subscript, scope: Scope) -> Abstract:
        """What stands between the brackets, when it is one index."""
        if isinstance(node.slice, ast.Tuple):
            return Seq("tuple", [], False)
        return UNKNOWN if isinstance(node.slice, ast.Slice) else self.evaluate(node.slice, scope)

    def _slice(self, value: Abstract, part: ast.Slice, scope: Scope, site: Site) -> Abstract:
        if isinstance(value, Seq):
            bounds: list[Any] = []
            for bound in (part.lower, part.upper, part.step):
                constant = self.evaluate(bound, scope) if bound is not None else Const(None)
                if not (
                    isinstance(constant, Const)
                    and (constant.value is None or isinstance(constant.value, int))
                ):
                    return Seq(value.kind, value.items, False, value.node)
                bounds.append(constant.value)
            if value.complete and bounds[2] != 0:
                return Seq(value.kind, value.items[slice(*bounds)], True, value.node)
            return Seq(value.kind, value.items, False, value.node)
        if isinstance(value, Instance) and value.cls == "torch.nn.Sequential":
            return value
        return self.item(value, UNKNOWN, site)

    def item(self, value: Abstract, key: Abstract, site: Site) -> Abstract:
        """``value[key]``."""
        constant = key.value if isinstance(key, Const) else None
        if isinstance(value, Seq):
            if (
                isinstance(constant, int)
                and value.complete
                and -len(value.items) <= constant < len(value.items)
            ):
                return value.items[constant]
            return self.join(list(value.items)) if value.items else UNKNOWN
        if isinstance(value, Map):
            if isinstance(key, Const) and key.certain:
                return value.items.get(key.value, UNKNOWN)
            return self._pick(value, key.value if isinstance(key, Const) else None)
        if isinstance(value, Tensor):
            flow = self.flows[value.flow]
            if (
                flow.op == "<batch>"
                and isinstance(key, Const)
                and flow.index is None
                and isinstance(constant, (int, str))
            ):
                return self._batch_item(value, constant, site)
            args = {"index": Argument(key)}
            if isinstance(site.node, ast.Subscript) and isinstance(site.node.slice, ast.Tuple):
                parts = [site.module.positions.text(part) for part in site.node.slice.elts]
                args["axes"] = Argument(Const(",".join(part.strip() for part in parts), LITERAL))
            return self.new_flow("getitem", (value.flow,), args=args, site=site)
        if isinstance(value, Instance):
            if value.kind in (ObjectKind.LAYER, ObjectKind.MODEL) and value.children:
                named = value.children.get(str(constant)) if constant is not None else None
                if (
                    named is None
                    and isinstance(constant, int)
                    and -len(value.children) <= constant < 0
                ):
                    named = list(value.children.values())[constant]
                return named if named is not None else self.join(list(value.children.values()))
            if value.kind is ObjectKind.DATASET:
                return self.new_flow("<batch>", source=value, site=site)
            if value.kind is ObjectKind.INSTANCE:
                method = self.method_of(value, "__getitem__")
                if isinstance(method, Function):
                    return self.call_function(method, [key], {}, site)
                if isinstance(constant, str) and constant in value.attributes:
                    return value.attributes[constant]
            if value.kind is ObjectKind.SYMBOL:
                return self.symbol_part(
                    value, f"[{constant!r}]" if isinstance(key, Const) else "[?]", site
                )
            return UNKNOWN
        if isinstance(value, ParameterGroups):
            if not value.single:
                return ParameterGroups(value.optimizer, single=True)
            return CurrentRate(value.optimizer) if constant == "lr" else UNKNOWN
        if isinstance(value, Choice):
            return self.join([self.item(option, key, site) for option in value.options])
        if isinstance(value, Parameters):
            return Parameters(
                value.owners, value.resolved, single=True, view=value.view, partial=True
            )
        return UNKNOWN

    def _pick(self, table: Map, likely: Scalar) -> Abstract:
        """One of a table's values, by a key from outside: ``OPTIMIZERS[args.optimizer]``."""
        values = list(table.items.values())
        first = table.items.get(likely)
        if first is not None:
            values = [first, *(v for v in values if v is not first)]
        self.alias(values)
        return first if first is not None else self.join(values) if values else UNKNOWN

    def _batch_item(self, batch: Tensor, key: int | str, site: Site) -> Tensor:
        flow = self.flows[batch.flow]
        index = key if isinstance(key, int) else None
        args = {"key": Argument(Const(key))}
        return self.new_flow(
            "<batch>", (batch.flow,), source=flow.source, index=index, args=args, site=site
        )

    def _attribute(self, node: ast.Attribute, scope: Scope) -> Abstract:
        return self.attribute(self.evaluate(node.value, scope), node.attr, Site(scope.module, node))

    def attribute(self, value: Abstract, name: str, site: Site) -> Abstract:
        """``value.name``."""
        if isinstance(value, Library):
            return self._library_attribute(value, name)
        if isinstance(value, Instance):
            return self._instance_attribute(value, name, site)
        if isinstance(value, Tensor):
            return self._tensor_attribute(value, name, site)
        if isinstance(value, ProjectModule):
            found = value.scope.names.get(name)
            return found if found is not None else UNKNOWN
        if isinstance(value, Class):
            return self._class_attribute(value, name)
        if isinstance(value, Parameters):
            if name in ("data", "grad"):
                return Parameters(
                    value.owners,
                    value.resolved,
                    True,
                    value.attribute,
                    view="grad" if "grad" in (name, value.view) else name,
                )
            return LibraryMethod(value, name)
        if isinstance(value, CurrentRate):
            return UNKNOWN
        if isinstance(value, ParameterGroups):
            return LibraryMethod(value, name)
        if isinstance(value, Layers):
            if name in ("weight", "bias"):
                return Parameters(value.instances, single=True, attribute=name)
            if name == "__class__":
                return Library(value.instances[0].cls)
            return LibraryMethod(value, name)
        if isinstance(value, Choice):
            return self._choice_attribute(value, name, site)
        if isinstance(value, Const) and isinstance(value.value, str) and name[:6] == "parent":
            return path_attribute(value.value, name) or UNKNOWN
        if isinstance(value, (Seq, Map, Const, Iterated, LoopRange)):
            return LibraryMethod(value, name)
        return UNKNOWN

    def _class_attribute(self, klass: Class, name: str) -> Abstract:
        for owner in self.lineage(klass):
            member = owner.members.get(name)
            if isinstance(member, Function) and "classmethod" in member.decorators:
                return replace(member, bound=klass)
            if member is not None:
                return member
        return UNKNOWN

    def _choice_attribute(self, value: Choice, name: str, site: Site) -> Abstract:
        options = something(value)
        instances = [o for o in options if isinstance(o, Instance)]
        if instances and len(instances) == len(options):
            leaders = {o.leader.id: o.leader for o in instances}
            if len(leaders) == 1:
                return self.attribute(next(iter(leaders.values())), name, site)
        return self.join([self.attribute(o, name, site) for o in options]) if options else UNKNOWN

    def _library_attribute(self, value: Library, name: str) -> Abstract:
        if name == "__name__":
            return Const(value.name.rpartition(".")[2], LITERAL)
        qualified = canonical(f"{value.name}.{name}")
        if self.settings and qualified in self.settings:
            return self.settings[qualified]
        constant = _LIBRARY_CONSTANTS.get(qualified)
        return Const(constant, LITERAL) if constant is not None else Library(qualified)

    def _instance_attribute(self, value: Instance, name: str, site: Site) -> Abstract:
        if name in value.attributes:
            return value.attributes[name]
        if name in value.children:
            return value.children[name]
        method = self.method_of(value, name)
        if method is not None:
            value.methods.add(name)
            return method
        kind = value.kind
        if name == "__class__" and kind is ObjectKind.LAYER:
            return Library(value.cls)
        if kind is ObjectKind.OPTIMIZER and name == "param_groups":
            return ParameterGroups(value)
        if value.is_module and name in ("weight", "bias") and kind is ObjectKind.LAYER:
            return Parameters((value,), single=True, attribute=name)
        if kind is ObjectKind.SCHEDULER and name == "optimizer":
            argument = value.args.get("optimizer")
            return argument.value if argument is not None else UNKNOWN
        if (
            kind is ObjectKind.LIBRARY
            and name in ("data", "target", "images")
            and value.cls.startswith("sklearn.datasets.")
        ):
            flow = self.new_flow(
                "<array>", name=value.cls, index=1 if name == "target" else 0, site=value.site
            )
            value.attributes[name] = flow
            return flow
        if (
            kind is ObjectKind.DATASET
            and name in ("data", "targets", "labels")
            and value.cls.startswith("torchvision.datasets.")
        ):
            flow = self.new_flow(
                "<array>", name=f"{value.cls}.data", index=0 if name == "data" else 1, site=site
            )
            value.attributes[name] = flow
            return flow
        if kind in (ObjectKind.LOADER, ObjectKind.DATASET) and name in value.args:
            return value.args[name].value
        if kind is ObjectKind.SYMBOL:
            if name in _SYMBOL_METHODS:
                return LibraryMethod(value, name)
            if name == "param_groups":
                value.methods.add(name)
                return ParameterGroups(value)
            return self.symbol_part(value, name, site)
        if kind is ObjectKind.LAYER and name not in _MODULE_METHODS:
            # A named part of a library model (resnet.fc, backbone.features).
            part = self.new_instance(ObjectKind.LAYER, f"{value.cls}.{name}", site)
            part.complete = False
            part.parent = value
            self.write(value.attributes, name, part)
            return part
        return LibraryMethod(value, name)

    def symbol_part(self, owner: Instance, name: str, site: Site) -> Abstract:
        """A part of a symbol is a symbol too, the same one each time."""
        existing = owner.attributes.get(name)
        if existing is None:
            base = owner.names[0] if owner.names else "?"
            existing = self.new_symbol(
                f"{base}{name}" if name.startswith("[") else f"{base}.{name}", site
            )
            owner.attributes[name] = existing
        return existing

    def _tensor_attribute(self, value: Tensor, name: str, site: Site) -> Abstract:
        flow = self.flows[value.flow]
        if name in SIZE_ATTRIBUTES:
            return UNKNOWN
        if name in DETACHING and name == "data":
            return self.new_flow("data", (value.flow,), site=site, detached=True)
        if flow.op == "<batch>" and flow.index is None and name not in _TENSOR_METHODS:
            args = {"key": Argument(Const(name))}
            index = {"x": 0, "y": 1}.get(name)
            return self.new_flow(
                "<batch>", (value.flow,), source=flow.source, index=index, args=args, site=site
            )
        if name in ("T", "mT", "real", "grad"):
            return self.new_flow(name, (value.flow,), site=site, detached=name == "grad")
        if name == "values" and flow.op == "<array>":
            return value
        if name in _OUTPUT_FIELDS:
            args = {"index": Argument(Const(name))}
            return self.new_flow("getitem", (value.flow,), args=args, site=site)
        return LibraryMethod(value, name)


def something(choice: Choice) -> list[Abstract]:
    """The options that are something: a call or attribute of None would have raised, and what is
    unknown is taken to behave like the known options beside it."""
    return [
        o
        for o in choice.options
        if not isinstance(o, Unknown) and not (isinstance(o, Const) and o.value is None)
    ]


_LIBRARY_CONSTANTS: dict[str, Scalar] = {
    "math.pi": math.pi,
    "math.e": math.e,
    "math.inf": math.inf,
    "numpy.pi": math.pi,
    "math.nan": math.nan,
    "numpy.inf": math.inf,
    "numpy.nan": math.nan,
    "numpy.NaN": math.nan,
    "torch.nan": math.nan,
    "torch.inf": math.inf,
    "torch.pi": math.pi,
}


_MODULE_METHODS = frozenset(
    {
        "parameters", "named_parameters", "modules", "named_modules", "children", "named_children",
        "train", "eval", "zero_grad", "to", "cuda", "cpu", "half", "float", "double", "bfloat16",
        "apply", "state_dict", "load_state_dict", "requires_grad_", "register_buffer",
        "register_parameter", "add_module", "register_module", "buffers", "named_buffers",
        "append", "extend", "insert", "items", "values", "keys", "forward", "training",
        "register_forward_hook", "register_comm_hook", "share_memory", "compile", "no_sync", "reset_parameters",
        "register_full_backward_hook", "get_submodule", "get_parameter", "type", "__call__",
        "save_pretrained", "gradient_checkpointing_enable", "config",
    }
)  # fmt: skip


_SYMBOL_METHODS = frozenset(
    {
        "parameters", "named_parameters", "modules", "named_modules", "children", "train", "eval",
        "zero_grad", "step", "backward", "scale", "unscale_", "update", "to", "cuda", "cpu",
        "apply", "state_dict", "load_state_dict", "item", "detach", "size", "float", "long",
        "view", "reshape", "flatten", "unsqueeze", "squeeze", "permute", "transpose",
        "contiguous", "mean", "sum", "clip_grad_norm_", "clip_grad_value_", "prepare",
        "accumulate", "autocast", "no_sync", "get_last_lr", "add_param_group", "requires_grad_",
        "append", "items", "values", "keys", "format", "join", "numpy", "half", "double", "type",
        "argmax", "max", "min", "eq", "softmax", "log_softmax", "sigmoid", "expand", "repeat",
        "manual_backward", "forward", "register_buffer", "set_postfix", "set_description",
        "add_scalar", "write", "log", "info", "split", "chunk", "norm", "clone", "t",
    }
)  # fmt: skip


_OUTPUT_FIELDS = frozenset(
    {
        "loss", "losses", "aux_loss", "logits", "last_hidden_state", "hidden_states",
        "pooler_output", "attentions", "past_key_values", "start_logits", "end_logits",
        "prediction_logits", "seq_relationship_logits", "encoder_last_hidden_state",
        "image_embeds", "text_embeds", "logits_per_image", "logits_per_text",
    }
)  # fmt: skip
"""Fields of the structures library models return (transformers' ``ModelOutput`` and its kin); no
tensor has a method of such a name."""


_TENSOR_METHODS = _SYMBOL_METHODS | frozenset(
    {"shape", "device", "dtype", "batch_size", "num_graphs"}
)
