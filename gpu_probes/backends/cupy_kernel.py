"""The statistics of `statistics.py` in one CUDA kernel over all tensors, launched through CuPy.

Raw pointers are passed, not DLPack capsules or the CUDA array interface: bfloat16 and tensors
that require grad travel through neither. Layout after NVIDIA Apex's multi-tensor apply: a table of
(pointer, partner pointer, elements, dtype) per tensor and one thread block per chunk of 64 Ki
elements, so a model of a thousand small tensors costs one launch.
"""

from __future__ import annotations

import functools
import warnings
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from convlint.gpu_probes.backends import statistics as columns
from convlint.gpu_probes.backends.statistics import TensorStatistics, paired, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

CHUNK: Final = 1 << 16
THREADS: Final = 256
NORM_COLUMNS: Final = [columns.SUM_OF_SQUARES, columns.DIFFERENCE_SUM_OF_SQUARES]
_PLAIN: Final = frozenset({torch.Tensor, torch.nn.Parameter})
DTYPE_TAGS: Final = {torch.float32: 0, torch.float64: 1, torch.float16: 2, torch.bfloat16: 3}

KERNEL_SOURCE: Final = r"""
#define CHUNK 65536ULL
#define THREADS 256
#define UNROLLED 4
#define COLUMNS 12

typedef unsigned long long u64;

// CuPy compiles with -ftz=true, which takes subnormal float32 for zero: their digits travel as
// integers.
static __device__ double from_float32(unsigned int bits) {
    unsigned int magnitude = bits & 0x7fffffffu;
    double value = magnitude >= 0x00800000u ? (double)__uint_as_float(magnitude)
                                            : (double)magnitude * 1.401298464324817e-45;
    return bits >> 31 ? -value : value;
}

struct Float32 {
    static __device__ double load(const void* p, u64 i) {
        return from_float32(((const unsigned int*)p)[i]);
    }
    static __device__ double smallest_normal() { return 1.1754943508222875e-38; }
};
struct Float64 {
    static __device__ double load(const void* p, u64 i) { return ((const double*)p)[i]; }
    static __device__ double smallest_normal() { return 2.2250738585072014e-308; }
};
struct Float16 {
    static __device__ double load(const void* p, u64 i) {
        unsigned int bits = ((const unsigned short*)p)[i];
        unsigned int magnitude = bits & 0x7fffu;
        // The exponent of float32 is biased by 112 more; infinity and NaN keep theirs, and
        // subnormals have none.
        double value = magnitude >= 0x7c00u ? __uint_as_float(0x7f800000u | (magnitude << 13))
                       : magnitude >= 0x0400u
                           ? __uint_as_float((magnitude << 13) + (112u << 23))
                           : (double)magnitude * 5.960464477539063e-08;
        return bits & 0x8000u ? -value : value;
    }
    static __device__ double smallest_normal() { return 6.103515625e-05; }
};
struct BFloat16 {
    static __device__ double load(const void* p, u64 i) {
        return from_float32((unsigned int)((const unsigned short*)p)[i] << 16);
    }
    static __device__ double smallest_normal() { return 1.1754943508222875e-38; }
};

static __device__ bool is_finite(double x) { return x - x == 0.0; }

// Order-preserving for non-negative doubles, whose bit patterns sort like their values.
static __device__ void atomic_max(double* where, double x) {
    atomicMax((u64*)where, (u64)__double_as_longlong(x));
}
static __device__ void atomic_min(double* where, double x) {
    atomicMin((u64*)where, (u64)__double_as_longlong(x));
}

// What one thread has seen of a chunk.
template <class Format>
struct Seen {
    double sum = 0.0, squares = 0.0, largest = 0.0, smallest = INFINITY_F64;
    double dot = 0.0, other_squares = 0.0, difference = 0.0;
    unsigned int zeros = 0, subnormals = 0, nans = 0, infinities = 0;

    __device__ void add(double x) {
        if (is_finite(x)) {
            double magnitude = x < 0.0 ? -x : x;
            sum += x;
            squares += x * x;
            if (magnitude > largest) largest = magnitude;
            if (magnitude == 0.0) {
                ++zeros;
            } else {
                if (magnitude < smallest) smallest = magnitude;
                if (magnitude < Format::smallest_normal()) ++subnormals;
            }
        } else if (x != x) {
            ++nans;
        } else {
            ++infinities;
        }
    }
    __device__ void add_pair(double x, double y) {
        if (is_finite(x) && is_finite(y)) {
            dot += x * y;
            other_squares += y * y;
            difference += (x - y) * (x - y);
        }
    }
};

#define SUMS 9
#define LARGEST 9
#define SMALLEST 10
#define PARTS 11

template <class Format>
static __device__ void reduce_chunk(const void* tensor, const void* other, u64 begin, u64 end,
                                    double* row, double (*shared)[THREADS]) {
    Seen<Format> seen;
    u64 i = begin + threadIdx.x;
    // Several loads on their way at a time, or memory waits for each.
    for (; i + (UNROLLED - 1) * THREADS < end; i += UNROLLED * THREADS) {
        double xs[UNROLLED], ys[UNROLLED];
        for (int k = 0; k < UNROLLED; ++k) xs[k] = Format::load(tensor, i + k * THREADS);
        if (other)
            for (int k = 0; k < UNROLLED; ++k) ys[k] = Format::load(other, i + k * THREADS);
        for (int k = 0; k < UNROLLED; ++k) seen.add(xs[k]);
        if (other)
            for (int k = 0; k < UNROLLED; ++k) seen.add_pair(xs[k], ys[k]);
    }
    for (; i < end; i += THREADS) {
        double x = Format::load(tensor, i);
        seen.add(x);
        if (other) seen.add_pair(x, Format::load(other, i));
    }
    double parts[PARTS] = {seen.sum, seen.squares, (double)seen.zeros, (double)seen.subnormals,
                           (double)seen.nans, (double)seen.infinities, seen.dot,
                           seen.other_squares, seen.difference, seen.largest, seen.smallest};
    const int places[SUMS] = {1, 2, 5, 6, 7, 8, 9, 10, 11};
    unsigned int t = threadIdx.x;
    for (int p = 0; p < PARTS; ++p) shared[p][t] = parts[p];
    __syncthreads();
    for (unsigned int half = THREADS / 2; half > 0; half /= 2) {
        if (t < half) {
            for (int p = 0; p < SUMS; ++p) shared[p][t] += shared[p][t + half];
            if (shared[LARGEST][t + half] > shared[LARGEST][t])
                shared[LARGEST][t] = shared[LARGEST][t + half];
            if (shared[SMALLEST][t + half] < shared[SMALLEST][t])
                shared[SMALLEST][t] = shared[SMALLEST][t + half];
        }
        __syncthreads();
    }
    if (t == 0) {
        // Without a partner its columns hold NaN, to which nothing is added.
        for (int p = 0; p < (other ? SUMS : 6); ++p)
            if (shared[p][0] != 0.0) atomicAdd(row + places[p], shared[p][0]);
        atomic_max(row + 3, shared[LARGEST][0]);
        atomic_min(row + 4, shared[SMALLEST][0]);
    }
}

// tensors: (pointer, partner pointer or 0, elements, dtype tag) per tensor.
// chunks: (tensor index, chunk index within it) per thread block.
extern "C" __global__ void tensor_statistics(const u64* tensors, const u64* chunks, double* table) {
    __shared__ double shared[PARTS][THREADS];
    u64 which = chunks[2 * blockIdx.x];
    const u64* entry = tensors + 4 * which;
    const void* tensor = (const void*)entry[0];
    const void* other = (const void*)entry[1];
    u64 begin = chunks[2 * blockIdx.x + 1] * CHUNK;
    u64 end = begin + CHUNK < entry[2] ? begin + CHUNK : entry[2];
    double* row = table + COLUMNS * which;
    switch (entry[3]) {
        case 0: reduce_chunk<Float32>(tensor, other, begin, end, row, shared); break;
        case 1: reduce_chunk<Float64>(tensor, other, begin, end, row, shared); break;
        case 2: reduce_chunk<Float16>(tensor, other, begin, end, row, shared); break;
        case 3: reduce_chunk<BFloat16>(tensor, other, begin, end, row, shared); break;
    }
}
""".replace("INFINITY_F64", "__longlong_as_double(0x7ff0000000000000LL)")


