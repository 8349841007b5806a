// Products of keys with queries and with the sum of unit keys, in f32: for f32 memories, and for
// keys whose rotation is undone before they are compared.
#pragma once
#include "score_block.cuh"

// Elements between rows of queries in shared memory: avoids bank conflicts.
constexpr u32 PLAIN_PAD = 4;

// The position of a token, in steps along its axes: time, row, column.
struct Position {
    u32 time, row, column;
};

__device__ inline Position position_of(const KvParams& p, const PoolParams& pool, u32 chunk, u32 token) {
    if (pool.is_action) return {chunk * (p.action_tokens + 1) + token + 1, ~0u, ~0u};
    return {chunk, token / p.columns, token % p.columns};
}

// Undoes the rotation of 8 elements of a row, from column `column` on (core/rope.rs). Angles count
// 2^-64 of a turn, so whole turns overflow exactly, however long the ride.
__device__ inline void unrotate(const KvParams& p, const PoolParams& pool, const Position& position, u32 column, float (&x)[8]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const u32 pair = column / 2 + i;
        const u32 step = pair < p.time_pairs ? position.time : pair < p.time_pairs + p.height_pairs ? position.row : position.column;
        const u64 angle = (u64)(long long)(int)step * p.rope_step[(pool.is_action ? p.width / 2 : 0) + pair];
        float sin, cos;
        sincospif((float)(int)(angle >> 32) * 4.656612873e-10f, &sin, &cos);  // 2^-31: half turns
        const float even = x[2 * i], odd = x[2 * i + 1];
        x[2 * i] = even * cos + odd * sin;
        x[2 * i + 1] = odd * cos - even * sin;
    }
}

// The product of rows g (R = 0) or g + 8 (R = 1) of 16 keys with the block's queries over 32
// columns. The lanes hold the same elements as on tensor cores.
template <int N_TILES, int R>
__device__ inline void multiply(const ScoreBlock& b, const float (&key)[8], const float* queries, u32 stride, u32 column, float (&c)[N_TILES][4]) {
#pragma unroll 1
    for (u32 s = 0; s < 4; ++s) {  // one at a time: the queries of all four need too many registers
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

// `memory` holds queries [8 N_TILES, width + pad], sums [warps, 32], and the sum of unit keys [32];
// returns the address after them. `c` gets q·k over all heads of the set, `along` the product of
// each key with the sum of unit keys.
template <class S, bool TURNED, int N_TILES>
__device__ inline unsigned char* plain_products(const ScoreBlock& b, unsigned char* memory, float (&c)[M_TILES][N_TILES][4], float (&along)[M_TILES][2]) {
    constexpr u32 QUERIES = 8 * N_TILES;
    const KvParams& p = b.p;
    const PoolParams& pool = b.pool;
    const u32 stride = p.width + PLAIN_PAD;
    float* const queries = (float*)memory;
    float* const sums = queries + QUERIES * stride;
    float* const total = sums + b.warps * COLUMNS;

    // Loads the lane's part of a token's key, from `column` on, and undoes its rotation if TURNED.
    const auto load = [&](u32 head, int m, int r, u32 column, float(&x)[8]) {
        const u32 j = b.read(m, r);
        typename S::Eight raw;
        S::load(key_row<S>(p, pool, b.layer, head, j) + column + 8 * b.t, raw);
        S::floats(raw, x);
        if (TURNED) {
            const Slot slot = slots_of(p, pool, b.job)[j < pool.count ? j : 0u];
            const Position position = j < pool.count ? position_of(p, pool, slot.chunk, slot.token) : position_of(p, pool, chunk_of(p), j - pool.count);
            unrotate(p, pool, position, column + 8 * b.t, x);
        }
    };
    const auto stage = [&](u32 head) {
        for (u32 i = threadIdx.x; i < QUERIES * p.width / 8; i += blockDim.x) {
            const u32 q = i / (p.width / 8), column = i % (p.width / 8) * 8, token = b.tile * QUERIES + q;
            typename S::Eight raw = {};
            float x[8];
            if (token < pool.new_tokens) S::load(new_row<S>(p, pool, pool.pass_q[b.layer], head, token) + column, raw);
            S::floats(raw, x);
            if (TURNED) unrotate(p, pool, position_of(p, pool, chunk_of(p), token), column, x);
#pragma unroll
            for (int e = 0; e < 8; ++e) queries[q * stride + column + e] = x[e];
        }
    };

#pragma unroll
    for (int m = 0; m < M_TILES; ++m) along[m][0] = along[m][1] = 0.0f;
    for (u32 h = 0; h < b.heads; ++h) {
        const u32 head = b.head0 + h;
        __syncthreads();  // all warps are done with the queries of the previous head
        stage(head);
        __syncthreads();  // the queries are in shared memory
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
                keep_order();  // loads ahead of their use would need registers that f32 lacks
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
            __syncthreads();  // all warps have written their sums
            if (threadIdx.x < COLUMNS) total[threadIdx.x] = sum_over_warps(sums, b.warps);
            __syncthreads();  // the sum is complete
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
