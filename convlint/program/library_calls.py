"""Calls of library functions and classes."""

from __future__ import annotations

from convlint.program.builtin_calls import BUILTIN_HANDLERS
from convlint.program.command_line import PARSERS
from convlint.program.domain import (
    UNKNOWN,
    Abstract,
    Argument,
    Arguments,
    Const,
    Instance,
    Library,
    Map,
    Parameters,
    Scope,
    Seq,
    Site,
    Tensor,
)
from convlint.program.drafts import CallDraft, GradientSwitchDraft
from convlint.program.facts import ObjectKind
from convlint.program.folding import late_bound, tabulate
from convlint.program.libraries.kinds import (
    HARMLESS_PREFIXES,
    MANAGED_CALLS,
    ML_ROOTS,
    RETURNS_ITS_MODULE,
    library_kind,
)
from convlint.program.libraries.operations import (
    CREATES_CONSTANT,
    LOSS_FUNCTIONS,
    NOT_DIFFERENTIABLE,
    operation,
)
from convlint.program.library_functions import LIBRARY_HANDLERS, gain
from convlint.program.module_calls import ModuleCalls

_MODULE_CONTAINERS = frozenset(
    {"torch.nn.Sequential", "torch.nn.ModuleList", "torch.nn.ModuleDict"}
)


_GENERATORS = frozenset(
    {"numpy.random.default_rng", "numpy.random.RandomState", "random.Random", "torch.Generator"}
)
"""Random number generators with a state of their own."""


_CONTEXT_MAKERS = frozenset(
    {
        "torch.no_grad", "torch.inference_mode", "torch.enable_grad", "torch.set_grad_enabled",
        "torch.amp.autocast", "torch.distributed.autograd.context", "contextlib.nullcontext",
        "contextlib.suppress",
    }
)  # fmt: skip


_PROGRESS_BARS = (
    "tqdm.",
    "rich.progress.track",
    "fastprogress.",
    "alive_progress.",
    "progressbar.",
)


_ARRAY_READERS = (
    "pandas.read_", "numpy.load", "numpy.genfromtxt", "numpy.fromfile", "numpy.memmap",
    "cv2.imread", "imageio.imread", "PIL.Image.open", "torchvision.io.read_image", "skimage.io.imread",
)  # fmt: skip


_TENSOR_MAKERS = frozenset(
    {"tensor", "as_tensor", "from_numpy", "asarray", "array", "FloatTensor", "LongTensor", "Tensor"}
)


_FLOW_PACKAGES = (
    "torch.",
    "numpy.",
    "scipy.",
    "einops.",
    "torchvision.",
    "pandas.",
    "cv2.",
    "jax.",
)


