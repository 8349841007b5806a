// What all kernels share: element types, 16-byte loads, the tensor-core product, and how a fault is told.
//
// Plain CUDA C++ without headers of the toolkit, so that NVRTC alone compiles it; where no CUDA compiler reads it, emulator.h gives the same words a
// meaning on the CPU. Numbers are stored as f32, f16 or bf16 and summed in f32.
#pragma once

#if defined(__CUDACC__)
#define KERNEL extern "C" __global__
#define SHARED_MEMORY(name) extern __shared__ __align__(16) unsigned char name[]

__device__ inline void count_flops(unsigned) {}

// Copies 16 bytes into shared memory while the thread goes on; they are there after `wait_copies`, for this thread (sm_80 and later).
__device__ inline void copy_16(void* shared, const void* from) {
    const unsigned to = (unsigned)__cvta_generic_to_shared(shared);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}
__device__ inline void wait_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

// The compiler moves no load across.
__device__ inline void keep_order() { asm volatile("" ::: "memory"); }

__device__ inline uint4 load_16(const void* from) { return *(const uint4*)from; }
__device__ inline void store_16(void* to, uint4 x) { *(uint4*)to = x; }

__device__ inline float of_f16(unsigned int x) {
    float y;
    asm("{ .reg .b16 h; cvt.u16.u32 h, %1; cvt.f32.f16 %0, h; }" : "=f"(y) : "r"(x));
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

// A fault: the first one stays until the host has read it, and every later kernel that would change the memory does nothing. cuda/fault.rs.
enum Code : u32 { NEW_KEY = 1, NEW_VALUE = 2, QUERY_OR_PRODUCT = 3, SCORE = 4, VELOCITY = 5 };

struct State {
    u32 raised;
    u32 code;
    u32 where[3];
    u32 counts[3];
};

__device__ inline void raise(State* state, u32 code, u32 a, u32 b, u32 c, const u32* counts) {
    if (atomicCAS(&state->raised, 0u, 1u) != 0u) return;
    state->code = code;
    state->where[0] = a;
    state->where[1] = b;
    state->where[2] = c;
    for (int i = 0; i < 3; ++i) state->counts[i] = counts[i];
}

// Whether an earlier kernel found a fault: the same answer for the whole block, although another block may raise one now. `word` is shared.
__device__ inline bool is_stopped(const State* state, u32* word) {
    if (threadIdx.x == 0) *word = *(const volatile u32*)&state->raised;
    __syncthreads();
    return *word != 0u;
}

__device__ inline float minus_infinity() { return __uint_as_float(0xff800000u); }

__device__ inline bool is_finite(float x) { return (__float_as_uint(x) & 0x7f800000u) != 0x7f800000u; }

// Element types. `Eight` is what one lane holds of a row: 8 neighbouring elements.
struct F32 {
    typedef float T;
    struct Eight { uint4 raw[2]; };
    __device__ static void load(const T* from, Eight& to) { to.raw[0] = load_16(from); to.raw[1] = load_16(from + 4); }
    __device__ static void floats(const Eight& x, float (&to)[8]) {
        const u32 w[8] = {x.raw[0].x, x.raw[0].y, x.raw[0].z, x.raw[0].w, x.raw[1].x, x.raw[1].y, x.raw[1].z, x.raw[1].w};
#pragma unroll
        for (int i = 0; i < 8; ++i) to[i] = __uint_as_float(w[i]);
    }
};

// `FLOAT` turns the low 16 bits of its argument into a float.
template <float (*FLOAT)(u32)>
struct Short {
    typedef unsigned short T;
    struct Eight { uint4 raw[1]; };
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

struct Bf16 : Short<of_bf16> {
    // c += a·b, warp-wide: a 16x16, b 16x8, c 16x8 in f32 (PTX ISA, mma.m16n8k16).
    __device__ static void mma(float (&c)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) { mma_bf16(c, a0, a1, a2, a3, b0, b1); }
};

struct F16 : Short<of_f16> {
    __device__ static void mma(float (&c)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) { mma_f16(c, a0, a1, a2, a3, b0, b1); }
};
