// Writes a chunk's keys and values into their slots, with all that is known of them (host twin: host/kv.rs).
//
// check: a block owns one new token of one job; it proves that the rows are finite and takes the key's length, before anything is written.
// scatter: a block owns one new token of one job, copies 16 bytes at a time, and writes its row of the table. Slots of one job are different, so no two
// blocks write the same place; `bias` gets the same value from all.
// drop: a thread owns one slot of the tail in one job.
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

template <class S>
__device__ void check(const Kv& p) {
    const u32 token = blockIdx.x, job = blockIdx.y, layer = job / p.sets, head0 = (job % p.sets) * heads_per_set(p);
    const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    SHARED_MEMORY(memory);
    Squares* sums = (Squares*)memory;  // [warps]
    Squares sum = {1, 0.0f};
    const u32 eights = p.width / 8;
    for (u32 i = threadIdx.x; i < heads_per_set(p) * eights; i += blockDim.x) {
        const u32 head = head0 + i / eights, column = i % eights * 8;
        typename S::Eight raw;
        float x[8];
        S::load(fresh_row<S>(p.pass_k[layer], p, head, token) + column, raw);
        S::floats(raw, x);
        for (int e = 0; e < 8; ++e) {
            if (!is_finite(x[e])) raise(p.state, NEW_KEY, job, head, token, p.counts);
        }
        sum = add(sum, squares(x));
        S::load(fresh_row<S>(p.pass_v[layer], p, head, token) + column, raw);
        S::floats(raw, x);
        for (int e = 0; e < 8; ++e) {
            if (!is_finite(x[e])) raise(p.state, NEW_VALUE, job, head, token, p.counts);
        }
    }
    for (u32 step = 16; step > 0; step /= 2) {
        sum = add(sum, {__shfl_xor_sync(ALL_LANES, sum.e, step), __shfl_xor_sync(ALL_LANES, sum.s, step)});
    }
    if (lane == 0) sums[warp] = sum;
    __syncthreads();
    if (threadIdx.x > 0) return;
    for (u32 w = 1; w < warps; ++w) sum = add(sum, sums[w]);
    p.inverse_new[(u64)job * p.pass_tokens + token] = inverse_of_length(sum);
}

template <class S>
__device__ void scatter(const Kv& p) {
    if (p.state->raised) return;  // nobody raises in this launch
    const u32 token = blockIdx.x, job = blockIdx.y, layer = job / p.sets, head0 = (job % p.sets) * heads_per_set(p);
    const u64 fresh = (u64)job * p.pass_tokens + token;
    const u32 slot = p.base + (p.in_order ? p.count + token : p.destinations[fresh]);
    constexpr u32 EACH = 16 / sizeof(typename S::T);
    const u32 vectors = p.width / EACH;
    for (u32 i = threadIdx.x; i < heads_per_set(p) * vectors; i += blockDim.x) {
        const u32 head = head0 + i / vectors, column = i % vectors * EACH;
        const u64 to = ((u64)head * p.slots + slot) * p.width + column;
        store_16((typename S::T*)p.mem_k[layer] + to, load_16(fresh_row<S>(p.pass_k[layer], p, head, token) + column));
        store_16((typename S::T*)p.mem_v[layer] + to, load_16(fresh_row<S>(p.pass_v[layer], p, head, token) + column));
    }
    if (token == 0 && !p.in_order && p.policy == SELECTIVE) {
        const float* scores = p.partial + (u64)job * p.tiles * 2 * tokens(p);
        for (u32 j = threadIdx.x; j < p.count; j += blockDim.x) {
            if (scores[j] != NOT_A_SCORE) p.table[(u64)job * p.slots + p.base + j].score = scores[j];
        }
    }
    if (threadIdx.x > 0) return;
    const Slot row = {chunk_of(p), token, p.predicted ? VALID | PREDICTED : VALID, 0.0f};
    p.table[(u64)job * p.slots + slot] = row;
    p.inverse[(u64)job * p.slots + slot] = p.inverse_new[fresh];
    p.bias[slot] = 0.0f;
}

KERNEL void check_f32(const Kv p) { check<F32>(p); }
KERNEL void check_f16(const Kv p) { check<F16>(p); }
KERNEL void check_bf16(const Kv p) { check<Bf16>(p); }
KERNEL void scatter_f32(const Kv p) { scatter<F32>(p); }
KERNEL void scatter_f16(const Kv p) { scatter<F16>(p); }
KERNEL void scatter_bf16(const Kv p) { scatter<Bf16>(p); }

// Empties the pool that `p` names.
KERNEL void drop(const Kv p) {
    if (p.state->raised) return;  // nobody raises in this launch
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= p.size) return;
    const Slot none = {0u, 0u, 0u, 0.0f};
    p.table[(u64)blockIdx.y * p.slots + p.base + i] = none;
    if (blockIdx.y == 0) p.bias[p.base + i] = MASKED;
}
