// Products of keys and queries, and of keys and the sum of unit keys, in f32: for f32 memories, and for keys that are turned back before they are compared.
#pragma once
#include "score_block.cuh"

constexpr u32 PLAIN_PAD = 4;  // numbers between the queries' rows in shared memory: no two lanes of a load meet in a bank

// Where a token stands, in steps of its table of turns: time, row, column.
struct Place {
    u32 time, row, column;
};

__device__ inline Place place_of(const Kv& p, const Part& part, u32 chunk, u32 token) {
    if (part.is_action) return {chunk * (p.action_tokens + 1) + token + 1, ~0u, ~0u};
    return {chunk, token / p.columns, token % p.columns};
}

// Turns 8 elements of a row, from column `column` on, back to where they were before the rotation (core/rope.rs). Turns are counted in 2^-64: whole ones
// fall off by themselves, after hours as in the first second.
__device__ inline void turn_back(const Kv& p, const Part& part, const Place& place, u32 column, float (&x)[8]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const u32 pair = column / 2 + i;
        const u32 at = pair < p.time_pairs ? place.time : pair < p.time_pairs + p.height_pairs ? place.row : place.column;
        const u64 turns = (u64)(long long)(int)at * p.turns[(part.is_action ? p.width / 2 : 0) + pair];
        float sin, cos;
        sincospif((float)(int)(turns >> 32) * 4.656612873e-10f, &sin, &cos);  // 2^-31: in halves of a turn
        const float even = x[2 * i], odd = x[2 * i + 1];
        x[2 * i] = even * cos + odd * sin;
        x[2 * i + 1] = odd * cos - even * sin;
    }
}

// The product of rows g (R = 0) or g + 8 (R = 1) of 16 keys with the block's queries over 32 columns, with the lanes holding what they hold on tensor cores.
template <int N_TILES, int R>
__device__ inline void multiply(const Scored& b, const float (&key)[8], const float* queries, u32 stride, u32 column, float (&c)[N_TILES][4]) {
#pragma unroll 1
    for (u32 s = 0; s < 4; ++s) {  // one at a time: the queries of all would take too many registers
        float a[8];
#pragma unroll
        for (int i = 0; i < 8; ++i) a[i] = __shfl_sync(ALL_LANES, key[i], (b.lane & ~3u) | s);
#pragma unroll
        for (int n = 0; n < N_TILES; ++n) {
            const float* q = queries + (8 * n + 2 * b.t) * stride + column + 8 * s;
#pragma unroll
            for (int i = 0; i < 8; ++i) {
                c[n][2 * R] += a[i] * q[i];
                c[n][2 * R + 1] += a[i] * q[stride + i];
            }
        }
    }
    count_flops(N_TILES * 2 * 8 * 4 * 2);
}

// `memory`: queries [8 N_TILES, width + pad]; sums [warps, 32]; the sum of unit keys [32]. Returns what comes after it. `c` gets q·k over all heads of the
// set, `along` the product with the sum of unit keys.
template <class S, bool TURNED, int N_TILES>
__device__ inline unsigned char* plain_products(const Scored& b, unsigned char* memory, float (&c)[M_TILES][N_TILES][4], float (&along)[M_TILES][2]) {
    constexpr u32 QUERIES = 8 * N_TILES;
    const Kv& p = b.p;
    const Part& part = b.part;
    const u32 stride = p.width + PLAIN_PAD;
    float* const queries = (float*)memory;
    float* const sums = queries + QUERIES * stride;
    float* const total = sums + b.warps * COLUMNS;

    // The lane's part of a token's key, from `column` on, turned back if it must be.
    const auto load = [&](u32 head, int m, int r, u32 column, float(&x)[8]) {
        const u32 j = b.read(m, r);
        typename S::Eight raw;
        S::load(key_row<S>(p, part, b.layer, head, j) + column + 8 * b.t, raw);
        S::floats(raw, x);
        if (TURNED) {
            const Slot slot = slots_of(p, part, b.job)[j < part.count ? j : 0u];
            const Place place = j < part.count ? place_of(p, part, slot.chunk, slot.token) : place_of(p, part, chunk_of(p), j - part.count);
            turn_back(p, part, place, column + 8 * b.t, x);
        }
    };
    const auto stage = [&](u32 head) {
        for (u32 i = threadIdx.x; i < QUERIES * p.width / 8; i += blockDim.x) {
            const u32 q = i / (p.width / 8), column = i % (p.width / 8) * 8, token = b.tile * QUERIES + q;
            typename S::Eight raw = {};
            float x[8];
            if (token < part.fresh) S::load(fresh_row<S>(p, part, part.pass_q[b.layer], head, token) + column, raw);
            S::floats(raw, x);
            if (TURNED) turn_back(p, part, place_of(p, part, chunk_of(p), token), column, x);
#pragma unroll
            for (int e = 0; e < 8; ++e) queries[q * stride + column + e] = x[e];
        }
    };

#pragma unroll
    for (int m = 0; m < M_TILES; ++m) along[m][0] = along[m][1] = 0.0f;
    for (u32 h = 0; h < b.heads; ++h) {
        const u32 head = b.head0 + h;
        __syncthreads();  // nobody multiplies the queries of the head before any more
        stage(head);
        __syncthreads();  // the queries are there
        const bool sums_here = b.sums(h);
        for (u32 column = 0; column < p.width; column += COLUMNS) {
            float sum[8] = {};
#pragma unroll
            for (int m = 0; m < M_TILES; ++m) {
                if (b.is_empty(m)) break;
                const auto add = [&](int r, const float(&x)[8]) {
                    const float weight = b.weight(m, r);
#pragma unroll
                    for (int i = 0; i < 8; ++i) sum[i] += weight * x[i];
                };
                float x[8];
                keep_order();  // loads that run ahead would take registers that f32 needs
                load(head, m, 0, column, x);
                multiply<N_TILES, 0>(b, x, queries, stride, column, c[m]);
                if (sums_here) add(0, x);
                keep_order();
                load(head, m, 1, column, x);
                multiply<N_TILES, 1>(b, x, queries, stride, column, c[m]);
                if (sums_here) add(1, x);
            }
            if (!sums_here) continue;
            sums[b.warp * COLUMNS + 8 * b.t + b.g] = row_sums(sum, b.g);
            __syncthreads();  // the sums of all warps are there
            if (threadIdx.x < COLUMNS) total[threadIdx.x] = over_warps(sums, b.warps);
            __syncthreads();  // the sum is there
#pragma unroll
            for (int m = 0; m < M_TILES; ++m) {
                if (b.is_empty(m)) break;
#pragma unroll
                for (int r = 0; r < 2; ++r) {
                    float x[8];
                    keep_order();
                    load(head, m, r, column, x);
#pragma unroll
                    for (int i = 0; i < 8; ++i) along[m][r] += x[i] * total[8 * b.t + i];
                }
            }
        }
    }
#pragma unroll
    for (int m = 0; m < M_TILES; ++m) {
#pragma unroll
        for (int r = 0; r < 2; ++r) along[m][r] = quad_sum(along[m][r]);
    }
    return (unsigned char*)(total + COLUMNS);
}
