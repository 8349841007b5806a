// The KV memory as its kernels see it. One struct for all of them, passed by value: cuda/kv/params.rs has the same fields in the same order.
//
// A job is one layer and head set; job = layer * sets + set. The valid slots of a pool are its first `count`: pools fill from the front and are never
// emptied but as a whole. Keys and values are [H, slots, D] per layer, a pass is [H, pass_tokens, D].
#pragma once
#include "kernel.cuh"

constexpr u32 MOST_LAYERS = 64;

// Where a token is in the table, and what it was worth.
struct Slot {
    u32 chunk;
    u32 token;
    u32 flags;  // VALID, PREDICTED
    float score;
};
constexpr u32 VALID = 1, PREDICTED = 2;

constexpr float NOT_A_SCORE = 3.402823466e38f;  // no score is as large

enum Policy : u32 { FIFO = 0, SELECTIVE = 1, RANDOM = 2, FORCED = 3 };

struct Kv {
    u64 mem_k[MOST_LAYERS];
    u64 mem_v[MOST_LAYERS];
    u64 pass_k[MOST_LAYERS];
    u64 pass_v[MOST_LAYERS];
    u64 pass_q[MOST_LAYERS];
    float* bias;           // [slots]
    Slot* table;           // [jobs, slots]
    float* inverse;        // [jobs, slots]: 1/|k| over the heads of the set, 0 of a key without direction
    float* inverse_new;    // [jobs, pass_tokens]
    float* partial;        // [jobs, tiles, 2, scored tokens]: relevance and redundancy before they are summed over tiles
    u32* destinations;     // [jobs, pass_tokens]
    const u64* turns;      // [2, D/2]: turns of a pair for one step along its axis, for video and for action tokens, in 2^-64
    const unsigned char* stays;  // [slots]: FORCED alone
    State* state;
    const u32* chunk;      // of the new tokens: the one number that differs between two commits of a full memory, so that a graph can repeat them
    u64 seed;              // RANDOM alone
    u32 layers, heads, width, sets, slots, pass_tokens;
    u32 first, fresh;      // rows of the pass: its first, and how many
    u32 base, size, count; // of the pool: first slot, slots, slots that hold a token
    u32 ahead;             // of the chunk that `chunk` names: the predicted tokens' is the next
    u32 policy, in_order, predicted;
    u32 counts[3];         // of the whole memory before this commit
    // Scoring.
    float lambda;
    u32 softmax, reach, scored_new, max_age_chunks, tiles;
    u32 is_action, columns, action_tokens, time_pairs, height_pairs, reserved;
};

static_assert(sizeof(Kv) == 2768, "cuda/kv/params.rs has another size");

__device__ inline u32 chunk_of(const Kv& p) { return *p.chunk + p.ahead; }
__device__ inline u32 heads_per_set(const Kv& p) { return p.heads / p.sets; }
__device__ inline u32 tokens(const Kv& p) { return p.count + (p.scored_new ? p.fresh : 0u); }
__device__ inline const Slot* slots_of(const Kv& p, u32 job) { return p.table + (u64)job * p.slots + p.base; }

// Row of the pass: token `i` of those that are committed.
template <class S>
__device__ inline const typename S::T* fresh_row(u64 pass, const Kv& p, u32 head, u32 i) {
    return (const typename S::T*)pass + ((u64)head * p.pass_tokens + p.first + i) * p.width;
}

// Key of scored token `j`: a slot of the pool, then the new ones.
template <class S>
__device__ inline const typename S::T* key_row(const Kv& p, u32 layer, u32 head, u32 j) {
    if (j >= p.count) return fresh_row<S>(p.pass_k[layer], p, head, j - p.count);
    return (const typename S::T*)p.mem_k[layer] + ((u64)head * p.slots + p.base + j) * p.width;
}

__device__ inline float inverse_of(const Kv& p, u32 job, u32 j) {
    return j < p.count ? p.inverse[(u64)job * p.slots + p.base + j] : p.inverse_new[(u64)job * p.pass_tokens + (j - p.count)];
}
