"""Library modules: containers, applying layers and losses, whose parameters they hold."""

from __future__ import annotations

from functools import lru_cache

from convlint.program.domain import (
    UNKNOWN,
    Abstract,
    Argument,
    Arguments,
    Choice,
    Const,
    Instance,
    Map,
    ParameterGroups,
    Parameters,
    Seq,
    Site,
    Tensor,
    Unknown,
)
from convlint.program.drafts import InitialisationDraft, LossDraft
from convlint.program.facts import EventKind, ObjectKind, Origin, Scalar
from convlint.program.iteration import Iteration
from convlint.program.libraries.operations import (
    operation,
)
from convlint.program.libraries.signatures import signature
from convlint.program.syntax import FUNCTIONS

_RECURRENT = frozenset({"lstm", "gru", "rnn"})


_CELLS_WITH_STATE = frozenset({"lstm_cell"})


_PASS_THROUGH = frozenset({"torch.nn.Identity"})


_LIBRARY_DEFAULT = Origin("library default", "library default")


@lru_cache(maxsize=512, typed=True)
def _argument_by_default(default: Scalar) -> Argument:
    """Shared by all calls, since nothing changes it."""
    return Argument(Const(default, _LIBRARY_DEFAULT))


class ModuleCalls(Iteration):
    """Construction and application of library modules and losses."""

    def named_arguments(self, name: str, arguments: Arguments) -> dict[str, Argument]:
        """Arguments by parameter name, positions where the name is unknown, library defaults."""
        names, defaults = signature(name)
        named: dict[str, Argument] = {}
        for position, argument in enumerate(arguments.positional):
            key = (
                names[position]
                if position < len(names) and not names[position].startswith("*")
                else str(position)
            )
            named[key] = argument
        named.update(arguments.keywords)
        if arguments.complete:
            for key, default in defaults.items():
                if key not in named:
                    named[key] = _argument_by_default(default)
        elif not arguments.complete:
            named["**"] = Argument(UNKNOWN)
        return named

    def make(self, kind: ObjectKind, name: str, arguments: Arguments, site: Site) -> Instance:
        return self.new_instance(kind, name, site, self.named_arguments(name, arguments))

    def _fill_container(self, container: Instance, arguments: Arguments) -> None:
        container.complete = arguments.complete
        if container.cls == "torch.nn.Sequential" and not (
            len(arguments.positional) == 1 and isinstance(arguments.positional[0].value, (Map, Seq))
        ):
            self.extend_container(container, [a.value for a in arguments.positional])
            return
        if not arguments.positional:
            return
        content = arguments.positional[0].value
        if isinstance(content, Map):
            container.complete = container.complete and content.complete
            for key, value in content.items.items():
                self._add_to_container(container, str(key), value)
        elif isinstance(content, Seq):
            container.complete = container.complete and content.complete
            self.extend_container(container, content.items)
        elif isinstance(content, Instance) and content.children:
            self.extend_container(container, list(content.children.values()))
        else:
            container.complete = False

    def extend_container(self, container: Instance, values: list[Abstract]) -> None:
        """Append modules to a Sequential or ModuleList."""
        for value in values:
            self._add_to_container(container, str(len(container.children)), value)

    def _add_to_container(self, container: Instance, key: str, value: Abstract) -> None:
        if isinstance(value, Choice):
            modules = [o for o in value.options if isinstance(o, Instance) and o.is_module]
            container.complete = False
            value = modules[0] if modules else UNKNOWN
        if isinstance(value, Instance) and value.is_module:
            in_turn = "torch.nn.Sequential" in (container.cls, *container.bases)
            if not in_turn and value.parent is not None and value in container.children.values():
                return  # a Sequential applies a module again wherever it stands
            self.register_child(container, key, value)
        else:
            container.complete = False

    def call_layer(self, layer: Instance, arguments: Arguments, site: Site) -> Abstract:
        """Apply a library module."""
        if layer.cls == "torch.nn.Sequential" or "torch.nn.Sequential" in layer.bases:
            return self._call_sequential(layer, arguments, site)
        if layer.cls in _PASS_THROUGH and arguments.positional:
            return arguments.positional[0].value
        flows = tuple(
            dict.fromkeys(f for v in arguments.values() if (f := self.as_flow(v, site)) is not None)
        )
        op = operation(layer.cls) if layer.kind is ObjectKind.LAYER else "<unknown>"
        if layer.kind is ObjectKind.MODEL:
            self.escape(arguments.values(), site, layer.cls)
        output = self.new_flow(op, flows, layer=layer, name=layer.cls, site=site)
        if op in _RECURRENT or op in _CELLS_WITH_STATE:
            state: Abstract = self.new_flow(f"{op}_state", (output.flow,), site=site)
            if op.startswith("lstm"):
                cell = self.new_flow(f"{op}_state", (output.flow,), site=site)
                return Seq(
                    "tuple",
                    [state, cell] if op == "lstm_cell" else [output, Seq("tuple", [state, cell])],
                )
            return Seq("tuple", [output, state])
        if op == "multihead_attention":
            return Seq(
                "tuple", [output, self.new_flow("attention_weights", (output.flow,), site=site)]
            )
        return output

    def _call_sequential(self, layer: Instance, arguments: Arguments, site: Site) -> Abstract:
        value: Abstract = arguments.positional[0].value if arguments.positional else UNKNOWN
        if not layer.complete or not layer.children:
            flow = self.as_flow(value, site)
            return self.new_flow(
                "<unknown>", (flow,) if flow is not None else (), layer=layer, site=site
            )
        for child in list(layer.children.values()):
            value = self._forward(child, Arguments([Argument(value, site)]), site)
        return value

    def call_loss(
        self, name: str, arguments: Arguments, site: Site, criterion: Instance | None
    ) -> Abstract:
        """Apply a loss function or a loss object."""
        op = operation(name)
        named = dict(criterion.args) if criterion else self.named_arguments(name, arguments)
        prediction = self.as_flow(arguments.get(0, "input") or UNKNOWN, site)
        target = self.as_flow(arguments.get(1, "target") or UNKNOWN, site)
        inputs = tuple(f for f in (prediction, target) if f is not None)
        output = self.new_flow(op, inputs, source=criterion, name=name, args=named, site=site)
        self.losses.append(
            LossDraft(
                op,
                site,
                prediction,
                target,
                named,
                criterion,
                output.flow,
                tuple(self.context),
                tuple(self.loops),
                self._function_name(),
            )
        )
        if self.forward_depth == 0:
            self.emit(EventKind.LOSS, site, target=criterion, flow=output.flow, name=name)
        return output

    def _function_name(self) -> str:
        node = self.call_stack[-1] if self.call_stack else None
        return node.name if isinstance(node, FUNCTIONS) else ""

    def clip(self, name: str, arguments: Arguments, site: Site) -> Abstract:
        """Gradient clipping by a library call."""
        owners, resolved = self.parameter_owners(arguments.get(0, "parameters") or UNKNOWN)
        flags = ("value",) if "value" in name else ()
        self.emit(
            EventKind.CLIP,
            site,
            over=owners if resolved else None,
            name=name,
            args=self.named_arguments(name, arguments),
            flags=flags,
        )
        return UNKNOWN

    def parameter_owners(self, value: Abstract) -> tuple[tuple[Instance, ...], bool]:
        """The modules whose parameters ``value`` holds, and whether that is all of it."""
        if isinstance(value, Parameters):
            return value.owners, value.resolved
        if isinstance(value, Seq):
            owners: list[Instance] = []
            resolved = value.complete
            for item in value.items:
                if isinstance(item, (Unknown, Instance)):
                    # A list holds tensors or groups: what is unknown in it is a tensor of its own.
                    continue
                more, known = self.parameter_owners(item)
                owners += more
                resolved = resolved and known
            return tuple(dict.fromkeys(owners)), resolved
        if isinstance(value, Map):
            return self.parameter_owners(value.items.get("params", UNKNOWN))
        if isinstance(value, Choice):
            first, known = self.parameter_owners(value.options[0])
            for option in value.options[1:]:
                more, more_known = self.parameter_owners(option)
                first, known = tuple(dict.fromkeys((*first, *more))), known and more_known
            return first, known
        if isinstance(value, Tensor):
            return (), True
        if isinstance(value, ParameterGroups):
            params = value.optimizer.args.get("params")
            return self.parameter_owners(params.value) if params is not None else ((), False)
        return (), False

    def record_initialisation(
        self, name: str, tensor: Abstract, args: dict[str, Argument], site: Site
    ) -> None:
        """An initialisation of ``tensor``, whoever's parameter it is."""
        args.pop("tensor", None)
        args.pop("0", None)
        layers: tuple[Instance, ...] = ()
        parameter = ""
        if isinstance(tensor, Parameters):
            layers = tuple(
                m
                for o in tensor.owners
                for m in (self.modules_of(o) if not tensor.attribute and o.is_module else [o])
            )
            parameter = tensor.attribute
        elif isinstance(tensor, Instance) and tensor.kind is ObjectKind.SYMBOL and tensor.names:
            parameter = tensor.names[0].removesuffix(".data").rpartition(".")[2]
        self.mark_written(tensor)
        guards = self.class_guards[-1] if self.class_guards else ()
        self.initialisations.append(
            InitialisationDraft(
                name, site, tuple(dict.fromkeys(layers)), guards, parameter, args, self.within
            )
        )

    def flows_within(self, value: Abstract, site: Site) -> list[int]:
        if isinstance(value, Seq):
            return [f for item in value.items for f in self.flows_within(item, site)]
        if isinstance(value, Instance):
            return []
        flow = self.as_flow(value, site)
        return [flow] if flow is not None else []
