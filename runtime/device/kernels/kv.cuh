// The KV memory as its kernels see it. One struct for all of them, passed by value: cuda/kv/params.rs has the same fields in the same order.
//
// A launch works for both pools at once: a `Part` is what one of them gets. A job is one layer and head set; job = layer * sets + set. The valid slots of a
// pool are its first `count`: pools fill from the front and are never emptied but as a whole. Keys and values are [H, slots, D] per layer, a pass is
// [H, pass_tokens, D].
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

// Rows of a pass that go into one pool, or into the tail. Places are counted in 16 bytes from the arena's base.
struct Part {
    u32 pass_k[MOST_LAYERS];
    u32 pass_v[MOST_LAYERS];
    u32 pass_q[MOST_LAYERS];
    float* inverse_new;    // [jobs, fresh]
    float* partial;        // [jobs, tiles, 2, scored tokens]: relevance and redundancy before they are summed over tiles
    u32* destinations;     // [jobs, fresh]
    u64 seed;              // RANDOM alone
    u32 pass_tokens;
    u32 first, fresh;      // rows of the pass: its first, and how many
    u32 base, size, count; // of the pool: first slot, slots, slots that hold a token
    u32 policy, in_order, predicted, is_action;
    u32 tiles;             // blocks of queries that are scored: none where nothing is
    u32 reserved;
};

struct Kv {
    u64 arena;
    u32 mem_k[MOST_LAYERS];
    u32 mem_v[MOST_LAYERS];
    Part parts[2];
    float* bias;           // [slots]
    Slot* table;           // [jobs, slots]
    float* inverse;        // [jobs, slots]: 1/|k| over the heads of the set, 0 of a key without direction
    const u64* turns;      // [2, D/2]: turns of a pair for one step along its axis, for video and for action tokens, in 2^-64
    const unsigned char* stays;  // [slots]: FORCED alone
    State* state;
    const u32* chunk;      // of the new tokens: the one number that differs between two commits of a full memory, so that a graph can repeat them
    u32 layers, heads, width, sets, slots;
    u32 ahead;             // of the chunk that `chunk` names: the predicted tokens' is the next
    u32 choosers;          // blocks of a launch of `decide` that choose; the others prove the new rows
    u32 stages;            // of score's ring
    u32 counts[3];         // of the whole memory before this commit
    // Scoring.
    float lambda;
    u32 softmax, reach, scored_new, max_age_chunks;
    u32 columns, action_tokens, time_pairs, height_pairs;
};

static_assert(sizeof(Part) == 848 && sizeof(Kv) == 2352, "cuda/kv/params.rs has other sizes");

__device__ inline u32 chunk_of(const Kv& p) { return *p.chunk + p.ahead; }
__device__ inline u32 heads_per_set(const Kv& p) { return p.heads / p.sets; }
__device__ inline u32 tokens(const Kv& p, const Part& part) { return part.count + (p.scored_new ? part.fresh : 0u); }
__device__ inline const Slot* slots_of(const Kv& p, const Part& part, u32 job) { return p.table + (u64)job * p.slots + part.base; }
__device__ inline u32 code_of(const Part& part, u32 code) { return part.is_action ? code | ACTION_POOL : code; }

template <class S>
__device__ inline typename S::T* at(const Kv& p, u32 place) {
    return (typename S::T*)(p.arena + (u64)place * 16);
}

// Where a row begins, as a place.
__device__ inline u32 place_of_row(const Kv& p, const void* row) { return (u32)(((u64)row - p.arena) / 16); }

// Row of the pass: token `i` of those that are committed. `pass` is a place.
template <class S>
__device__ inline const typename S::T* fresh_row(const Kv& p, const Part& part, u32 pass, u32 head, u32 i) {
    return at<S>(p, pass) + ((u64)head * part.pass_tokens + part.first + i) * p.width;
}

// Key of scored token `j`: a slot of the pool, then the new ones.
template <class S>
__device__ inline const typename S::T* key_row(const Kv& p, const Part& part, u32 layer, u32 head, u32 j) {
    if (j >= part.count) return fresh_row<S>(p, part, part.pass_k[layer], head, j - part.count);
    return at<S>(p, p.mem_k[layer]) + ((u64)head * p.slots + part.base + j) * p.width;
}

__device__ inline float inverse_of(const Kv& p, const Part& part, u32 job, u32 j) {
    return j < part.count ? p.inverse[(u64)job * p.slots + part.base + j] : part.inverse_new[(u64)job * part.fresh + (j - part.count)];
}
