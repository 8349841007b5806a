// Writes the keys and values of a chunk into their slots, and updates table, norms and bias.
// Counterpart on the host: host/kv.rs.
//
// scatter: a block owns one new token of one job. It copies 16 bytes at a time and writes the
// token's row of the table. The slots of a job are distinct, so no two blocks write the same
// address; all jobs write the same value to `bias`.
// drop: a thread owns one slot in one job.
#include "kv.cuh"

template <class S>
__device__ void scatter(const KvParams& p) {
    if (p.state->raised) return;  // this launch raises no fault
    const bool later = blockIdx.x >= p.pools[0].new_tokens;
    const PoolParams& pool = p.pools[later];
    const u32 token = later ? blockIdx.x - p.pools[0].new_tokens : blockIdx.x;
    // The jobs that `decide` checked last come first: their rows are still in L2.
    const u32 job = gridDim.y - 1 - blockIdx.y, layer = job / p.sets, head0 = job % p.sets * heads_per_set(p);
    const u64 index = (u64)job * pool.new_tokens + token;
    const u32 slot = pool.slot_begin + (pool.in_order ? pool.count + token : pool.destinations[index]);
    constexpr u32 ELEMENTS = 16 / sizeof(typename S::T);
    const u32 vectors = p.width / ELEMENTS;
    for (u32 i = threadIdx.x; i < heads_per_set(p) * vectors; i += blockDim.x) {
        const u32 head = head0 + i / vectors, column = i % vectors * ELEMENTS;
        const u64 to = ((u64)head * p.slots + slot) * p.width + column;
        const uint4 key = load_16(new_row<S>(p, pool, pool.pass_k[layer], head, token) + column);
        const uint4 value = load_16(new_row<S>(p, pool, pool.pass_v[layer], head, token) + column);
        store_16(at<S>(p, p.mem_k[layer]) + to, key);
        store_16(at<S>(p, p.mem_v[layer]) + to, value);
    }
    if (token == 0 && !pool.in_order && pool.policy == SELECTIVE) {
        const float* scores = pool.partial + (u64)job * pool.tiles * 2 * tokens(p, pool);
        for (u32 j = threadIdx.x; j < pool.count; j += blockDim.x) {
            if (scores[j] != NOT_A_SCORE) p.table[(u64)job * p.slots + pool.slot_begin + j].score = scores[j];
        }
    }
    if (threadIdx.x > 0) return;
    const Slot row = {chunk_of(p), token, pool.predicted ? VALID | PREDICTED : VALID, 0.0f};
    p.table[(u64)job * p.slots + slot] = row;
    p.inv_norm[(u64)job * p.slots + slot] = pool.inv_norm_new[index];
    p.bias[slot] = 0.0f;
}

KERNEL void scatter_f32(const KvParams p) { scatter<F32>(p); }
KERNEL void scatter_f16(const KvParams p) { scatter<F16>(p); }
KERNEL void scatter_bf16(const KvParams p) { scatter<Bf16>(p); }

// Empties the slots of `pools[0]`.
KERNEL void drop(const KvParams p) {
    if (p.state->raised) return;  // this launch raises no fault
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= p.pools[0].slots) return;
    const Slot none = {0u, 0u, 0u, 0.0f};
    p.table[(u64)blockIdx.y * p.slots + p.pools[0].slot_begin + i] = none;
    if (blockIdx.y == 0) p.bias[p.pools[0].slot_begin + i] = MASKED;
}
