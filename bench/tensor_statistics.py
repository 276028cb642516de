"""Cost of the tensor statistics beside the norms that torch itself offers, in one run.

    python bench/tensor_statistics.py [--device cuda] [--repeat 20]

Columns: ``foreach norms`` is what a hand-written telemetry would do with
``torch._foreach_norm`` (Euclidean and largest magnitude of each tensor, two passes);
``norms only`` is what convlint does at every step (sum of squares of weights, of their copies and
of the differences, three results from two tensors each); ``foreach update`` the same three by
``torch._foreach_sub`` and ``torch._foreach_norm``; ``all statistics`` every column of the table.
``copy`` is one ``copy_`` of the same bytes, the speed of memory. Times are the best of the
repetitions, in milliseconds.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

import torch

from convlint.gpu_probes.backends import backend_name, multi_tensor_statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def workloads(device: torch.device) -> dict[str, list[torch.Tensor]]:
    """Parameter lists: many small tensors, a small transformer, one large matrix."""
    width = 384 if device.type == "cpu" else 1024
    layers = 6 if device.type == "cpu" else 24
    block = [(3 * width, width), (width, width), (4 * width, width), (width, 4 * width)]
    vectors = [(3 * width,), (width,), (4 * width,), (width,), (width,), (width,)]
    shapes: dict[str, list[tuple[int, ...]]] = {
        "1000 x 1024": [(1024,)] * 1000,
        "transformer": [shape for _ in range(layers) for shape in (*block, *vectors)],
        "one matrix": [(4096, 4096)],
    }
    generator = torch.Generator(device).manual_seed(0)
    return {
        name: [torch.randn(shape, device=device, generator=generator) for shape in of]
        for name, of in shapes.items()
    }


def best_milliseconds(work: Callable[[], object], device: torch.device, repeat: int) -> float:
    """Best wall time of ``work``, the device waited for before and after."""
    times = []
    for _ in range(repeat + 2):
        _wait(device)
        start = time.perf_counter()
        work()
        _wait(device)
        times.append(time.perf_counter() - start)
    return 1e3 * min(times[2:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def foreach_norms(tensors: Sequence[torch.Tensor]) -> None:
    torch.stack(torch._foreach_norm(tensors, 2))
    torch.stack(torch._foreach_norm(tensors, float("inf")))


def foreach_update(new: Sequence[torch.Tensor], old: Sequence[torch.Tensor]) -> None:
    torch.stack(torch._foreach_norm(new, 2))
    torch.stack(torch._foreach_norm(old, 2))
    torch.stack(torch._foreach_norm(torch._foreach_sub(new, old), 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--repeat", type=int, default=20)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    print(f"{device}, backend {backend_name(device)}, torch {torch.__version__}, ", end="")
    print(f"{torch.get_num_threads()} threads")
    headings = ("foreach norms", "foreach update", "norms only", "all statistics", "copy")
    print(f"{'tensors':<14}{'MiB':>7}" + "".join(f"{heading:>16}" for heading in headings))
    for name, new in workloads(device).items():
        old = [tensor + 1e-3 for tensor in new]
        target = [torch.empty_like(tensor) for tensor in new]

        measured = [
            best_milliseconds(work, device, arguments.repeat)
            for work in (
                lambda new=new: foreach_norms(new),
                lambda new=new, old=old: foreach_update(new, old),
                lambda new=new, old=old: multi_tensor_statistics(new, old, norms_only=True),
                lambda new=new: multi_tensor_statistics(new),
                lambda new=new, target=target: torch._foreach_copy_(target, new),
            )
        ]
        size = sum(tensor.numel() * tensor.element_size() for tensor in new) / 2**20
        print(f"{name:<14}{size:>7.1f}" + "".join(f"{value:>16.3f}" for value in measured))


if __name__ == "__main__":
    main()
