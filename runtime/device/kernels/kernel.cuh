// What all kernels share: element types, 16-byte loads, the tensor-core product, and how a fault is told.
//
// Plain CUDA C++ without headers of the toolkit, so that NVRTC alone compiles it; where no CUDA compiler reads it, emulator.h gives the same words a
// meaning on the CPU. Numbers are stored as f32, f16 or bf16 and summed in f32.
#pragma once

#if defined(__CUDACC__)
#define KERNEL extern "C" __global__
#define SHARED_MEMORY(name) extern __shared__ __align__(16) unsigned char name[]

__device__ inline void count_flops(unsigned) {}

// Copies 16 bytes into shared memory while the thread goes on (sm_80 and later), and asks L2 for the 128 around them. Copies up to a `commit_copies` are a
// group.
__device__ inline void copy_16(void* shared, const void* from) {
    const unsigned to = (unsigned)__cvta_generic_to_shared(shared);
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits for all of this thread's groups but the newest `n`, at most 4: what they copied is there, for this thread.
__device__ inline void wait_copies(unsigned n) {
    switch (n) {  // the instruction takes no variable
        case 0: asm volatile("cp.async.wait_group 0;" ::: "memory"); break;
        case 1: asm volatile("cp.async.wait_group 1;" ::: "memory"); break;
        case 2: asm volatile("cp.async.wait_group 2;" ::: "memory"); break;
        case 3: asm volatile("cp.async.wait_group 3;" ::: "memory"); break;
        default: asm volatile("cp.async.wait_group 4;" ::: "memory");
    }
}

// The compiler moves no load across.
__device__ inline void keep_order() { asm volatile("" ::: "memory"); }

__device__ inline uint4 load_16(const void* from) { return *(const uint4*)from; }
__device__ inline void store_16(void* to, uint4 x) { *(uint4*)to = x; }
// The same of shared memory, where they do not count.
__device__ inline uint4 load_shared_16(const void* from) { return *(const uint4*)from; }
__device__ inline void store_shared_16(void* to, uint4 x) { *(uint4*)to = x; }

__device__ inline float of_f16(unsigned int x) {
    float y;
    asm("{ .reg .b16 h; cvt.u16.u32 h, %1; cvt.f32.f16 %0, h; }" : "=f"(y) : "r"(x));
    return y;
}

// To the nearest, ties to even.
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

// A fault: the first one stays until the host has read it, and every later kernel that would change the memory does nothing. cuda/fault.rs.
enum Code : u32 { NEW_KEY = 1, NEW_VALUE = 2, QUERY_OR_PRODUCT = 3, SCORE = 4, VELOCITY = 5 };

struct State {
    u32 raised;
    u32 code;
    u32 where[3];
    u32 counts[3];
};

constexpr u32 ACTION_POOL = 1u << 31;  // beside a code: which pool's rows were at fault

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
    // Not zero where an exponent has all bits.
    __device__ static u32 beyond(const uint4& x) { return beyond(x.x) | beyond(x.y) | beyond(x.z) | beyond(x.w); }
    __device__ static u32 beyond(u32 x) { return ((x & 0x7f800000u) + 0x00800000u) & 0x80000000u; }
    __device__ static bool is_finite(const Eight& x) { return !(beyond(x.raw[0]) | beyond(x.raw[1])); }
    __device__ static void load(const T* from, Eight& to) { to.raw[0] = load_16(from); to.raw[1] = load_16(from + 4); }
    __device__ static void floats(const Eight& x, float (&to)[8]) {
        const u32 w[8] = {x.raw[0].x, x.raw[0].y, x.raw[0].z, x.raw[0].w, x.raw[1].x, x.raw[1].y, x.raw[1].z, x.raw[1].w};
#pragma unroll
        for (int i = 0; i < 8; ++i) to[i] = __uint_as_float(w[i]);
    }
};

// `FLOAT` turns the low 16 bits of its argument into a float; `EXPONENT` are the bits of one, and `LOWEST` the least of them.
template <float (*FLOAT)(u32), u32 EXPONENT, u32 LOWEST>
struct Short {
    typedef unsigned short T;
    struct Eight { uint4 raw[1]; };
    __device__ static float widen(u32 x) { return FLOAT(x); }
    // Two at a time: an exponent with all bits carries into the bit of the sign, which was cleared.
    __device__ static u32 beyond(u32 x) { return ((x & EXPONENT * 0x10001u) + LOWEST * 0x10001u) & 0x80008000u; }
    __device__ static bool is_finite(const Eight& x) {
        return !(beyond(x.raw[0].x) | beyond(x.raw[0].y) | beyond(x.raw[0].z) | beyond(x.raw[0].w));
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

struct Bf16 : Short<of_bf16, 0x7f80u, 0x80u> {
    // Towards zero: what is cut off has the same sign.
    __device__ static u32 narrow(float x) { return __float_as_uint(x) >> 16; }
    // c += a·b, warp-wide: a 16x16, b 16x8, c 16x8 in f32 (PTX ISA, mma.m16n8k16).
    __device__ static void mma(float (&c)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) { mma_bf16(c, a0, a1, a2, a3, b0, b1); }
};

struct F16 : Short<of_f16, 0x7c00u, 0x400u> {
    __device__ static u32 narrow(float x) { return to_f16(x); }
    __device__ static void mma(float (&c)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) { mma_f16(c, a0, a1, a2, a3, b0, b1); }
};
