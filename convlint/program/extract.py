"""From source text to ``TrainingProgram``: walk the module, then whatever nobody called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePath

from convlint.lazy_regex import lazy_regex
from convlint.program.definitions import module_names
from convlint.program.domain import (
    UNKNOWN,
    Abstract,
    Argument,
    Arguments,
    Class,
    Function,
    Instance,
    Scope,
    Seq,
    Site,
    Tensor,
)
from convlint.program.drafts import EntryDraft
from convlint.program.export import Exporter
from convlint.program.factories import has_events, only_passes_arguments
from convlint.program.facts import ObjectKind, TrainingProgram
from convlint.program.index import ProjectIndex, SourceModule
from convlint.program.state import BudgetExceeded
from convlint.program.statements import Statements
from convlint.program.syntax import positional_parameters

_BUDGET = 60_000
"""Statements walked per file, callees included; beyond it what was seen so far stands."""

_MOST_DATASETS = 16

_ENOUGH_FACTORIES = 600
"""Statements walked in functions that nobody calls and that train nothing; then those that only
pass other arguments to what was walked are left out."""

_DEEPEST_PYTHON_STACK = "the code is nested too deeply to follow"


class Interpreter(Statements):
    """Walks one program from every place its execution can start."""

    def __init__(self, index: ProjectIndex, root: Path | None) -> None:
        super().__init__(index, root, _BUDGET)
        self._plain_values = {}
        self._spent_on_factories = 0

    def run(self, module: SourceModule) -> None:
        """Walk the module's top level, then functions and classes nothing called."""
        scope = Scope(module_names(module), module)
        self.modules[module] = scope
        self.main = module
        try:
            self._enter("<module>", module, lambda: self.execute(module.tree.body, scope), False)
            self._walk_uncalled(scope, module)
        except BudgetExceeded:
            self.problems.append(
                f"{module.path}: too large to follow every call; part of it was not looked at"
            )
        except RecursionError:
            self.problems.append(f"{module.path}: {_DEEPEST_PYTHON_STACK}")

    def _enter(
        self, name: str, module: SourceModule, walk: Callable[[], object], standalone: bool
    ) -> None:
        site = Site(module, module.tree)
        self._reset()
        self.standalone = standalone
        try:
            walk()
        finally:
            if self.block:
                self.entries.append(EntryDraft(name, site, self.block, standalone))
            self._reset()

    def _reset(self) -> None:
        self.block = []
        self.context = []
        self.via = []
        self.loops = []
        self.forward_depth = 0
        self.class_guards = []
        self.call_stack = []
        self.within = ()
        self.conditions = []
        self._trail.clear()
        self._grown.clear()

    def _walk_uncalled(self, scope: Scope, module: SourceModule) -> None:
        called = _called_names(module.source)
        functions = [
            v for v in scope.names.values() if isinstance(v, Function) and v.scope.module is module
        ]
        classes = [
            v for v in scope.names.values() if isinstance(v, Class) and v.scope.module is module
        ]
        made = {i.klass for i in self.instances if i.klass is not None}
        for klass in classes:
            if klass not in made:
                self._walk_class(klass, called)
        for instance in list(self.instances):
            if (
                instance.klass in classes
                and instance.kind is ObjectKind.MODEL
                and instance.forward is None
            ):
                self._apply_alone(instance)
        hooked: dict[Class, Instance] = {}
        for instance in self.instances:
            ours = instance.klass in classes or instance.id in self.fitted
            if instance.klass is not None and ours and any(map(_calls_hooks, instance.bases)):
                hooked.setdefault(instance.klass, instance)
        for klass, instance in hooked.items():
            self._walk_methods(instance, klass, called)
        own = [i for i in self.instances if i.kind is ObjectKind.DATASET and i.klass is not None]
        for dataset in own[:_MOST_DATASETS]:
            self._draw_item(dataset)
        for wanted in (False, True):
            for function in functions:
                is_called = function.name in called
                if is_called is wanted and id(function.node) not in self.walked_functions:
                    self._walk_function(function)

    def _walk_function(self, function: Function) -> None:
        if self._spent_on_factories > _ENOUGH_FACTORIES and only_passes_arguments(
            function, self.lineage, self.walked_functions
        ):
            return
        module = function.scope.module
        site = Site(module, function.node)
        before, entries = self.budget, len(self.entries)
        self._enter(
            function.name, module, lambda: self.call_with(function, Arguments(), site), True
        )
        if not any(has_events(entry.body) for entry in self.entries[entries:]):
            self._spent_on_factories += before - self.budget

    def _walk_class(self, klass: Class, called: frozenset[str]) -> None:
        module = klass.scope.module
        site = Site(module, klass.node)
        made: list[Abstract] = []
        self._enter(
            f"{klass.name}()",
            module,
            lambda: made.append(self.instantiate(klass, Arguments(), site)),
            True,
        )
        instance = made[0] if made else UNKNOWN
        if not isinstance(instance, Instance):
            return
        if instance.kind is ObjectKind.MODEL:
            self._apply_alone(instance)
        self._walk_methods(instance, klass, called)

    def _walk_methods(self, instance: Instance, klass: Class, called: frozenset[str]) -> None:
        """Walk the methods that nothing has called yet."""
        methods = [
            m for c in self.lineage(klass) for m in c.members.values() if isinstance(m, Function)
        ]
        for wanted in (False, True):
            for method in methods:
                if method.name.startswith("__") or id(method.node) in self.walked_functions:
                    continue
                if (method.name in called) is wanted:
                    self._walk_method(instance, method)

    def _walk_method(self, instance: Instance, method: Function) -> None:
        bound = self.method_of(instance, method.name)
        if not isinstance(bound, Function):
            return
        module = method.scope.module
        owner = instance.cls.rpartition(".")[2]
        self._enter(
            f"{owner}.{method.name}",
            module,
            lambda: self.call_with(
                bound, self._given_to_hook(instance, method), Site(module, method.node)
            ),
            True,
        )

    def _given_to_hook(self, instance: Instance, method: Function) -> Arguments:
        """A batch of the loader that Lightning hands to ``training_step``, where it is known."""
        if method.name != "training_step":
            return Arguments()
        site = Site(method.scope.module, method.node)
        data = self.fitted.get(instance.id, instance)
        if isinstance(data, Instance) and data.kind is not ObjectKind.LOADER:
            make = self.method_of(data, "train_dataloader")
            data = (
                self.call_with(make, Arguments(), site) if isinstance(make, Function) else UNKNOWN
            )
        if not isinstance(data, Instance) or data.kind is not ObjectKind.LOADER:
            return Arguments()
        return Arguments([Argument(self.element_of(data, site), site)])

    def _apply_alone(self, instance: Instance) -> None:
        """Walk a model's forward on unknown inputs."""
        forward = self.method_of(instance, "forward")
        if not isinstance(forward, Function):
            return
        module = forward.scope.module
        arguments = Arguments()
        for parameter, default in positional_parameters(forward.node.args)[1:]:
            if default is not None:
                break
            site = Site(module, parameter)
            arguments.positional.append(Argument(self.new_flow("<input>", site=site), site))
        self._enter(
            f"{instance.cls.rpartition('.')[2]}.forward",
            module,
            lambda: self.call_module(instance, arguments, Site(module, forward.node)),
            True,
        )

    def _draw_item(self, dataset: Instance) -> None:
        """Walk what a dataset of the project does for one item."""
        method = self.method_of(dataset, "__getitem__")
        if not isinstance(method, Function):
            return
        module = method.scope.module
        drawn: list[Abstract] = []

        def draw() -> None:
            drawn.append(self.call_with(method, Arguments(), Site(module, method.node)))

        self._enter(f"{dataset.cls.rpartition('.')[2]}.__getitem__", module, draw, True)
        dataset.item = drawn[0] if drawn else UNKNOWN

    def resolve_plain_lists(self) -> None:
        """Decide, once everything is known, which plain containers hold modules."""
        for draft in self.plain_lists:
            value = self._plain_values.get(id(draft), Seq("list", []))
            current = list(value.items.values()) if not isinstance(value, Seq) else value.items
            layers = tuple(dict.fromkeys(self._modules_within(current)))
            draft.layers = layers
            draft.holds = (
                "modules" if layers else "parameters" if self._has_parameter(current) else ""
            )

    def _modules_within(self, values: list[Abstract], depth: int = 0) -> list[Instance]:
        found: list[Instance] = []
        for value in values:
            if isinstance(value, Instance) and value.is_module:
                found.append(value)
            elif isinstance(value, Seq) and depth < 2:
                found += self._modules_within(value.items, depth + 1)
        return found

    def _has_parameter(self, values: list[Abstract]) -> bool:
        return any(isinstance(v, Tensor) and self.flows[v.flow].op == "<parameter>" for v in values)


