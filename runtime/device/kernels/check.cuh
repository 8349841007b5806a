// Proves that a new token's rows are finite and takes its key's length, before anything is written: a block owns one token of one job (host twin: host/kv.rs).
#pragma once
#include "kv.cuh"

// A sum of squares as s * 4^(e - 127): a key's length is told for every key that has one, also where its squares overflow or vanish in f32.
struct Squares {
    int e;
    float s;
};

__device__ inline Squares add(Squares a, Squares b) {
    const int e = a.e > b.e ? a.e : b.e;
    const int da = e - a.e, db = e - b.e;
    // 4^-d, or nothing where the other is beyond any weight.
    const float fa = da > 60 ? 0.0f : __uint_as_float((u32)(127 - 2 * da) << 23), fb = db > 60 ? 0.0f : __uint_as_float((u32)(127 - 2 * db) << 23);
    return {e, a.s * fa + b.s * fb};
}

__device__ inline Squares squares(const float (&x)[8]) {
    u32 most = 0;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        const u32 bits = __float_as_uint(x[i]) & 0x7fffffffu;
        most = bits > most ? bits : most;
    }
    // The exponent of the largest, so that it is scaled to between 1 and 4; numbers below 2^-126 share the least.
    const u32 exponent = most >> 23, e = exponent < 1 ? 1 : exponent > 253 ? 253 : exponent;
    const float scale = __uint_as_float((254 - e) << 23);
    float s = 0.0f;
#pragma unroll
    for (int i = 0; i < 8; ++i) s += x[i] * scale * (x[i] * scale);
    return {(int)e, s};
}

// 1/|k|, or 0 of a key without direction: one that is shorter than the smallest normal number.
__device__ inline float inverse_of_length(Squares sum) {
    const float root = sqrtf(sum.s), length = ldexpf(root, sum.e - 127);
    return length >= 1.17549435e-38f ? ldexpf(1.0f / root, 127 - sum.e) : 0.0f;
}

// Piece `i` of a token's rows: eight numbers of its key and of its value. Returns the head.
template <class S>
__device__ inline u32 load_piece(const Kv& p, const Part& part, u32 layer, u32 head0, u32 token, u32 i, typename S::Eight& key, typename S::Eight& value) {
    const u32 head = head0 + i / (p.width / 8), column = i % (p.width / 8) * 8;
    S::load(fresh_row<S>(p, part, part.pass_k[layer], head, token) + column, key);
    S::load(fresh_row<S>(p, part, part.pass_v[layer], head, token) + column, value);
    return head;
}

// The sum of squares in plain f32, where it is exact enough: nothing overflowed, and what vanished has no weight. Else, and where a number is not finite, all
// is done once more with care.
constexpr float LEAST_PLAIN = 8.67361738e-19f, MOST_PLAIN = 1.26765060e30f;  // 2^-60, 2^100

template <class S>
__device__ void check(const Kv& p, const Part& part, u32 token, u32 job, unsigned char* memory) {
    const u32 layer = job / p.sets, head0 = job % p.sets * heads_per_set(p);
    const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    const u32 all = heads_per_set(p) * p.width / 8;
    float* const inverse = part.inverse_new + (u64)job * part.fresh + token;
    float plain = 0.0f;
    bool finite = true;
    for (u32 i = threadIdx.x; i < all; i += blockDim.x) {
        typename S::Eight key, value;
        float x[8];
        load_piece<S>(p, part, layer, head0, token, i, key, value);
        finite = finite && S::is_finite(value);
        S::floats(key, x);
#pragma unroll
        for (int e = 0; e < 8; ++e) plain += x[e] * x[e];
    }
    if (!finite) plain = minus_infinity();
    for (u32 step = 16; step > 0; step /= 2) plain += __shfl_xor_sync(ALL_LANES, plain, step);
    float* plains = (float*)memory;  // [warps]
    if (lane == 0) plains[warp] = plain;
    __syncthreads();
    plain = 0.0f;
    for (u32 w = 0; w < warps; ++w) plain += plains[w];
    if (plain >= LEAST_PLAIN && plain <= MOST_PLAIN) {
        if (threadIdx.x == 0) *inverse = 1.0f / sqrtf(plain);
        return;
    }
    __syncthreads();  // nobody reads the plain sums any more
    Squares* sums = (Squares*)memory;  // [warps]
    Squares sum = {1, 0.0f};
    for (u32 i = threadIdx.x; i < all; i += blockDim.x) {
        typename S::Eight key, value;
        float x[8];
        const u32 head = load_piece<S>(p, part, layer, head0, token, i, key, value);
        S::floats(value, x);
        for (int e = 0; e < 8; ++e) {
            if (!is_finite(x[e])) raise(p.state, code_of(part, NEW_VALUE), job, head, token, p.counts);
        }
        S::floats(key, x);
        for (int e = 0; e < 8; ++e) {
            if (!is_finite(x[e])) raise(p.state, code_of(part, NEW_KEY), job, head, token, p.counts);
        }
        sum = add(sum, squares(x));
    }
    for (u32 step = 16; step > 0; step /= 2) {
        sum = add(sum, {__shfl_xor_sync(ALL_LANES, sum.e, step), __shfl_xor_sync(ALL_LANES, sum.s, step)});
    }
    if (lane == 0) sums[warp] = sum;
    __syncthreads();
    if (threadIdx.x > 0) return;
    for (u32 w = 1; w < warps; ++w) sum = add(sum, sums[w]);
    *inverse = inverse_of_length(sum);
}
