"""What source text names: attributes read, and functions that nothing mentions.

A name that occurs nowhere is surely not used; one that occurs may be. So these questions are
asked of the words of the text, comments and strings included, not of its syntax.
"""

from __future__ import annotations

import ast
from collections import Counter
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from convlint.lazy_regex import lazy_regex
from convlint.program.syntax import FUNCTIONS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from convlint.program.index import SourceModule

_ATTRIBUTE_READ = lazy_regex(r"\.\s*([A-Za-z_]\w*)(?!\w)(?!\s*(?:=(?!=)|:\s*[\w\[\]., ]+=(?!=)))")
_BY_NAME = lazy_regex(r"\bgetattr\(\s*self\s*,\s*(?:[\"'](\w+)[\"'])?")
_OF_SELF = lazy_regex(r"\bself\s*\.\s*([A-Za-z_]\w*)")
_WORD = lazy_regex(r"[A-Za-z_]\w*")


_attributes: WeakKeyDictionary[SourceModule, frozenset[str]] = WeakKeyDictionary()
_words: WeakKeyDictionary[SourceModule, Counter[str]] = WeakKeyDictionary()


def attributes_read(modules: Iterable[SourceModule]) -> frozenset[str]:
    """Every name that follows a dot in these files, assignments to it aside.

    ``getattr(self, "name")`` reads that name, and with a name that is made at run time any:
    that counts as ``__getattribute__``.
    """
    found: set[str] = set()
    for module in modules:
        names = _attributes.get(module)
        if names is None:
            by_name = (name or "__getattribute__" for name in _BY_NAME.findall(module.source))
            names = frozenset((*_ATTRIBUTE_READ.findall(module.source), *by_name))
            _attributes[module] = names
        found |= names
    return frozenset(found)


def attributes_of_self(code: str) -> tuple[str, ...]:
    """The attributes of ``self`` a method names, each once, in order."""
    return tuple(dict.fromkeys(_OF_SELF.findall(code)))


def unreferenced(module: SourceModule, modules: Iterable[SourceModule]) -> tuple[str, ...]:
    """Functions (``f``) and methods (``Class.f``) of ``module`` that these files name only where
    they are defined."""
    defined = list(_definitions(module.tree.body, ""))
    if not defined:
        return ()
    counts = [counted_words(source) for source in modules]
    return tuple(
        name for name in defined if sum(counted[name.rpartition(".")[2]] for counted in counts) == 1
    )


def _definitions(body: Iterable[ast.AST], prefix: str) -> Iterable[str]:
    for node in body:
        if isinstance(node, FUNCTIONS):
            yield prefix + node.name
        elif isinstance(node, ast.ClassDef) and not prefix:
            yield from _definitions(node.body, f"{node.name}.")


def counted_words(module: SourceModule) -> Counter[str]:
    """How often each word occurs in a file, comments and strings included."""
    counted = _words.get(module)
    if counted is None:
        counted = _words[module] = Counter(_WORD.findall(module.source))
    return counted
