// Selects the slots that the new tokens overwrite. Reference: core/selection/policy.rs, which
// defines the order of ties.
//
// A block owns one job of one pool. Every token has a rank of several 32-bit words, and the `slots
// - new_tokens` tokens of lowest rank are kept. A radix select finds them bit by bit: of the
// undecided tokens, how many have a zero in this bit? The last word of a rank is the slot, so no
// two ranks are equal, and ties are ordered as in the reference, whichever thread owns the token.
// The indices stay on the device.
#pragma once
#include "kv.cuh"

// Maximal slots of a thread. cuda/kv/limits.rs relies on it.
constexpr int SLOTS_PER_THREAD = 4;

// The finaliser of SplitMix64, as in core.
__device__ inline u64 mix(u64 x) {
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

// A rank that is lower for a larger score; both zeros are equal.
__device__ inline u32 best_first(float score) {
    const u32 bits = __float_as_uint(score + 0.0f);
    return bits & 0x80000000u ? bits : 0x7fffffffu - bits;
}

// The maximum or the sum of `values[0..len]`. The first warp computes it, and all threads get it.
// `word` is in shared memory.
template <bool MAX>
__device__ inline float block_reduce(const float* values, u32 len, float* word) {
    __syncthreads();
    if (threadIdx.x < 32) {
        float x = MAX ? minus_infinity() : 0.0f;
        for (u32 i = threadIdx.x; i < len; i += 32) x = MAX ? fmaxf(x, values[i]) : x + values[i];
        for (u32 step = 16; step > 0; step /= 2) {
            const float other = __shfl_xor_sync(ALL_LANES, x, step);
            x = MAX ? fmaxf(x, other) : x + other;
        }
        if (threadIdx.x == 0) *word = x;
    }
    __syncthreads();
    return *word;
}

__device__ inline void softmax(float* values, u32 len, float* word) {
    const float peak = block_reduce<true>(values, len, word);
    for (u32 i = threadIdx.x; i < len; i += blockDim.x) values[i] = expf(values[i] - peak);
    const float total = block_reduce<false>(values, len, word);
    for (u32 i = threadIdx.x; i < len; i += blockDim.x) values[i] /= total;
    __syncthreads();
}

// Computes the scores of the old tokens in `rho`, from the partial sums of score.cu. `positions`
// holds chunk and token of each slot.
__device__ void combine(const KvParams& p, const PoolParams& pool, u32 job, u32 all, float* rho, float* eta, float* spare, const u64* positions, float* word) {
    for (u32 j = threadIdx.x; j < all; j += blockDim.x) {
        float relevance = 0.0f, along = 0.0f;
        for (u32 tile = 0; tile < pool.tiles; ++tile) {
            const float* partial = pool.partial + (u64)(job * pool.tiles + tile) * 2 * all;
            relevance += partial[j];
            along += partial[all + j];
        }
        const float inv_norm = inv_norm_of(p, pool, job, j);
        rho[j] = spare[j] = relevance;
        eta[j] = inv_norm > 0.0f && all > 1 ? (along * inv_norm - 1.0f) / (float)(all - 1) : 0.0f;
    }
    __syncthreads();
    if (p.pool_radius > 0) {
        for (u32 j = threadIdx.x; j < all; j += blockDim.x) {
            // The neighbours of a new token are new tokens.
            const bool old = j < pool.count;
            const u64 mine = old ? positions[j] : (u64)(j - pool.count);
            float largest = spare[j];
            for (u32 i = old ? 0 : pool.count; i < (old ? pool.count : all); ++i) {
                const u64 other = old ? positions[i] : (u64)(i - pool.count);
                const u64 apart = mine > other ? mine - other : other - mine;
                if ((!old || mine >> 32 == other >> 32) && apart <= p.pool_radius) largest = fmaxf(largest, spare[i]);
            }
            rho[j] = largest;
        }
        __syncthreads();
    }
    if (p.softmax) {
        softmax(rho, all, word);
        softmax(eta, all, word);
    }
    for (u32 j = threadIdx.x; j < pool.count; j += blockDim.x) {
        const u32 chunk = (u32)(positions[j] >> 32);
        const bool too_old = p.max_age_chunks != 0 && chunk_of(p) > chunk && chunk_of(p) - chunk > p.max_age_chunks;
        rho[j] = too_old ? TOO_OLD : p.lambda * rho[j] - (1.0f - p.lambda) * eta[j];
        if (!is_finite(rho[j])) raise(p.state, code_of(pool, SCORE), job, j, 0, p.counts);
    }
}

// Word `k` of a token's rank: words of the policy, then chunk, token and slot.
__device__ inline u32 rank_word(const PoolParams& pool, u32 k, u32 slot, u64 position, u64 seed, const float* rho, const unsigned char* keep_mask) {
    if (pool.policy == FIFO) {  // keeps the newest tokens, and the later of two slots
        const u64 newest_first = ~position;
        return k == 0 ? (u32)(newest_first >> 32) : k == 1 ? (u32)newest_first : ~slot;
    }
    if (k == 0) {
        return pool.policy == SELECTIVE ? best_first(rho[slot]) : pool.policy == FORCED ? (keep_mask[slot] ? 0u : 1u) : (u32)(mix(seed ^ mix(position)) >> 32);
    }
    if (k == 1) return pool.policy == RANDOM ? (u32)mix(seed ^ mix(position)) : pool.policy == FORCED ? slot : 0u;
    return k == 2 ? (u32)(position >> 32) : k == 3 ? (u32)position : slot;
}

// Selects the slots of one job. `memory` is shared memory: positions [count]; rho, eta, spare
// [all]; a count per warp; one word.
__device__ inline void select_slots(const KvParams& p, const PoolParams& pool, u32 job, unsigned char* memory) {
    const u32 all = tokens(p, pool), warp = threadIdx.x / 32, warps = blockDim.x / 32;
    u64* positions = (u64*)memory;  // chunk and token
    float* rho = (float*)(positions + pool.count);
    float* eta = rho + all;
    float* spare = eta + all;
    u32* warp_counts = (u32*)(spare + all);
    float* word = (float*)(warp_counts + warps);
    const Slot* slots = slots_of(p, pool, job);
    for (u32 j = threadIdx.x; j < pool.count; j += blockDim.x) positions[j] = (u64)slots[j].chunk << 32 | slots[j].token;
    __syncthreads();
    if (pool.policy == SELECTIVE) combine(p, pool, job, all, rho, eta, spare, positions, word);
    const u64 seed = mix(pool.seed ^ mix((u64)(job / p.sets) << 32 | job % p.sets));

    // A bit for each of the thread's slots: undecided, and decided to keep.
    u32 undecided = 0, keep = 0, left = pool.count, wanted = pool.slots - pool.new_tokens;
#pragma unroll
    for (int e = 0; e < SLOTS_PER_THREAD; ++e) undecided |= threadIdx.x + e * blockDim.x < pool.count ? 1u << e : 0u;
    for (u32 k = 0; wanted > 0 && wanted < left; ++k) {
        u32 words[SLOTS_PER_THREAD] = {};
#pragma unroll
        for (int e = 0; e < SLOTS_PER_THREAD; ++e) {
            const u32 slot = threadIdx.x + e * blockDim.x;
            if (undecided >> e & 1u) words[e] = rank_word(pool, k, slot, positions[slot], seed, rho, p.keep_mask + pool.slot_begin);
        }
        for (u32 bit = 0x80000000u; bit != 0 && wanted > 0 && wanted < left; bit >>= 1) {
            u32 zero = 0, zeros = 0;
#pragma unroll
            for (int e = 0; e < SLOTS_PER_THREAD; ++e) {
                if (e * blockDim.x >= pool.count) break;
                const bool is_zero = (undecided >> e & 1u) && !(words[e] & bit);
                zero |= is_zero ? 1u << e : 0u;
                zeros += __syncthreads_count(is_zero);
            }
            if (zeros >= wanted) {
                undecided &= zero;
                left = zeros;
            } else {
                keep |= zero;
                undecided &= ~zero;
                wanted -= zeros;
                left -= zeros;
            }
        }
    }
    if (wanted > 0) keep |= undecided;  // exactly as many as wanted

    // scatter.cu stores the scores of kept tokens, unless a job reported a fault.
    float* scores = pool.partial + (u64)job * pool.tiles * 2 * all;
    u32 evicted = 0;
#pragma unroll
    for (int e = 0; e < SLOTS_PER_THREAD; ++e) {
        if (e * blockDim.x >= pool.slots) break;
        const u32 slot = threadIdx.x + e * blockDim.x;
        const bool evict = slot < pool.slots && !(keep >> e & 1u);
        if (pool.policy == SELECTIVE && slot < pool.count) scores[slot] = evict ? NOT_A_SCORE : rho[slot];
        const u32 lanes = __ballot_sync(ALL_LANES, evict);
        if (threadIdx.x % 32 == 0) warp_counts[warp] = __popc(lanes);
        __syncthreads();
        u32 before = evicted;
        for (u32 w = 0; w < warps; ++w) {
            before += w < warp ? warp_counts[w] : 0u;
            evicted += warp_counts[w];
        }
        before += __popc(lanes & ((1u << threadIdx.x % 32) - 1u));
        if (evict) pool.destinations[(u64)job * pool.new_tokens + before] = slot;
        __syncthreads();  // all threads have read the counts
    }
}
