// Which slots the new tokens are written over (host twin: core/selection/policy.rs, which says the rule of ties).
//
// A block owns one job of one pool. Every token has a rank of several words; the least `size - fresh` stay, found bit by bit: of those that still
// agree, how many have a zero there? Slots are different, so the last word tells all apart, and the order of equal tokens is the oracle's, whatever
// thread looks at them. Indices stay on the device.
#pragma once
#include "kv.cuh"

// Slots of a thread at most. cuda/kv/limits.rs counts on it.
constexpr int EACH = 4;

// SplitMix64's finaliser, as in core.
__device__ inline u64 mix(u64 x) {
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

// Smaller for a larger score; both zeros are equal.
__device__ inline u32 best_first(float score) {
    const u32 bits = __float_as_uint(score + 0.0f);
    return bits & 0x80000000u ? bits : 0x7fffffffu - bits;
}

// Of `values[0..len]`, by the first warp; every thread gets it. `word` is shared.
template <bool MAX>
__device__ inline float over_all(const float* values, u32 len, float* word) {
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
    const float peak = over_all<true>(values, len, word);
    for (u32 i = threadIdx.x; i < len; i += blockDim.x) values[i] = expf(values[i] - peak);
    const float total = over_all<false>(values, len, word);
    for (u32 i = threadIdx.x; i < len; i += blockDim.x) values[i] /= total;
    __syncthreads();
}

// Scores of the old tokens into `rho`, from what score.cu left.
__device__ void combine(const Kv& p, const Part& part, u32 job, u32 all, float* rho, float* eta, float* spare, const u64* second, float* word) {
    for (u32 j = threadIdx.x; j < all; j += blockDim.x) {
        float relevance = 0.0f, along = 0.0f;
        for (u32 tile = 0; tile < part.tiles; ++tile) {
            const float* partial = part.partial + (u64)(job * part.tiles + tile) * 2 * all;
            relevance += partial[j];
            along += partial[all + j];
        }
        const float inverse = inverse_of(p, part, job, j);
        rho[j] = spare[j] = relevance;
        eta[j] = inverse > 0.0f && all > 1 ? (along * inverse - 1.0f) / (float)(all - 1) : 0.0f;
    }
    __syncthreads();
    if (p.reach > 0) {
        for (u32 j = threadIdx.x; j < all; j += blockDim.x) {
            // A new token's neighbours are new tokens.
            const bool old = j < part.count;
            const u64 mine = old ? second[j] : (u64)(j - part.count);
            float most = spare[j];
            for (u32 i = old ? 0 : part.count; i < (old ? part.count : all); ++i) {
                const u64 other = old ? second[i] : (u64)(i - part.count);
                const u64 apart = mine > other ? mine - other : other - mine;
                if ((!old || mine >> 32 == other >> 32) && apart <= p.reach) most = fmaxf(most, spare[i]);
            }
            rho[j] = most;
        }
        __syncthreads();
    }
    if (p.softmax) {
        softmax(rho, all, word);
        softmax(eta, all, word);
    }
    for (u32 j = threadIdx.x; j < part.count; j += blockDim.x) {
        const u32 chunk = (u32)(second[j] >> 32);
        const bool too_old = p.max_age_chunks != 0 && chunk_of(p) > chunk && chunk_of(p) - chunk > p.max_age_chunks;
        rho[j] = too_old ? TOO_OLD : p.lambda * rho[j] - (1.0f - p.lambda) * eta[j];
        if (!is_finite(rho[j])) raise(p.state, code_of(part, SCORE), job, j, 0, p.counts);
    }
}

// Word `k` of a token's rank: the policy's, then chunk, token and slot.
__device__ inline u32 word_of(const Part& part, u32 k, u32 slot, u64 token, u64 seed, const float* rho, const unsigned char* stays) {
    if (part.policy == FIFO) {  // the newest stay, and the later of two slots
        const u64 newest_first = ~token;
        return k == 0 ? (u32)(newest_first >> 32) : k == 1 ? (u32)newest_first : ~slot;
    }
    if (k == 0) {
        return part.policy == SELECTIVE ? best_first(rho[slot]) : part.policy == FORCED ? (stays[slot] ? 0u : 1u) : (u32)(mix(seed ^ mix(token)) >> 32);
    }
    if (k == 1) return part.policy == RANDOM ? (u32)mix(seed ^ mix(token)) : part.policy == FORCED ? slot : 0u;
    return k == 2 ? (u32)(token >> 32) : k == 3 ? (u32)token : slot;
}

// What `choose` takes of shared memory, in this order: second [count], rho, eta, spare [all], a count per warp, a number.
__device__ inline void choose(const Kv& p, const Part& part, u32 job, unsigned char* memory) {
    const u32 all = tokens(p, part), warp = threadIdx.x / 32, warps = blockDim.x / 32;
    u64* second = (u64*)memory;                  // chunk and token
    float* rho = (float*)(second + part.count);
    float* eta = rho + all;
    float* spare = eta + all;
    u32* of_warp = (u32*)(spare + all);
    float* number = (float*)(of_warp + warps);
    const Slot* slots = slots_of(p, part, job);
    for (u32 j = threadIdx.x; j < part.count; j += blockDim.x) second[j] = (u64)slots[j].chunk << 32 | slots[j].token;
    __syncthreads();
    if (part.policy == SELECTIVE) combine(p, part, job, all, rho, eta, spare, second, number);
    const u64 seed = mix(part.seed ^ mix((u64)(job / p.sets) << 32 | job % p.sets));

    // A bit for each of the thread's slots: not decided yet, and decided to stay.
    u32 open = 0, stays = 0, left = part.count, wanted = part.size - part.fresh;
#pragma unroll
    for (int e = 0; e < EACH; ++e) open |= threadIdx.x + e * blockDim.x < part.count ? 1u << e : 0u;
    for (u32 k = 0; wanted > 0 && wanted < left; ++k) {
        u32 words[EACH] = {};
#pragma unroll
        for (int e = 0; e < EACH; ++e) {
            const u32 slot = threadIdx.x + e * blockDim.x;
            if (open >> e & 1u) words[e] = word_of(part, k, slot, second[slot], seed, rho, p.stays + part.base);
        }
        for (u32 bit = 0x80000000u; bit != 0 && wanted > 0 && wanted < left; bit >>= 1) {
            u32 zero = 0, zeros = 0;
#pragma unroll
            for (int e = 0; e < EACH; ++e) {
                if (e * blockDim.x >= part.count) break;
                const bool is_zero = (open >> e & 1u) && !(words[e] & bit);
                zero |= is_zero ? 1u << e : 0u;
                zeros += __syncthreads_count(is_zero);
            }
            if (zeros >= wanted) {
                open &= zero;
                left = zeros;
            } else {
                stays |= zero;
                open &= ~zero;
                wanted -= zeros;
                left -= zeros;
            }
        }
    }
    if (wanted > 0) stays |= open;  // as many as are wanted

    // What stays gets its score in scatter.cu, if no job has found a fault.
    float* scores = part.partial + (u64)job * part.tiles * 2 * all;
    u32 places = 0;
#pragma unroll
    for (int e = 0; e < EACH; ++e) {
        if (e * blockDim.x >= part.size) break;
        const u32 slot = threadIdx.x + e * blockDim.x;
        const bool goes = slot < part.size && !(stays >> e & 1u);
        if (part.policy == SELECTIVE && slot < part.count) scores[slot] = goes ? NOT_A_SCORE : rho[slot];
        const u32 lanes = __ballot_sync(ALL_LANES, goes);
        if (threadIdx.x % 32 == 0) of_warp[warp] = __popc(lanes);
        __syncthreads();
        u32 before = places;
        for (u32 w = 0; w < warps; ++w) {
            before += w < warp ? of_warp[w] : 0u;
            places += of_warp[w];
        }
        before += __popc(lanes & ((1u << threadIdx.x % 32) - 1u));
        if (goes) part.destinations[(u64)job * part.fresh + before] = slot;
        __syncthreads();  // the counts are read
    }
}
