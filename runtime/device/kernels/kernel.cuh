// Shared by all kernels: element types, 16-byte loads, the tensor-core product, and fault
// reporting.
//
// Plain CUDA C++ without headers of the toolkit, so that NVRTC alone compiles it. Without a CUDA
// compiler, emulator.h defines the same functions for the CPU. Elements are f32, f16 or bf16; sums
// are in f32.
#pragma once

#if defined(__CUDACC__)
#define KERNEL extern "C" __global__
#define SHARED_MEMORY(name) extern __shared__ __align__(16) unsigned char name[]

__device__ inline void count_flops(unsigned) {}

// Starts an asynchronous copy of 16 bytes into shared memory (sm_80 and later), and prefetches the
// surrounding 128 bytes into L2. `commit_copies` ends a group of copies.
__device__ inline void copy_16(void* shared, const void* from) {
    const unsigned to = (unsigned)__cvta_generic_to_shared(shared);
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits for all of this thread's groups but the newest `n`, at most 4. Their bytes are then visible
// to this thread.
__device__ inline void wait_copies(unsigned n) {
    switch (n) {  // the instruction takes a constant alone
        case 0: asm volatile("cp.async.wait_group 0;" ::: "memory"); break;
        case 1: asm volatile("cp.async.wait_group 1;" ::: "memory"); break;
        case 2: asm volatile("cp.async.wait_group 2;" ::: "memory"); break;
        case 3: asm volatile("cp.async.wait_group 3;" ::: "memory"); break;
        default: asm volatile("cp.async.wait_group 4;" ::: "memory");
    }
}

// The compiler moves no load across this call.
__device__ inline void keep_order() { asm volatile("" ::: "memory"); }

__device__ inline uint4 load_16(const void* from) { return *(const uint4*)from; }
__device__ inline void store_16(void* to, uint4 x) { *(uint4*)to = x; }
// The same for shared memory. The emulator does not count these.
__device__ inline uint4 load_shared_16(const void* from) { return *(const uint4*)from; }
__device__ inline void store_shared_16(void* to, uint4 x) { *(uint4*)to = x; }

__device__ inline float of_f16(unsigned int x) {
    float y;
    asm("{ .reg .b16 h; cvt.u16.u32 h, %1; cvt.f32.f16 %0, h; }" : "=f"(y) : "r"(x));
    return y;
}

// Rounds to nearest, ties to even.
__device__ inline unsigned int to_f16(float x) {
    unsigned int y;
    asm("{ .reg .b16 h; cvt.rn.f16.f32 h, %1; cvt.u32.u16 %0, h; }" : "=r"(y) : "f"(x));
    return y;
}

#define DRIVEWAM_MMA(name, type)                                                                                                         \
    __device__ inline void name(float (&c)[4], unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0, unsigned b1) {           \
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." type "." type ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"          \
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                                                                             \
            : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));                                                                     \
    }
DRIVEWAM_MMA(mma_bf16, "bf16")
DRIVEWAM_MMA(mma_f16, "f16")
#undef DRIVEWAM_MMA
#else
#include "emulator.h"
#endif

typedef unsigned int u32;
typedef unsigned long long u64;

constexpr u32 ALL_LANES = 0xffffffffu;
constexpr float TOO_OLD = -3.402823466e38f;  // selection::TOO_OLD
constexpr float MASKED = -30000.0f;          // bindings::MASKED

// A fault. The first one stays until the host has read it; until then kernels that would change the
// memory do nothing. cuda/fault.rs has the same fields in the same order.
enum Code : u32 { NEW_KEY = 1, NEW_VALUE = 2, QUERY_OR_PRODUCT = 3, SCORE = 4, VELOCITY = 5 };

struct State {
    u32 raised;
    u32 code;
    u32 where[3];
    u32 counts[3];
};

constexpr u32 ACTION_POOL = 1u << 31;  // bit of a code: the fault is in rows of the action pool

__device__ inline void raise(State* state, u32 code, u32 a, u32 b, u32 c, const u32* counts) {
    if (atomicCAS(&state->raised, 0u, 1u) != 0u) return;
    state->code = code;
    state->where[0] = a;
    state->where[1] = b;
    state->where[2] = c;
    for (int i = 0; i < 3; ++i) state->counts[i] = counts[i];
}

