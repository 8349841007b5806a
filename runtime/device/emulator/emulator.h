// The CUDA functions that ../kernels use, with the same meaning on a CPU.
//
// Every thread of a block is a fiber, so that a barrier, a shuffle or a tensor-core product can
// wait for the other threads; blocks run one after the other. A seed draws which fiber runs next,
// so that a missing barrier shows. Shared memory begins as NaN. See emulator.cpp.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#include "sanitizer.h"

#define __device__
#define __global__
#define __launch_bounds__(...)
#define KERNEL static
#define SHARED_MEMORY(name) unsigned char* name = emulator::shared()

struct uint4 {
    uint32_t x, y, z, w;
};

namespace emulator {
struct Place {
    unsigned x, y, z;
};

// Work of a launch, counted in the kernels' 16-byte loads, stores and products.
struct Counts {
    uint64_t bytes_read, bytes_written, flops;
};

// Indices and sizes of the running fiber.
struct Thread {
    Place thread, block, threads, blocks;
};
// Not `thread_local`: C++ would check at every access whether they are initialised.
extern __thread Thread* self;
extern __thread Counts counts;

unsigned char* shared();
void barrier();
// The same; returns for how many threads `x` is true.
unsigned barrier_count(bool x);

// Exchanges `size` bytes with the other lanes of the warp. Returns 32 entries of `size` bytes,
// which are valid until the lane's next call.
const unsigned char* exchange(unsigned mask, const void* mine, unsigned size);
unsigned lane();
// Ends the launch with an error.
[[noreturn]] void refuse(const char* what);

template <class T>
T shuffle(unsigned mask, T mine, unsigned from) {
    T theirs;
    std::memcpy(&theirs, exchange(mask, &mine, sizeof mine) + (from % 32) * sizeof mine, sizeof mine);
    return theirs;
}

float of_half(uint16_t bits);
uint16_t to_half(float x);
float of_bfloat(uint16_t bits);
void mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], float (*to_float)(uint16_t));
}  // namespace emulator

#define threadIdx (emulator::self->thread)
#define blockIdx (emulator::self->block)
#define blockDim (emulator::self->threads)
#define gridDim (emulator::self->blocks)

inline void __syncthreads() { emulator::barrier(); }

inline int __syncthreads_count(bool x) { return static_cast<int>(emulator::barrier_count(x)); }

inline int __popc(uint32_t x) { return __builtin_popcount(x); }

inline uint32_t __ballot_sync(unsigned mask, bool x) {
    const unsigned char* lanes = emulator::exchange(mask, &x, sizeof x);
    uint32_t bits = 0;
    for (unsigned i = 0; i < 32; ++i) bits |= static_cast<uint32_t>(lanes[i] != 0) << i;
    return bits;
}

template <class T>
T __shfl_sync(unsigned mask, T x, unsigned from) {
    return emulator::shuffle(mask, x, from);
}

template <class T>
T __shfl_xor_sync(unsigned mask, T x, unsigned with) {
    return emulator::shuffle(mask, x, emulator::lane() ^ with);
}

uint32_t atomicCAS(uint32_t* at, uint32_t expected, uint32_t value);

// Functions that move 16 bytes report to the sanitizer themselves: compilers merge these copies
// into one instruction after they have instrumented the code.
inline uint4 load_shared_16(const void* from) {
    if (reinterpret_cast<uintptr_t>(from) % 16) emulator::refuse("a 16-byte load that is not aligned");
    emulator::sanitizer::read(from, 16);
    uint4 x;
    std::memcpy(&x, from, sizeof x);
    return x;
}

inline void store_shared_16(void* to, uint4 x) {
    if (reinterpret_cast<uintptr_t>(to) % 16) emulator::refuse("a 16-byte store that is not aligned");
    emulator::sanitizer::write(to, 16);
    std::memcpy(to, &x, sizeof x);
}

inline uint4 load_16(const void* from) {
    emulator::counts.bytes_read += 16;
    return load_shared_16(from);
}

inline void store_16(void* to, uint4 x) {
    emulator::counts.bytes_written += 16;
    store_shared_16(to, x);
}

// Copies either at once, or when the fiber waits for the group, so that a kernel that relies on one
// of them fails.
void copy_16(void* shared, const void* from);
void commit_copies();
void wait_copies(unsigned n);

inline void keep_order() {}

inline void count_flops(unsigned n) { emulator::counts.flops += n; }

inline float of_f16(unsigned bits) { return emulator::of_half(static_cast<uint16_t>(bits)); }

inline unsigned to_f16(float x) { return emulator::to_half(x); }

inline void mma_bf16(float (&c)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0, uint32_t b1) {
    emulator::mma(c, {a0, a1, a2, a3}, {b0, b1}, emulator::of_bfloat);
}

inline void mma_f16(float (&c)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0, uint32_t b1) {
    emulator::mma(c, {a0, a1, a2, a3}, {b0, b1}, emulator::of_half);
}

inline uint32_t __float_as_uint(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits;
}

inline float __uint_as_float(uint32_t bits) {
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

inline void sincospif(float x, float* sin, float* cos) {
    const double angle = 3.14159265358979323846 * static_cast<double>(x);
    *sin = static_cast<float>(std::sin(angle));
    *cos = static_cast<float>(std::cos(angle));
}
