// Parameters of the kernels of the KV memory: one struct for all of them, passed by value.
// cuda/kv/params.rs has the same fields in the same order.
//
// One launch serves both pools; `PoolParams` are the parameters of one. A job is one layer and head
// set: job = layer * sets + set. The first `count` slots of a pool are valid: a pool fills from the
// front, and only a clear empties it. Keys and values are [H, slots, D] per layer; a pass is
// [H, pass_tokens, D].
#pragma once
#include "kernel.cuh"

constexpr u32 MAX_LAYERS = 64;

// One row of the slot table: the token of a slot and its last score.
struct Slot {
    u32 chunk;
    u32 token;
    u32 flags;  // VALID, PREDICTED
    float score;
};
constexpr u32 VALID = 1, PREDICTED = 2;

constexpr float NOT_A_SCORE = 3.402823466e38f;  // larger than any score

enum Policy : u32 { FIFO = 0, SELECTIVE = 1, RANDOM = 2, FORCED = 3 };

// Rows of a pass that a commit writes into one pool, or into the tail. Offsets count 16 bytes from
// the arena's base.
struct PoolParams {
    u32 pass_k[MAX_LAYERS];
    u32 pass_v[MAX_LAYERS];
    u32 pass_q[MAX_LAYERS];
    float* inv_norm_new;   // [jobs, new_tokens]
    float* partial;        // [jobs, tiles, 2, scored tokens]: relevance and redundancy of each tile
    u32* destinations;     // [jobs, new_tokens]: slot within the pool
    u64 seed;              // for RANDOM
    u32 pass_tokens;
    u32 first, new_tokens; // rows of the pass: the first, and their number
    u32 slot_begin, slots; // of the pool: its first slot, and their number
    u32 count;             // slots of the pool that hold a token
    u32 policy, in_order, predicted, is_action;
    u32 tiles;             // blocks of queries to score; 0 where nothing is scored
    u32 reserved;
};

struct KvParams {
    u64 arena;
    u32 mem_k[MAX_LAYERS];
    u32 mem_v[MAX_LAYERS];
    PoolParams pools[2];
    float* bias;           // [slots]
    Slot* table;           // [jobs, slots]
    float* inv_norm;       // [jobs, slots]: 1/|k| over the heads of the set; 0 for a zero key
    // [2, D/2]: rotation of a pair for one step along its axis, for video and for action tokens, in
    // turns of 2^-64
    const u64* rope_step;
    const unsigned char* keep_mask;  // [slots]: for FORCED; not zero for a token to keep
    State* state;
    // The chunk that `chunk_offset` counts from. It is the only parameter that differs between two
    // commits of a full memory, so it lives in device memory, where a graph reads it.
    const u32* chunk;
    u32 layers, heads, width, sets, slots;
    u32 chunk_offset;      // chunk of the new tokens, minus `*chunk`
    u32 select_blocks;     // blocks of `decide` that select slots; the others check new rows
    u32 stages;            // of the ring of `score`
    u32 counts[3];         // of video pool, action pool and tail before this commit
    // Scoring.
    float lambda;
    u32 softmax, pool_radius, scored_new, max_age_chunks;
    u32 columns, action_tokens, time_pairs, height_pairs;
};

static_assert(sizeof(PoolParams) == 848 && sizeof(KvParams) == 2352, "cuda/kv/params.rs has other sizes");

__device__ inline u32 chunk_of(const KvParams& p) { return *p.chunk + p.chunk_offset; }
__device__ inline u32 heads_per_set(const KvParams& p) { return p.heads / p.sets; }
__device__ inline u32 tokens(const KvParams& p, const PoolParams& pool) { return pool.count + (p.scored_new ? pool.new_tokens : 0u); }
__device__ inline const Slot* slots_of(const KvParams& p, const PoolParams& pool, u32 job) { return p.table + (u64)job * p.slots + pool.slot_begin; }
__device__ inline u32 code_of(const PoolParams& pool, u32 code) { return pool.is_action ? code | ACTION_POOL : code; }

template <class S>
__device__ inline typename S::T* at(const KvParams& p, u32 offset) {
    return (typename S::T*)(p.arena + (u64)offset * 16);
}

// The offset of a row.
__device__ inline u32 offset_of_row(const KvParams& p, const void* row) { return (u32)(((u64)row - p.arena) / 16); }

// Row of new token `i` in a tensor of the pass, which begins at offset `pass`.
template <class S>
__device__ inline const typename S::T* new_row(const KvParams& p, const PoolParams& pool, u32 pass, u32 head, u32 i) {
    return at<S>(p, pass) + ((u64)head * pool.pass_tokens + pool.first + i) * p.width;
}

// Key of scored token `j`: the valid slots of the pool, then the new tokens.
template <class S>
__device__ inline const typename S::T* key_row(const KvParams& p, const PoolParams& pool, u32 layer, u32 head, u32 j) {
    if (j >= pool.count) return new_row<S>(p, pool, pool.pass_k[layer], head, j - pool.count);
    return at<S>(p, p.mem_k[layer]) + ((u64)head * p.slots + pool.slot_begin + j) * p.width;
}

__device__ inline float inv_norm_of(const KvParams& p, const PoolParams& pool, u32 job, u32 j) {
    return j < pool.count ? p.inv_norm[(u64)job * p.slots + pool.slot_begin + j] : pool.inv_norm_new[(u64)job * pool.new_tokens + (j - pool.count)];
}