@torch.no_grad()
def multi_tensor_statistics(
    tensors: Sequence[torch.Tensor],
    others: Sequence[torch.Tensor] | None = None,
    *,
    norms_only: bool = False,
) -> TensorStatistics:
    """Statistics of tensors that live on one CUDA device, in one launch on torch's stream.

    ``norms_only`` asks for a part of what one pass yields anyway: every column is filled, and a
    tensor that is not finite makes its sums of squares NaN.
    Raises ValueError when ``others`` does not pair with ``tensors``.
    """
    import cupy

    values, partners = _kernel_operands(tensors, paired(tensors, others))
    if not values:
        return TensorStatistics(torch.empty((0, columns.COLUMNS), dtype=torch.float64))
    device = values[0].device
    entries, chunks = launch_tables(values, partners)
    device_entries = torch.from_numpy(entries).to(device, non_blocking=True)
    device_chunks = torch.from_numpy(chunks).to(device, non_blocking=True)
    initial = np.zeros((len(values), columns.COLUMNS))
    initial[:, columns.COUNT] = [x.numel() for x in values]
    initial[:, columns.MIN_POSITIVE] = np.inf
    if others is None:
        initial[:, columns.DOT :] = np.nan
    table = torch.from_numpy(initial).to(device)
    if len(chunks):
        stream = torch.cuda.current_stream(device)
        with cupy.cuda.Device(_index(device)), _queue(_index(device), stream.cuda_stream):
            _compiled(_index(device))(
                (len(chunks),),
                (THREADS,),
                tuple(np.uint64(t.data_ptr()) for t in (device_entries, device_chunks, table)),
            )
    if norms_only:
        broken = (table[:, columns.NANS] + table[:, columns.INFINITIES]) > 0
        table[:, NORM_COLUMNS] = table[:, NORM_COLUMNS].masked_fill(broken[:, None], torch.nan)
    # Operands copied to become dense are freed here; torch's allocator reuses their memory only
    # for work queued on the same stream, that is after the kernel.
    return TensorStatistics(table)


