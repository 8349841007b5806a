// Which slots the new tokens are written over (host twin: core/selection/policy.rs, which says the rule of ties).
//
// A block owns one job. A token's rank is the number of tokens that go before it; the last `size - fresh` places stay. Ranks are counted, not sorted:
// the order of equal tokens is that of the oracle, whatever thread looks at them. Indices stay on the device.
#include "kv.cuh"

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
__device__ void combine(const Kv& p, u32 job, u32 all, float* rho, float* eta, float* spare, const u64* second, float* word) {
    for (u32 j = threadIdx.x; j < all; j += blockDim.x) {
        float relevance = 0.0f, along = 0.0f;
        for (u32 tile = 0; tile < p.tiles; ++tile) {
            const float* partial = p.partial + (u64)(job * p.tiles + tile) * 2 * all;
            relevance += partial[j];
            along += partial[all + j];
        }
        const float inverse = inverse_of(p, job, j);
        rho[j] = spare[j] = relevance;
        eta[j] = inverse > 0.0f && all > 1 ? (along * inverse - 1.0f) / (float)(all - 1) : 0.0f;
    }
    __syncthreads();
    if (p.reach > 0) {
        for (u32 j = threadIdx.x; j < all; j += blockDim.x) {
            // A new token's neighbours are new tokens.
            const bool old = j < p.count;
            const u64 mine = old ? second[j] : (u64)(j - p.count);
            float most = spare[j];
            for (u32 i = old ? 0 : p.count; i < (old ? p.count : all); ++i) {
                const u64 other = old ? second[i] : (u64)(i - p.count);
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
    for (u32 j = threadIdx.x; j < p.count; j += blockDim.x) {
        const u32 chunk = (u32)(second[j] >> 32);
        const bool too_old = p.max_age_chunks != 0 && chunk_of(p) > chunk && chunk_of(p) - chunk > p.max_age_chunks;
        rho[j] = too_old ? TOO_OLD : p.lambda * rho[j] - (1.0f - p.lambda) * eta[j];
        if (!is_finite(rho[j])) raise(p.state, SCORE, job, j, 0, p.counts);
    }
}

KERNEL void choose(const Kv p) {
    const u32 job = blockIdx.x, all = tokens(p), kept = p.size - p.fresh;
    SHARED_MEMORY(memory);
    u64* first = (u64*)memory;         // [count]
    u64* second = first + p.count;     // [count]: chunk and token
    float* rho = (float*)(second + p.count);  // [all]
    float* eta = rho + all;            // [all]
    float* spare = eta + all;          // [all]
    u32* goes = (u32*)(spare + all);   // [size]
    float* number = (float*)(goes + p.size);
    u32* word = (u32*)(number + 1);
    if (is_stopped(p.state, word)) return;
    const Slot* slots = slots_of(p, job);
    for (u32 j = threadIdx.x; j < p.count; j += blockDim.x) second[j] = (u64)slots[j].chunk << 32 | slots[j].token;
    __syncthreads();
    if (p.policy == SELECTIVE) combine(p, job, all, rho, eta, spare, second, number);
    const u64 seed = mix(p.seed ^ mix((u64)(job / p.sets) << 32 | job % p.sets));
    for (u32 j = threadIdx.x; j < p.count; j += blockDim.x) {
        switch (p.policy) {
            case SELECTIVE: first[j] = best_first(rho[j]); break;
            case RANDOM: first[j] = mix(seed ^ mix(second[j])); break;
            case FORCED: first[j] = (u64)(p.stays[j] ? 0u : 1u) << 32 | j; break;
            default: first[j] = ~second[j];
        }
    }
    __syncthreads();
    for (u32 j = threadIdx.x; j < p.size; j += blockDim.x) {
        u32 rank = 0;
        for (u32 i = 0; j < p.count && i < p.count; ++i) {
            // Tokens are told apart by their slot when nothing else does: ascending, but under FIFO.
            const bool lower = p.policy == FIFO ? i > j : i < j;
            const bool before = first[i] != first[j] ? first[i] < first[j] : second[i] != second[j] ? second[i] < second[j] : lower;
            rank += before && i != j;
        }
        goes[j] = j >= p.count || rank >= kept;
    }
    __syncthreads();
    float* scores = p.partial + (u64)job * p.tiles * 2 * all;
    for (u32 j = threadIdx.x; j < p.size; j += blockDim.x) {
        // What stays gets its score in scatter.cu, if no job has found a fault.
        if (p.policy == SELECTIVE && j < p.count) scores[j] = goes[j] ? NOT_A_SCORE : rho[j];
        if (!goes[j]) continue;
        u32 place = 0;
        for (u32 i = 0; i < j; ++i) place += goes[i];
        p.destinations[(u64)job * p.pass_tokens + place] = j;
    }
}
