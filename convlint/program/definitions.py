"""Definitions and imports: functions, classes, modules of the project."""

from __future__ import annotations

import ast
import sys

from convlint.program.command_line import decorator_option
from convlint.program.contexts import Contexts
from convlint.program.domain import (
    UNKNOWN,
    Abstract,
    Class,
    Const,
    Function,
    Library,
    ProjectModule,
    Scope,
)
from convlint.program.facts import Origin
from convlint.program.fields import FILLING_DECORATORS, filled_parameter
from convlint.program.index import SourceModule
from convlint.program.libraries.kinds import MANAGED_BASES, canonical
from convlint.program.settings_files import composed_parameter
from convlint.program.syntax import FunctionNode

_TRANSPARENT_BASES = sys.stdlib_module_names | {
    "builtins",
    "torch",
    "lightning",
    "typing_extensions",
}
"""Packages whose base classes do nothing to a training that is not known here."""

_MOST_MODULES = 60
"""Imported project modules followed from one file."""


def module_names(module: SourceModule) -> dict[str, Abstract]:
    """What is defined in every module before its first line."""
    file = UNKNOWN if module.file is None else Const(str(module.file), Origin("computed"), False)
    return {"__name__": UNKNOWN, "__file__": file}


class Definitions(Contexts):
    """Statements that bring names into being."""

    def _function(self, statement: FunctionNode, scope: Scope) -> str | None:
        self.write(scope.names, statement.name, self.define_function(statement, scope))
        return None

    def define_function(self, node: FunctionNode, scope: Scope) -> Function:
        """A function value, with what its decorators say."""
        function = Function(node, scope, node.name)
        names: list[str] = []
        for expression in node.decorator_list:
            called = expression if isinstance(expression, ast.Call) else None
            value = self.evaluate(called.func if called is not None else expression, scope)
            if isinstance(value, Library):
                names.append(value.name.removeprefix("builtins."))
                if called is not None and value.name.startswith("click."):
                    place = scope.module.positions.of(called)
                    option = decorator_option(value.name, self._arguments(called, scope), place)
                    if option is not None:
                        function.options[option[0]] = option[1]
                elif called is not None and value.name in FILLING_DECORATORS:
                    filled = (
                        composed_parameter(self, self._arguments(called, scope), function)
                        if value.name == "hydra.main"
                        else filled_parameter(self, function)
                    )
                    if filled is not None:
                        function.options[filled[0]] = filled[1]
            elif isinstance(expression, ast.Attribute):
                names.append(expression.attr)
        function.decorators = tuple(names)
        return function

    def _class(self, statement: ast.ClassDef, scope: Scope) -> str | None:
        bases = tuple(self.evaluate(base, scope) for base in statement.bases)
        lineage: set[str] = set()
        resolved = True
        for base in bases:
            if isinstance(base, Library):
                lineage.add(base.name)
                resolved = resolved and base.name.partition(".")[0] in _TRANSPARENT_BASES
            elif isinstance(base, Class):
                lineage |= base.lineage
                resolved = resolved and base.resolved
            else:
                resolved = False
        for name in lineage:
            if name in MANAGED_BASES:
                self.managed[MANAGED_BASES[name]] = None
        klass = Class(statement, scope, statement.name, bases, {}, frozenset(lineage), resolved)
        body = Scope(klass.members, scope.module, scope, statement.name)
        outer, self.block = self.block, []
        try:
            self.execute(statement.body, body)
        finally:
            self.block = outer
        for member in klass.members.values():
            if isinstance(member, Function):
                # Methods see the module's names, not the class body's.
                member.scope = scope
                member.owner = klass
        klass.fields = {
            line.target.id: line
            for line in statement.body
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
        }
        self.write(scope.names, statement.name, klass)
        return None

    def _import(self, statement: ast.Import | ast.ImportFrom, scope: Scope) -> None:
        if scope.module is self.main:
            self._note_import(statement)
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                self._import_module(alias, scope)
        else:
            self._import_from(statement, scope)

    def _note_import(self, statement: ast.Import | ast.ImportFrom) -> None:
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                self.imported[alias.name] = None
        elif statement.module is not None and not statement.level:
            self.imported[statement.module] = None

    def _import_module(self, alias: ast.alias, scope: Scope) -> None:
        if alias.asname is not None:
            self.write(scope.names, alias.asname, self._module_value(alias.name, 0, scope))
            return
        root = alias.name.partition(".")[0]
        self.write(scope.names, root, self._module_value(root, 0, scope))

    def _module_value(self, name: str, level: int, scope: Scope) -> Abstract:
        module = self._project_module(name, level, scope)
        if module is not None:
            return ProjectModule(module)
        return UNKNOWN if level else Library(canonical(name))

    def _project_module(self, name: str, level: int, scope: Scope) -> Scope | None:
        importer = scope.module.file
        if importer is None:
            return None
        file = self.index.resolve(name, level, importer, self.root)
        if file is None:
            return None
        module = self.index.load(file)
        return self.module_scope(module) if module is not None else None

    def module_scope(self, module: SourceModule) -> Scope | None:
        """The namespace of a project module, walking its top level the first time."""
        if module in self.modules:
            return self.modules[module]
        if len(self.modules) >= _MOST_MODULES:
            return None
        scope = Scope(module_names(module), module)
        self.modules[module] = scope
        outer, self.block = self.block, []
        depth, self.forward_depth = self.forward_depth, 0
        context, self.context = self.context, []
        importing, self.importing = self.importing, True
        try:
            self.execute(module.tree.body, scope)
        finally:
            self.block = outer
            self.forward_depth = depth
            self.context = context
            self.importing = importing
        return scope

    def _import_from(self, statement: ast.ImportFrom, scope: Scope) -> None:
        level, name = statement.level, statement.module or ""
        module = self._project_module(name, level, scope)
        if statement.names[0].name == "*":
            self._import_star(module, scope)
            return
        for alias in statement.names:
            value = self._imported(module, name, level, alias.name, scope)
            self.write(scope.names, alias.asname or alias.name, value)

    def _imported(
        self, module: Scope | None, name: str, level: int, imported: str, scope: Scope
    ) -> Abstract:
        if module is not None:
            found = module.names.get(imported)
            if found is not None:
                return found
            inner = self._project_module(f"{name}.{imported}" if name else imported, level, scope)
            return ProjectModule(inner) if inner is not None else UNKNOWN
        if level:
            inner = self._project_module(f"{name}.{imported}" if name else imported, level, scope)
            return ProjectModule(inner) if inner is not None else UNKNOWN
        inner = self._project_module(f"{name}.{imported}", 0, scope)
        if inner is not None:
            return ProjectModule(inner)
        return Library(canonical(f"{name}.{imported}"))

    def _import_star(self, module: Scope | None, scope: Scope) -> None:
        if module is not None:
            for key, value in list(module.names.items()):
                if not key.startswith("_"):
                    self.write(scope.names, key, value)