class LibraryCalls(ModuleCalls):
    """Library functions and constructors."""

    def library_call(
        self, callee: Library, arguments: Arguments, site: Site, scope: Scope
    ) -> Abstract:
        """Call the library callable ``callee``."""
        name = callee.name
        if name.startswith("builtins."):
            handler = BUILTIN_HANDLERS.get(name[9:])
            return handler(self, arguments, site) if handler is not None else UNKNOWN
        if name.startswith(_PROGRESS_BARS):
            return arguments.positional[0].value if arguments.positional else UNKNOWN
        self._consume(name, arguments, site)
        result = self._library_result(name, arguments, site)
        if name.partition(".")[0] in ML_ROOTS:
            self.calls.append(
                CallDraft(
                    name,
                    site,
                    self.named_arguments(name, arguments),
                    result,
                    None,
                    tuple(self.context),
                    tuple(self.loops),
                    scope.function,
                    self.inside_branch,
                    within=self.within,
                    conditions=tuple(self.conditions),
                )
            )
        return result

    def _library_result(self, name: str, arguments: Arguments, site: Site) -> Abstract:
        if name in MANAGED_CALLS:
            self.managed[MANAGED_CALLS[name]] = None
        if name in _CONTEXT_MAKERS or name in _GENERATORS or name in PARSERS:
            return self.make(ObjectKind.LIBRARY, name, arguments, site)
        kind = library_kind(name)
        if kind is not None:
            return self.make_object(kind, name, arguments, site)
        handler = LIBRARY_HANDLERS.get(name)
        if handler is not None:
            return handler(self, arguments, site)
        if name in RETURNS_ITS_MODULE:
            wrapped = arguments.get(0, "module")
            return wrapped if wrapped is not None else UNKNOWN
        if name.startswith("torch.nn.init."):
            return self._initialise(name, arguments, site)
        if name.startswith("torch.nn.functional.") and operation(name) in LOSS_FUNCTIONS:
            return self.call_loss(name, arguments, site, None)
        if "clip_grad" in name.rpartition(".")[2]:
            # torch.nn.utils.clip_grad_norm_, timm's adaptive_clip_grad and dispatch_clip_grad ...
            return self.clip(name, arguments, site)
        if name.startswith("sklearn.datasets.") and not name.startswith("sklearn.datasets.make_"):
            return self._sklearn_data(name, arguments, site)
        if name.startswith("sklearn.datasets.make_"):
            arrays: list[Abstract] = [
                self.new_flow("<array>", name=name, index=i, site=site) for i in (0, 1)
            ]
            return Seq("tuple", arrays)
        if name.startswith(_ARRAY_READERS):
            return self.new_flow("<array>", name=name, site=site)
        return self._operation(name, arguments, site)

    def make_object(
        self, kind: ObjectKind, name: str, arguments: Arguments, site: Site
    ) -> Abstract:
        """Construct a library object of a kind worth tracking."""
        instance = self.make(kind, name, arguments, site)
        if name in _MODULE_CONTAINERS:
            self._fill_container(instance, arguments)
        elif kind is ObjectKind.LAYER:
            for key, argument in instance.args.items():
                if isinstance(argument.value, Instance) and argument.value.is_module:
                    self.register_child(instance, key, argument.value)
        elif kind is ObjectKind.SCHEDULER and "lr_lambda" in instance.args:
            given = instance.args["lr_lambda"]
            shared = late_bound(given.value)
            if shared:
                instance.args["late_bound"] = Argument(Const(shared), given.site)
            instance.args["lr_lambda"] = Argument(self._tabulated(given.value), given.site)
        elif kind is ObjectKind.TRAINER:
            self.managed[name] = None
            self.escape(arguments.values(), site, name)
        return instance

    def _tabulated(self, function: Abstract) -> Abstract:
        """A function of the step as a table of its values, when it can be computed."""
        if isinstance(function, Seq):
            items = [self._tabulated(item) for item in function.items]
            return Seq(function.kind, items, function.complete, function.node)
        called = function
        if isinstance(function, Instance):
            called = self.method_of(function, "__call__") or function
        table = tabulate(called, self.evaluate)
        if table is None:
            return function
        return Map({step: Const(factor) for step, factor in table.items()})

    def _initialise(self, name: str, arguments: Arguments, site: Site) -> Abstract:
        if name == "torch.nn.init.calculate_gain":
            return gain(arguments)
        tensor = arguments.get(0, "tensor") or UNKNOWN
        self.record_initialisation(name, tensor, self.named_arguments(name, arguments), site)
        return tensor

    def _sklearn_data(self, name: str, arguments: Arguments, site: Site) -> Abstract:
        as_pair = arguments.keywords.get("return_X_y")
        if as_pair is not None and isinstance(as_pair.value, Const) and as_pair.value.value is True:
            return Seq(
                "tuple",
                [self.new_flow("<array>", name=name, index=i, site=site) for i in (0, 1)],
            )
        return self.make(ObjectKind.LIBRARY, name, arguments, site)

    def _operation(self, name: str, arguments: Arguments, site: Site) -> Abstract:
        op = operation(name)
        flows = tuple(
            dict.fromkeys(f for v in arguments.values() for f in self.flows_within(v, site))
        )
        if name.startswith(_FLOW_PACKAGES):
            if op in CREATES_CONSTANT or (op in _TENSOR_MAKERS and not flows):
                made = op in CREATES_CONSTANT or all(map(_is_display, arguments.values()))
                source = "<constant>" if made else "<unknown>"
                args = self._constants(name, arguments)
                return self.new_flow(source, name=name, args=args, site=site)
            if (
                (flows and name.rpartition(".")[2][:1].islower())
                or op in _TENSOR_MAKERS
                or name in _TENSOR_MAKERS
            ):
                return self.new_flow(
                    op,
                    flows,
                    name=name,
                    args=self._constants(name, arguments),
                    site=site,
                    detached=op in NOT_DIFFERENTIABLE,
                )
        if name.startswith(HARMLESS_PREFIXES):
            if (
                name.partition(".")[0] in ("torch", "torchvision")
                and name.rpartition(".")[2][:1].isupper()
            ):
                return self.make(ObjectKind.LIBRARY, name, arguments, site)
            return UNKNOWN
        return self.unresolved_call(arguments, site, name)

    def switch_gradient(
        self,
        parameters: Parameters,
        name: str,
        value: Abstract,
        on: str,
        site: Site,
        called: bool = False,
    ) -> None:
        """``requires_grad`` of parameters, or what was meant to be it, is given a value."""
        modules = [
            m for o in parameters.owners for m in (self.modules_of(o) if o.is_module else [o])
        ]
        whole = parameters.resolved and not (parameters.partial or parameters.attribute)
        conditional = self.inside_branch or bool(self.conditions)
        self.switches.append(
            GradientSwitchDraft(
                site, name, tuple(modules), on, value, whole, conditional, called, len(self.loops)
            )
        )

    def _consume(self, name: str, arguments: Arguments, site: Site) -> None:
        """Note that a library call walks a generator of parameters to its end."""
        value = arguments.get(0, "parameters") or arguments.get(0, "params")
        if not isinstance(value, Parameters) or not value.lazy:
            return
        clips = name.startswith("torch.nn.utils.clip_grad")
        if not clips and library_kind(name) is not ObjectKind.OPTIMIZER:
            return
        _, uses = self.consumed.setdefault(id(value), (value, []))
        if uses or not self.inside_branch:
            uses.append((name, site))

    def record_requires_grad(self, tensor: Tensor, value: Abstract, site: Site) -> None:
        """A tensor is told to take gradients (or not), by method or by assignment."""
        self.calls.append(
            CallDraft(
                "torch.Tensor.requires_grad_",
                site,
                {"input": Argument(tensor, site), "requires_grad": Argument(value, site)},
                tensor,
                None,
                tuple(self.context),
                tuple(self.loops),
                "",
            )
        )

    def record_hook(self, name: str, site: Site) -> None:
        """A function is registered that sees, and may change, a gradient on its way."""
        self.calls.append(
            CallDraft(
                f"torch.Tensor.{name}",
                site,
                {},
                UNKNOWN,
                None,
                tuple(self.context),
                tuple(self.loops),
                "",
            )
        )

    def _constants(self, name: str, arguments: Arguments) -> dict[str, Argument]:
        named = self.named_arguments(name, arguments)
        return {k: a for k, a in named.items() if not isinstance(a.value, Tensor)}


def _is_display(value: Abstract) -> bool:
    """Whether a value is written out in the source: numbers, and lists of them."""
    if isinstance(value, Seq):
        return all(_is_display(item) for item in value.items)
    return isinstance(value, (Const, Library))
