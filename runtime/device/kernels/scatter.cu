// Writes a chunk's keys and values into their slots, with all that is known of them (host twin: host/kv.rs).
//
// scatter: a block owns one new token of one job, copies 16 bytes at a time, and writes its row of the table. Slots of one job are different, so no two
// blocks write the same place; `bias` gets the same value from all.
// drop: a thread owns one slot of the tail in one job.
#include "kv.cuh"

template <class S>
__device__ void scatter(const Kv& p) {
    if (p.state->raised) return;  // nobody raises in this launch
    const bool later = blockIdx.x >= p.parts[0].fresh;
    const Part& part = p.parts[later];
    const u32 token = later ? blockIdx.x - p.parts[0].fresh : blockIdx.x;
    // The jobs that `decide` looked at last come first: their rows are still in L2.
    const u32 job = gridDim.y - 1 - blockIdx.y, layer = job / p.sets, head0 = job % p.sets * heads_per_set(p);
    const u64 fresh = (u64)job * part.fresh + token;
    const u32 slot = part.base + (part.in_order ? part.count + token : part.destinations[fresh]);
    constexpr u32 ELEMENTS = 16 / sizeof(typename S::T);
    const u32 vectors = p.width / ELEMENTS;
    for (u32 i = threadIdx.x; i < heads_per_set(p) * vectors; i += blockDim.x) {
        const u32 head = head0 + i / vectors, column = i % vectors * ELEMENTS;
        const u64 to = ((u64)head * p.slots + slot) * p.width + column;
        const uint4 key = load_16(fresh_row<S>(p, part, part.pass_k[layer], head, token) + column);
        const uint4 value = load_16(fresh_row<S>(p, part, part.pass_v[layer], head, token) + column);
        store_16(at<S>(p, p.mem_k[layer]) + to, key);
        store_16(at<S>(p, p.mem_v[layer]) + to, value);
    }
    if (token == 0 && !part.in_order && part.policy == SELECTIVE) {
        const float* scores = part.partial + (u64)job * part.tiles * 2 * tokens(p, part);
        for (u32 j = threadIdx.x; j < part.count; j += blockDim.x) {
            if (scores[j] != NOT_A_SCORE) p.table[(u64)job * p.slots + part.base + j].score = scores[j];
        }
    }
    if (threadIdx.x > 0) return;
    const Slot row = {chunk_of(p), token, part.predicted ? VALID | PREDICTED : VALID, 0.0f};
    p.table[(u64)job * p.slots + slot] = row;
    p.inverse[(u64)job * p.slots + slot] = part.inverse_new[fresh];
    p.bias[slot] = 0.0f;
}

KERNEL void scatter_f32(const Kv p) { scatter<F32>(p); }
KERNEL void scatter_f16(const Kv p) { scatter<F16>(p); }
KERNEL void scatter_bf16(const Kv p) { scatter<Bf16>(p); }

// Empties the slots that the first part names.
KERNEL void drop(const Kv p) {
    if (p.state->raised) return;  // nobody raises in this launch
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= p.parts[0].size) return;
    const Slot none = {0u, 0u, 0u, 0.0f};
    p.table[(u64)blockIdx.y * p.slots + p.parts[0].base + i] = none;
    if (blockIdx.y == 0) p.bias[p.parts[0].base + i] = MASKED;
}