// Whether an earlier kernel reported a fault. One thread reads the state, so all threads of the
// block get the same answer, although another block may raise a fault now. `word` is in shared
// memory.
__device__ inline bool is_stopped(const State* state, u32* word) {
    if (threadIdx.x == 0) *word = *(const volatile u32*)&state->raised;
    __syncthreads();
    return *word != 0u;
}

__device__ inline float minus_infinity() { return __uint_as_float(0xff800000u); }

__device__ inline bool is_finite(float x) { return (__float_as_uint(x) & 0x7f800000u) != 0x7f800000u; }

// Element types. `Eight` holds 8 neighbouring elements of a row: the part of one lane.
struct F32 {
    typedef float T;
    struct Eight { uint4 raw[2]; };
    // Not zero where an exponent has all bits set (infinity or NaN).
    __device__ static u32 not_finite(const uint4& x) { return not_finite(x.x) | not_finite(x.y) | not_finite(x.z) | not_finite(x.w); }
    __device__ static u32 not_finite(u32 x) { return ((x & 0x7f800000u) + 0x00800000u) & 0x80000000u; }
    __device__ static bool is_finite(const Eight& x) { return !(not_finite(x.raw[0]) | not_finite(x.raw[1])); }
    __device__ static void load(const T* from, Eight& to) { to.raw[0] = load_16(from); to.raw[1] = load_16(from + 4); }
    __device__ static void floats(const Eight& x, float (&to)[8]) {
        const u32 w[8] = {x.raw[0].x, x.raw[0].y, x.raw[0].z, x.raw[0].w, x.raw[1].x, x.raw[1].y, x.raw[1].z, x.raw[1].w};
#pragma unroll
        for (int i = 0; i < 8; ++i) to[i] = __uint_as_float(w[i]);
    }
};

// A 16-bit type. `FLOAT` converts the low 16 bits of its argument to float; `EXPONENT` is the mask
// of the exponent, and `LOWEST` its lowest bit.
template <float (*FLOAT)(u32), u32 EXPONENT, u32 LOWEST>
struct Half {
    typedef unsigned short T;
    struct Eight { uint4 raw[1]; };
    __device__ static float widen(u32 x) { return FLOAT(x); }
    // Two elements at a time: an exponent with all bits set carries into the sign bit, which the
    // mask cleared.
    __device__ static u32 not_finite(u32 x) { return ((x & EXPONENT * 0x10001u) + LOWEST * 0x10001u) & 0x80008000u; }
    __device__ static bool is_finite(const Eight& x) {
        return !(not_finite(x.raw[0].x) | not_finite(x.raw[0].y) | not_finite(x.raw[0].z) | not_finite(x.raw[0].w));
    }
    __device__ static void load(const T* from, Eight& to) { to.raw[0] = load_16(from); }
    __device__ static void floats(const Eight& x, float (&to)[8]) {
        const u32 w[4] = {x.raw[0].x, x.raw[0].y, x.raw[0].z, x.raw[0].w};
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            to[2 * i] = FLOAT(w[i] & 0xffffu);
            to[2 * i + 1] = FLOAT(w[i] >> 16);
        }
    }
};

__device__ inline float of_bf16(u32 x) { return __uint_as_float(x << 16); }

struct Bf16 : Half<of_bf16, 0x7f80u, 0x80u> {
    // Rounds towards zero, so the remainder has the same sign.
    __device__ static u32 narrow(float x) { return __float_as_uint(x) >> 16; }
    // c += a·b by a warp: a is 16x16, b 16x8, c 16x8 in f32 (PTX ISA, mma.m16n8k16).
    __device__ static void mma(float (&c)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) { mma_bf16(c, a0, a1, a2, a3, b0, b1); }
};

struct F16 : Half<of_f16, 0x7c00u, 0x400u> {
    __device__ static u32 narrow(float x) { return to_f16(x); }
    __device__ static void mma(float (&c)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) { mma_f16(c, a0, a1, a2, a3, b0, b1); }
};
