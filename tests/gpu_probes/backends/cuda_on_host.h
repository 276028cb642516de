// Enough of CUDA to run one kernel on the CPU: a block is a group of std::threads in step.
#include <atomic>
#include <barrier>
#include <bit>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#define __global__
#define __device__
#define __shared__ static

struct Index {
    unsigned int x;
};
static thread_local Index threadIdx;
static thread_local Index blockIdx;
static std::barrier<>* block_barrier;

static void __syncthreads() { block_barrier->arrive_and_wait(); }
static float __uint_as_float(unsigned int bits) { return std::bit_cast<float>(bits); }
static double __longlong_as_double(long long bits) { return std::bit_cast<double>(bits); }
static long long __double_as_longlong(double x) { return std::bit_cast<long long>(x); }

static void atomicAdd(double* where, double x) { std::atomic_ref<double>(*where).fetch_add(x); }

template <class Better>
static void atomic_replace(unsigned long long* where, unsigned long long x, Better better) {
    std::atomic_ref<unsigned long long> cell(*where);
    unsigned long long held = cell.load();
    while (better(x, held) && !cell.compare_exchange_weak(held, x)) {
    }
}
static void atomicMax(unsigned long long* where, unsigned long long x) {
    atomic_replace(where, x, [](auto a, auto b) { return a > b; });
}
static void atomicMin(unsigned long long* where, unsigned long long x) {
    atomic_replace(where, x, [](auto a, auto b) { return a < b; });
}

extern "C" void tensor_statistics(const unsigned long long*, const unsigned long long*, double*);

// Subnormal operands and results are zero, as compiled with -ftz=true.
static void flush_subnormals() {
#if defined(__x86_64__)
    _mm_setcsr(_mm_getcsr() | 0x8040);
#endif
}

extern "C" void launch(unsigned int blocks, unsigned int threads, const unsigned long long* tensors,
                       const unsigned long long* chunks, double* table, bool flush) {
    for (unsigned int block = 0; block < blocks; ++block) {
        std::barrier barrier(threads);
        block_barrier = &barrier;
        std::vector<std::thread> group;
        for (unsigned int thread = 0; thread < threads; ++thread)
            group.emplace_back([=] {
                threadIdx.x = thread;
                blockIdx.x = block;
                if (flush) flush_subnormals();
                tensor_statistics(tensors, chunks, table);
            });
        for (std::thread& thread : group) thread.join();
    }
}
