"""The names one file binds, and which library things its imports call by them."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class WrittenNames:
    """What the nodes of a file bind; imports of its top level can be used by other statements."""

    def __init__(self, tree: ast.Module, nodes: Iterable[ast.AST]) -> None:
        self._imports: dict[str, str] = {}
        self._bound: set[str] = set()
        top = set(map(id, tree.body))
        for node in nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    # ``import torch.nn`` binds ``torch``.
                    name = alias.asname or alias.name.partition(".")[0]
                    target = alias.name if alias.asname else name
                    self._bind(name, target, id(node) in top)
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    target = f"{node.module or ''}.{alias.name}"
                    usable = not node.level and id(node) in top
                    self._bind(alias.asname or alias.name, target, usable)
            elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
                self._bound.add(node.id)
            elif isinstance(node, ast.arg):
                self._bound.add(node.arg)
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                self._bound.add(node.name)

    def _bind(self, name: str, target: str, usable: bool) -> None:
        if not usable or self._imports.get(name, target) != target:
            self._bound.add(name)
        else:
            self._imports[name] = target

    def name_of(self, qualified: str) -> str | None:
        """How the file's module-level imports name something: ``torch.nn.functional`` -> ``F``.

        None when no import reaches it, or the name is bound again somewhere in the file.
        """
        best: str | None = None
        for name, target in self._imports.items():
            if name in self._bound:
                continue
            if qualified == target:
                text = name
            elif qualified.startswith(target + "."):
                text = name + qualified[len(target) :]
            else:
                continue
            if best is None or len(text) < len(best):
                best = text
        return best

    def qualified(self, text: str) -> str | None:
        """What a dotted name stands for by the module-level imports: the inverse of ``name_of``."""
        head, _, rest = text.partition(".")
        if head in self._bound or head not in self._imports:
            return None
        return self._imports[head] + (f".{rest}" if rest else "")

    def binds(self, name: str) -> bool:
        """Whether the file binds ``name`` anywhere, by import or otherwise."""
        return name in self._bound or name in self._imports
