"""Imported by a script before it imports torch's parts: every tensor it makes lives on CUDA.

``torch.set_default_device`` alone leaves what comes from NumPy and from a generator of the CPU
where it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Callable

FROM_ELSEWHERE = (torch.from_numpy, torch.tensor, torch.as_tensor, torch.Tensor)
MADE = (
    torch.arange, torch.empty, torch.eye, torch.full, torch.linspace, torch.normal, torch.ones,
    torch.rand, torch.randint, torch.randn, torch.randperm, torch.zeros,
)  # fmt: skip


class MovedToCuda(TorchFunctionMode):
    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        arguments: tuple[Any, ...] = (),
        named: dict[str, Any] | None = None,
    ) -> Any:
        named = named or {}
        made = function(*arguments, **named)
        if (function in FROM_ELSEWHERE or function in MADE) and named.get("device") is None:
            return made.cuda().detach().requires_grad_(made.requires_grad)
        return made


MovedToCuda().__enter__()