def _calls_hooks(base: str) -> bool:
    """Whether a library class calls methods of its subclasses that the program never calls."""
    return base.endswith(("LightningModule", "LightningDataModule"))


_CALL = lazy_regex(r"(?<!def )(?<!class )\b([A-Za-z_]\w*)\s*\(")


def _called_names(source: str) -> frozenset[str]:
    """Names that occur as ``name(...)`` or ``x.name(...)`` anywhere in the file.

    They only decide the order of the walk: functions that something here calls are walked from
    there first, in the context of the call.
    """
    return frozenset(_CALL.findall(source))


def extract_program(
    source: str,
    path: str,
    *,
    project_root: Path | None = None,
    index: ProjectIndex | None = None,
) -> TrainingProgram:
    """Extract the facts of one file.

    ``path`` is how findings name the file; when it exists on disk, its imports are followed into
    other files of the project, up to ``project_root`` (by default the nearest folder with a
    ``pyproject.toml``, ``setup.py``, ``setup.cfg`` or ``.git``). Pass the same ``index`` for the
    files of one run to parse shared modules once.

    Raises SourceSyntaxError when the file cannot be parsed.
    """
    index = index or ProjectIndex()
    index.forget_old()
    tree = index.parse(source, path)
    file = Path(path)
    module = SourceModule(path, tree, file.resolve() if file.is_file() else None, source)
    interpreter = Interpreter(index, project_root)
    interpreter.run(module)
    interpreter.resolve_plain_lists()
    program = Exporter(interpreter, module).program(_role(path))
    modules = (*interpreter.modules, module)
    return program.written_from({m.path: (m.source, m.tree) for m in modules})


def _role(path: str) -> str:
    pure = PurePath(path)
    if pure.name.startswith("test_") or pure.name == "conftest.py" or "tests" in pure.parts:
        return "test"
    return "script"
