"""The CUDA kernel: compiled by nvcc, run on the CPU thread by thread, and run on CUDA."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from convlint.gpu_probes.backends import backend_for, cupy_kernel, numpy_reference, torch_foreach
from convlint.gpu_probes.backends.statistics import COLUMNS, COUNT, DOT, MIN_POSITIVE

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
HOST_THREADS = 8
"""Threads per block on the CPU: enough to exercise the reductions, few enough to be quick."""

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def operands(dtype: torch.dtype) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Tensors of several chunks, of one element, with every special value, with partners."""
    generator = torch.Generator().manual_seed(3)
    tiny = torch.finfo(dtype).smallest_normal
    largest = min(torch.finfo(dtype).max, 1e150)  # its square must fit in float64
    special = [np.nan, np.inf, -np.inf, 0.0, -0.0, tiny, -tiny / 4, 3.0, largest]
    tensors = [
        torch.randn(2 * cupy_kernel.CHUNK + 5, generator=generator).to(dtype),
        torch.tensor(special, dtype=torch.float64).to(dtype),
        torch.randn(1, generator=generator).to(dtype),
        torch.randn(40, 30, generator=generator).to(dtype),
    ]
    others = [torch.randn(t.shape, generator=generator).to(dtype) for t in tensors]
    return tensors, others


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_the_kernel_compiles_for_the_architecture(architecture: str, tmp_path: Path) -> None:
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("nvcc is not on PATH")
    source = tmp_path / "kernel.cu"
    source.write_text(cupy_kernel.KERNEL_SOURCE)
    binary = tmp_path / "kernel.cubin"
    built = subprocess.run(
        [nvcc, f"-arch={architecture}", "-cubin", "-o", str(binary), str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    assert b"tensor_statistics" in binary.read_bytes()


@pytest.fixture(scope="module")
def kernel_on_the_cpu(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The kernel's own source, compiled for the CPU with threads in the place of CUDA's."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not on PATH")
    folder = tmp_path_factory.mktemp("kernel")
    header = Path(__file__).with_name("cuda_on_host.h")
    fewer_threads = cupy_kernel.KERNEL_SOURCE.replace(
        f"#define THREADS {cupy_kernel.THREADS}", f"#define THREADS {HOST_THREADS}"
    )
    source = folder / "kernel.cpp"
    source.write_text(f'#include "{header}"\n{fewer_threads}')
    library = folder / "kernel.so"
    built = subprocess.run(
        [
            compiler,
            *["-std=c++20", "-O1", "-shared", "-fPIC", "-pthread", "-o"],
            str(library),
            str(source),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode and "barrier" in built.stderr:
        pytest.skip("g++ has no C++20 barrier")
    assert built.returncode == 0, built.stderr
    return ctypes.CDLL(str(library))


@pytest.mark.parametrize(
    ("dtype", "flush"),
    # CUDA flushes no float64.
    [(d, f) for d in DTYPES for f in (False, True) if not (f and d == torch.float64)],
)
@pytest.mark.parametrize("with_partners", [False, True])
def test_the_kernel_computes_the_reference(
    kernel_on_the_cpu: ctypes.CDLL, dtype: torch.dtype, with_partners: bool, flush: bool
) -> None:
    """``flush``: where subnormal numbers of float32 count as zero, as CuPy compiles for CUDA."""
    tensors, others = operands(dtype)
    partners = others if with_partners else None
    entries, chunks = cupy_kernel.launch_tables(
        tensors, [None] * len(tensors) if partners is None else list(partners)
    )
    table = np.zeros((len(tensors), COLUMNS))
    table[:, COUNT] = [tensor.numel() for tensor in tensors]
    table[:, MIN_POSITIVE] = np.inf
    if partners is None:
        table[:, DOT:] = np.nan
    kernel_on_the_cpu.launch(
        ctypes.c_uint(len(chunks)),
        ctypes.c_uint(HOST_THREADS),
        entries.ctypes.data_as(ctypes.c_void_p),
        chunks.ctypes.data_as(ctypes.c_void_p),
        table.ctypes.data_as(ctypes.c_void_p),
        ctypes.c_bool(flush),
    )
    expected = numpy_reference.multi_tensor_statistics(tensors, partners).table
    # float64 sums in another order.
    torch.testing.assert_close(
        torch.from_numpy(table), expected, rtol=1e-11, atol=1e-9, equal_nan=True
    )


def test_launch_tables_cut_tensors_into_chunks() -> None:
    tensors = [torch.zeros(cupy_kernel.CHUNK + 1), torch.zeros(0), torch.zeros(3)]
    entries, chunks = cupy_kernel.launch_tables(tensors, [None, None, tensors[2]])
    assert chunks.tolist() == [[0, 0], [0, 1], [2, 0]]
    assert entries[:, 2].tolist() == [cupy_kernel.CHUNK + 1, 0, 3]
    assert entries[:, 1].tolist() == [0, 0, tensors[2].data_ptr()]


def test_the_default_stream_of_each_device_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its handle is 0 on every one, and CuPy refuses the stream of another device."""
    current: list[int] = []

    class Device:
        def __init__(self, index: int) -> None:
            self.index = index

        def __enter__(self) -> None:
            current.append(self.index)

        def __exit__(self, *_: object) -> None:
            current.pop()

    cuda = SimpleNamespace(Device=Device, ExternalStream=lambda pointer: (current[-1], pointer))
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=cuda))
    cupy_kernel._queue.cache_clear()
    assert [cupy_kernel._queue(index, 0) for index in (0, 1, 0)] == [(0, 0), (1, 0), (0, 0)]
    cupy_kernel._queue.cache_clear()


@pytest.mark.cuda
@needs_cuda
@pytest.mark.parametrize("dtype", DTYPES)
def test_cupy_equals_the_reference_on_cuda(dtype: torch.dtype) -> None:
    pytest.importorskip("cupy", exc_type=ImportError)
    tensors, others = operands(dtype)
    measured = cupy_kernel.multi_tensor_statistics(
        [t.cuda() for t in tensors], [t.cuda() for t in others]
    )
    expected = numpy_reference.multi_tensor_statistics(tensors, others).table
    torch.testing.assert_close(measured.table.cpu(), expected, rtol=1e-6, atol=1e-9, equal_nan=True)


@pytest.mark.cuda
@needs_cuda
@pytest.mark.parametrize("norms_only", [False, True])
def test_torch_backend_equals_the_reference_on_cuda(norms_only: bool) -> None:
    tensors, others = operands(torch.float32)
    tensors, others = tensors[::3], others[::3]
    measured = torch_foreach.multi_tensor_statistics(
        [t.cuda() for t in tensors], [t.cuda() for t in others], norms_only=norms_only
    ).table.cpu()
    expected = numpy_reference.multi_tensor_statistics(tensors, others).table
    asked = ~measured.isnan()
    torch.testing.assert_close(measured[asked], expected[asked], rtol=1e-6, atol=1e-9)


@pytest.mark.cuda
@needs_cuda
def test_cuda_tensors_are_measured_by_cupy_when_it_imports() -> None:
    pytest.importorskip("cupy", exc_type=ImportError)
    assert backend_for(torch.device("cuda")) is cupy_kernel.multi_tensor_statistics
