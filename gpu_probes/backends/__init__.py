"""Statistics of many tensors at once, behind one interface.

`multi_tensor_statistics` measures a list of tensors where they live: with a single CUDA kernel
through CuPy when they are on CUDA and CuPy works there, else with torch operations (the same
code for the CPU and for CUDA). `numpy_reference` is the definition both are tested against.
"""

from __future__ import annotations

import functools
import importlib.util
from typing import TYPE_CHECKING, Protocol

import torch

from convlint.gpu_probes.backends import torch_foreach
from convlint.gpu_probes.backends.statistics import COLUMNS, TensorStatistics, paired

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["TensorStatistics", "backend_for", "backend_name", "multi_tensor_statistics"]


class Backend(Protocol):
    """A function that measures tensors of one device; see `multi_tensor_statistics`."""

    def __call__(
        self,
        tensors: Sequence[torch.Tensor],
        others: Sequence[torch.Tensor] | None = None,
        *,
        norms_only: bool = False,
    ) -> TensorStatistics: ...


def multi_tensor_statistics(
    tensors: Sequence[torch.Tensor],
    others: Sequence[torch.Tensor] | None = None,
    *,
    norms_only: bool = False,
) -> TensorStatistics:
    """Statistics of every tensor and, with ``others``, of every pair, accumulated in float64.

    The tensors may live on several devices; the table is on the first one's. With ``norms_only``
    only the count and the sums of squares are promised (of the tensor, its partner and their
    difference), at a cost every training step can bear. Raises ValueError when ``others`` does
    not pair with ``tensors``.
    """
    paired(tensors, others)
    devices = dict.fromkeys(tensor.device for tensor in tensors)
    if len(devices) <= 1:
        device = next(iter(devices), torch.device("cpu"))
        return backend_for(device)(tensors, others, norms_only=norms_only)
    home = tensors[0].device
    table = torch.empty((len(tensors), COLUMNS), dtype=torch.float64, device=home)
    for device in devices:
        members = [index for index, tensor in enumerate(tensors) if tensor.device == device]
        part = backend_for(device)(
            [tensors[index] for index in members],
            None if others is None else [others[index] for index in members],
            norms_only=norms_only,
        )
        table[torch.tensor(members, device=home)] = part.table.to(home)
    return TensorStatistics(table)


def backend_for(device: torch.device) -> Backend:
    """The backend that measures tensors of ``device``: CuPy on CUDA when it works, else torch."""
    if device.type == "cuda" and _cupy_works(device):
        from convlint.gpu_probes.backends import cupy_kernel

        return cupy_kernel.multi_tensor_statistics
    return torch_foreach.multi_tensor_statistics


def backend_name(device: torch.device) -> str:
    """``cupy`` or ``torch``: what `backend_for` chooses for ``device``."""
    return "cupy" if device.type == "cuda" and _cupy_works(device) else "torch"


@functools.cache
def _cupy_works(device: torch.device) -> bool:
    """Whether CuPy is installed, loads and compiles for ``device``.

    A build for another CUDA release fails on import, a missing NVRTC or header on compilation.
    """
    if torch.version.hip is not None or importlib.util.find_spec("cupy") is None:
        return False
    from convlint.gpu_probes.backends import cupy_kernel

    return cupy_kernel.compiles(device)