def compiles(device: torch.device) -> bool:
    """Whether CuPy imports and compiles the kernel for a CUDA device; never raises for its lack."""
    try:
        import cupy
    except (ImportError, OSError, RuntimeError):
        return False
    try:
        _compiled(_index(device)).compile()
    except (cupy.cuda.compiler.CompileException, OSError, RuntimeError):
        return False
    return True


def launch_tables(
    values: Sequence[torch.Tensor], partners: Sequence[torch.Tensor | None]
) -> tuple[np.ndarray[Any, np.dtype[np.int64]], np.ndarray[Any, np.dtype[np.int64]]]:
    """The kernel's two tables as int64 (torch has no arithmetic-free uint64 everywhere).

    The first is (T, 4): pointer, partner pointer or 0, elements, dtype tag; the second is
    (blocks, 2): tensor index and chunk index.
    """
    entries = np.array(
        [
            (x.data_ptr(), 0 if y is None else y.data_ptr(), x.numel(), DTYPE_TAGS[x.dtype])
            for x, y in zip(values, partners, strict=True)
        ],
        dtype=np.uint64,
    ).view(np.int64)
    counts = np.array([-(-x.numel() // CHUNK) for x in values], dtype=np.int64)
    which = np.repeat(np.arange(len(values)), counts)
    first = np.cumsum(counts) - counts
    within = np.arange(len(which)) - first[which]
    return entries, np.stack([which, within], axis=1).astype(np.int64)


def _kernel_operands(
    tensors: Sequence[torch.Tensor], partners: Sequence[torch.Tensor | None]
) -> tuple[list[torch.Tensor], list[torch.Tensor | None]]:
    """Operands the kernel can walk linearly: dense, one dtype and one memory order per pair."""
    values: list[torch.Tensor] = []
    mates: list[torch.Tensor | None] = []
    for tensor, partner in zip(tensors, partners, strict=True):
        if _as_it_is(tensor) and (
            partner is None or (_as_it_is(partner) and partner.dtype == tensor.dtype)
        ):
            values.append(tensor)
            mates.append(partner)
            continue
        x = plain(tensor)
        y = None if partner is None else plain(partner)
        common = x.dtype if y is None else torch.promote_types(x.dtype, y.dtype)
        if common not in DTYPE_TAGS:
            common = torch.float64
        x = x.to(common)
        y = None if y is None else y.to(common)
        if not _dense(x) or (y is not None and y.stride() != x.stride()):
            x = x.contiguous()
            y = None if y is None else y.contiguous()
        values.append(x)
        mates.append(y)
    return values, mates


def _as_it_is(tensor: torch.Tensor) -> bool:
    """Whether the kernel can read ``tensor`` without a look at what it is: the usual case."""
    usual = type(tensor) in _PLAIN and tensor.layout == torch.strided
    return usual and tensor.dtype in DTYPE_TAGS and tensor.is_contiguous()


def _dense(tensor: torch.Tensor) -> bool:
    return tensor.is_contiguous() or (
        tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    )


def _index(device: torch.device) -> int:
    return torch.cuda.current_device() if device.index is None else device.index


@functools.cache
def _queue(device_index: int, pointer: int) -> Any:
    """CuPy's stream for one of torch's, by its handle, which on every device is 0 for the default.

    What CuPy offers in its place asks for a protocol that torch's streams have not always had.
    """
    import cupy

    with warnings.catch_warnings(), cupy.cuda.Device(device_index):
        warnings.simplefilter("ignore", DeprecationWarning)
        return cupy.cuda.ExternalStream(pointer)


@functools.cache
def _compiled(device_index: int) -> Any:
    """The kernel for one device; CuPy caches the binary on disk."""
    import cupy

    with cupy.cuda.Device(device_index):
        return cupy.RawKernel(KERNEL_SOURCE, "tensor_statistics")
