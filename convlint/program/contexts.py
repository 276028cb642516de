"""Contexts: what ``with`` puts in force for the statements below it."""

from __future__ import annotations

import ast

from convlint.program.domain import (
    Abstract,
    Choice,
    Const,
    Instance,
    Library,
    Scope,
)
from convlint.program.loops import Loops


class Contexts(Loops):
    """With statements."""

    def _with(self, statement: ast.With | ast.AsyncWith, scope: Scope) -> str | None:
        pushed = 0
        for item in statement.items:
            value = self.evaluate(item.context_expr, scope)
            if item.optional_vars is not None:
                self.bind_target(item.optional_vars, value, scope)
            context = self._context_name(value)
            if context:
                self.context.append(context)
                pushed += 1
        try:
            return self.execute(statement.body, scope)
        finally:
            for _ in range(pushed):
                self.context.pop()

    def _context_name(self, value: Abstract) -> str:
        if isinstance(value, Choice):
            names = {self._context_name(option) for option in value.options}
            return names.pop() if len(names) == 1 else ""
        if isinstance(value, Library) and value.name in ("torch.no_grad", "torch.inference_mode"):
            return "no_grad"
        if not isinstance(value, Instance):
            return ""
        name = value.cls
        if name in ("torch.no_grad", "torch.inference_mode"):
            return "no_grad"
        if name == "torch.enable_grad":
            return "enable_grad"
        if name == "torch.set_grad_enabled":
            mode = next(iter(value.args.values()), None)
            if mode is not None and isinstance(mode.value, Const) and mode.value.certain:
                return "enable_grad" if mode.value.value else "no_grad"
            return ""
        if name in ("torch.amp.autocast", "accelerator.autocast"):
            return "autocast"
        if name == "accelerator.accumulate":
            return "accumulate"
        if name in ("accelerator.no_sync", "accelerator.no_backward_sync"):
            return "no_sync"
        return "dist_autograd" if name == "torch.distributed.autograd.context" else ""
