// Writes a chunk's keys and values into their slots, with all that is known of them (host twin: host/kv.rs).
//
// check: a block owns one new token of one job; it proves that the rows are finite and takes the key's length, before anything is written.
// scatter: a block owns one new token of one job, copies 16 bytes at a time, and writes its row of the table. Slots of one job are different, so no two
// blocks write the same place; `bias` gets the same value from all.
// drop: a thread owns one slot of the tail in one job.
#include "kv.cuh"

template <class S>
__device__ void check(const Kv& p) {
    const u32 token = blockIdx.x, job = blockIdx.y, layer = job / p.sets, head0 = (job % p.sets) * heads_per_set(p);
    const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    SHARED_MEMORY(memory);
    float* squares = (float*)memory;  // [warps]
    float square = 0.0f;
    const u32 eights = p.width / 8;
    for (u32 i = threadIdx.x; i < heads_per_set(p) * eights; i += blockDim.x) {
        const u32 head = head0 + i / eights, column = i % eights * 8;
        typename S::Eight raw;
        float x[8];
        S::load(fresh_row<S>(p.pass_k[layer], p, head, token) + column, raw);
        S::floats(raw, x);
        float part = 0.0f;
        for (int e = 0; e < 8; ++e) part += x[e] * x[e];
        if (!is_finite(part)) raise(p.state, NEW_KEY, job, head, token, p.counts);
        square += part;
        S::load(fresh_row<S>(p.pass_v[layer], p, head, token) + column, raw);
        S::floats(raw, x);
        for (int e = 0; e < 8; ++e) {
            if (!is_finite(x[e])) raise(p.state, NEW_VALUE, job, head, token, p.counts);
        }
    }
    for (u32 step = 16; step > 0; step /= 2) square += __shfl_xor_sync(ALL_LANES, square, step);
    if (lane == 0) squares[warp] = square;
    __syncthreads();
    if (threadIdx.x > 0) return;
    float all = 0.0f;
    for (u32 w = 0; w < warps; ++w) all += squares[w];
    if (!is_finite(all)) raise(p.state, NEW_KEY, job, head0, token, p.counts);
    p.inverse_new[(u64)job * p.pass_tokens + token] = all > 0.0f ? 1.0f / sqrtf(all) : 0.0f;
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
    const Slot row = {*p.chunk, token, p.predicted ? VALID | PREDICTED : VALID, 0.0f};
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
