"""What the parts of the interpreter ask of each other.

The interpreter is one class in layers, a file each, from values (operators, attributes) over calls
to statements. A lower layer sometimes needs a higher one (evaluating an attribute may call a
property); those requests are declared here and nowhere else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from convlint.program.state import State

if TYPE_CHECKING:
    import ast

    from convlint.program.domain import (
        Abstract,
        Argument,
        Arguments,
        Class,
        Function,
        Instance,
        Iterated,
        Library,
        Map,
        Scope,
        Site,
    )


class Walk(State, ABC):
    """Declarations of what higher layers provide."""

    @abstractmethod
    def evaluate(self, node: ast.expr, scope: Scope) -> Abstract:
        """The abstract value of an expression."""

    @abstractmethod
    def call(self, node: ast.Call, scope: Scope) -> Abstract:
        """The value of a call expression."""

    @abstractmethod
    def call_function(
        self,
        function: Function,
        arguments: list[Abstract],
        keywords: dict[str, Abstract],
        site: Site,
    ) -> Abstract:
        """Walk a project function with plain values as arguments."""

    @abstractmethod
    def call_instance(
        self, instance: Instance, arguments: Arguments, site: Site, scope: Scope
    ) -> Abstract:
        """Call an object."""

    @abstractmethod
    def instantiate(self, klass: Class, arguments: Arguments, site: Site) -> Abstract:
        """Make an instance of a project class."""

    @abstractmethod
    def apply(self, callee: Abstract, arguments: Arguments, site: Site, scope: Scope) -> Abstract:
        """Call ``callee`` whatever it is."""

    @abstractmethod
    def unresolved_call(self, arguments: Arguments, site: Site, name: str = "") -> Abstract:
        """A call nobody can follow: what it received may be changed by it."""

    @abstractmethod
    def mapping_method(self, mapping: Map, name: str, arguments: Arguments, site: Site) -> Abstract:
        """A method of a dict."""

    @abstractmethod
    def method_of(self, receiver: Abstract, name: str) -> Abstract | None:
        """The project attribute or method ``name`` of an instance's class; None without one."""

    @abstractmethod
    def lineage(self, klass: Class) -> list[Class]:
        """The project classes of the method resolution order, nearest first."""

    @abstractmethod
    def attribute(self, value: Abstract, name: str, site: Site) -> Abstract:
        """``value.name``."""

    @abstractmethod
    def known_items(self, iterable: Abstract) -> list[Abstract] | None:
        """The items of ``iterable`` when all are known and few, else None."""

    @abstractmethod
    def element_of(self, iterable: Abstract, site: Site) -> Abstract:
        """One representative element of ``iterable``."""

    @abstractmethod
    def next_of(self, iterator: Iterated, site: Site) -> Abstract:
        """What ``next(iterator)`` yields."""

    @abstractmethod
    def unpack(self, value: Abstract, count: int, site: Site) -> list[Abstract]:
        """The ``count`` parts that unpacking ``value`` gives."""

    @abstractmethod
    def call_layer(self, layer: Instance, arguments: Arguments, site: Site) -> Abstract:
        """Apply a library module."""

    @abstractmethod
    def call_loss(
        self, name: str, arguments: Arguments, site: Site, criterion: Instance | None
    ) -> Abstract:
        """Apply a loss function or a loss object."""

    @abstractmethod
    def named_arguments(self, name: str, arguments: Arguments) -> dict[str, Argument]:
        """Arguments of a library callable by parameter name."""

    @abstractmethod
    def library_call(
        self, callee: Library, arguments: Arguments, site: Site, scope: Scope
    ) -> Abstract:
        """Call something of a library."""

    @abstractmethod
    def library_method(
        self, receiver: Abstract, name: str, arguments: Arguments, site: Site, scope: Scope
    ) -> Abstract:
        """Call a method of a library object, tensor or container."""

    @abstractmethod
    def bind_target(self, target: ast.expr, value: Abstract, scope: Scope) -> None:
        """Assign ``value`` to an assignment target."""

    @abstractmethod
    def set_attribute(self, owner: Instance, name: str, value: Abstract, site: Site) -> None:
        """``owner.name = value``."""

    @abstractmethod
    def duplicate(self, value: Instance, site: Site) -> Instance:
        """A shallow copy of an object."""

    @abstractmethod
    def duplicate_module(self, value: Instance, site: Site) -> Instance:
        """A deep copy of a module."""

    @abstractmethod
    def execute(self, statements: list[ast.stmt], scope: Scope) -> str | None:
        """Walk a suite; how control leaves it, None when it falls through."""

    @abstractmethod
    def parameter_owners(self, value: Abstract) -> tuple[tuple[Instance, ...], bool]:
        """The modules whose parameters ``value`` holds, and whether that is all of it."""

    @abstractmethod
    def flows_within(self, value: Abstract, site: Site) -> list[int]:
        """The tensors in a value or in the lists it holds."""

    @abstractmethod
    def make(self, kind: Any, name: str, arguments: Arguments, site: Site) -> Instance:
        """Construct a library object."""
