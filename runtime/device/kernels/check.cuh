// Checks that the rows of a new token are finite, and computes the norm of its key, before anything
// is written. A block owns one token of one job. Counterpart on the host: host/kv.rs.
#pragma once
#include "kv.cuh"

// A sum of squares as s * 4^(e - 127). It represents the norm of every key, also where the squares
// overflow or underflow in f32.
struct ScaledSum {
    int e;
    float s;
};

__device__ inline ScaledSum add(ScaledSum a, ScaledSum b) {
    const int e = a.e > b.e ? a.e : b.e;
    const int da = e - a.e, db = e - b.e;
    // 4^-d, or 0 where the term is negligible.
    const float fa = da > 60 ? 0.0f : __uint_as_float((u32)(127 - 2 * da) << 23), fb = db > 60 ? 0.0f : __uint_as_float((u32)(127 - 2 * db) << 23);
    return {e, a.s * fa + b.s * fb};
}

__device__ inline ScaledSum squares(const float (&x)[8]) {
    u32 largest = 0;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        const u32 bits = __float_as_uint(x[i]) & 0x7fffffffu;
        largest = bits > largest ? bits : largest;
    }
    // The exponent of the largest element scales it to between 1 and 2; elements below 2^-126 share
    // the lowest exponent.
    const u32 exponent = largest >> 23, e = exponent < 1 ? 1 : exponent > 253 ? 253 : exponent;
    const float scale = __uint_as_float((254 - e) << 23);
    float s = 0.0f;
#pragma unroll
    for (int i = 0; i < 8; ++i) s += x[i] * scale * (x[i] * scale);
    return {(int)e, s};
}

// 1/|k|; 0 for a zero key: one whose norm is below the smallest normal number.
__device__ inline float inv_norm_from(ScaledSum sum) {
    const float root = sqrtf(sum.s), norm = ldexpf(root, sum.e - 127);
    return norm >= 1.17549435e-38f ? ldexpf(1.0f / root, 127 - sum.e) : 0.0f;
}

// Loads piece `i` of a token's rows: eight elements of its key and of its value. Returns the head.
template <class S>
__device__ inline u32 load_piece(const KvParams& p, const PoolParams& pool, u32 layer, u32 head0, u32 token, u32 i, typename S::Eight& key, typename S::Eight& value) {
    const u32 head = head0 + i / (p.width / 8), column = i % (p.width / 8) * 8;
    S::load(new_row<S>(p, pool, pool.pass_k[layer], head, token) + column, key);
    S::load(new_row<S>(p, pool, pool.pass_v[layer], head, token) + column, value);
    return head;
}

// Bounds of a plain f32 sum of squares that is exact enough: nothing overflowed, and what
// underflowed is negligible. Outside them, and where an element is not finite, the block computes a
// ScaledSum.
constexpr float MIN_PLAIN = 8.67361738e-19f, MAX_PLAIN = 1.26765060e30f;  // 2^-60, 2^100

template <class S>
__device__ void check(const KvParams& p, const PoolParams& pool, u32 token, u32 job, unsigned char* memory) {
    const u32 layer = job / p.sets, head0 = job % p.sets * heads_per_set(p);
    const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    const u32 all = heads_per_set(p) * p.width / 8;
    float* const inv_norm = pool.inv_norm_new + (u64)job * pool.new_tokens + token;
    float plain = 0.0f;
    bool finite = true;
    for (u32 i = threadIdx.x; i < all; i += blockDim.x) {
        typename S::Eight key, value;
        float x[8];
        load_piece<S>(p, pool, layer, head0, token, i, key, value);
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
    if (plain >= MIN_PLAIN && plain <= MAX_PLAIN) {
        if (threadIdx.x == 0) *inv_norm = 1.0f / sqrtf(plain);
        return;
    }
    __syncthreads();  // all threads have read the plain sums
    ScaledSum* sums = (ScaledSum*)memory;  // [warps]
    ScaledSum sum = {1, 0.0f};
    for (u32 i = threadIdx.x; i < all; i += blockDim.x) {
        typename S::Eight key, value;
        float x[8];
        const u32 head = load_piece<S>(p, pool, layer, head0, token, i, key, value);
        S::floats(value, x);
        for (int e = 0; e < 8; ++e) {
            if (!is_finite(x[e])) raise(p.state, code_of(pool, NEW_VALUE), job, head, token, p.counts);
        }
        S::floats(key, x);
        for (int e = 0; e < 8; ++e) {
            if (!is_finite(x[e])) raise(p.state, code_of(pool, NEW_KEY), job, head, token, p.counts);
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
    *inv_norm = inv_norm_from(sum);
}
