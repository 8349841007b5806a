// Products of keys with queries and with the sum of unit keys, on tensor cores, for f16 and bf16
// keys with their rotation.
//
// Every thread copies the keys that it will multiply into its own part of a ring in shared memory,
// some steps of 32 columns ahead, so that loads and products overlap. The sum of unit keys is
// multiplied as three more queries whose elements add up to it: one 16-bit element is not precise
// enough.
#pragma once
#include "score_block.cuh"

// Elements from one row of queries to the next in shared memory, of which 192 may be used: avoids
// bank conflicts.
constexpr u32 QUERY_STRIDE = 224;
// Scale of the sum of unit keys, which is at most 640: uses the range of f16.
constexpr float SUM_SCALE = 32.0f;
constexpr u32 TILE_PIECES = 64;  // pieces of 16 bytes: 32 columns of 16 keys

// The product of 16 keys with eight queries over 32 columns, in two halves. A lane's 8 neighbouring
// elements serve as columns 2t, 2t+1, 2t+8, 2t+9 of two products. This permutes the columns of keys
// and queries alike, which does not change their product.
template <class S>
__device__ inline void multiply_low(const uint4 (&key)[2], const uint4& q, float (&c)[4]) {
    S::mma(c, key[0].x, key[1].x, key[0].y, key[1].y, q.x, q.y);
}
template <class S>
__device__ inline void multiply_high(const uint4 (&key)[2], const uint4& q, float (&c)[4]) {
    S::mma(c, key[0].z, key[1].z, key[0].w, key[1].w, q.z, q.w);
}

// `memory` holds the ring [stages, tiles, 2, 32 lanes] of 16 bytes, queries [2, 8 N_TILES, 224],
// sums [warps, 32], the sum in parts [8, 32], of which five are zero, and weights [tiles, 16];
// returns the address after them. `c` gets q·k over all heads of the set, `along` the product of
// each key with the sum of unit keys.
template <class S, int N_TILES>
__device__ inline unsigned char* products(const ScoreBlock& b, unsigned char* memory, float (&c)[M_TILES][N_TILES][4], float (&along)[M_TILES][2]) {
    constexpr u32 QUERIES = 8 * N_TILES;
    const KvParams& p = b.p;
    const PoolParams& pool = b.pool;
    const u32 stage_pieces = b.tiles() * TILE_PIECES, mine = b.first * TILE_PIECES + b.lane;
    const u32 pieces = p.width / 8;
    uint4* const ring = (uint4*)memory;
    unsigned short* const queries = (unsigned short*)(ring + p.stages * stage_pieces);
    float* const sums = (float*)(queries + 2 * QUERIES * QUERY_STRIDE);
    unsigned short* const total = (unsigned short*)(sums + b.warps * COLUMNS);
    float* const weights = (float*)(total + 8 * COLUMNS);
    // A barrier precedes the first read of the total and of the weights.
    for (u32 i = threadIdx.x; i < 8 * COLUMNS; i += blockDim.x) total[i] = 0;

    // Offsets of the lane's next pieces, in 16 bytes from the arena's base; a bit for each piece of
    // a new token; the weights of the keys.
    u32 offset[M_TILES][2], is_new = 0;
#pragma unroll
    for (int m = 0; m < M_TILES; ++m) {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            const u32 j = b.read(m, r);
            offset[m][r] = offset_of_row(p, key_row<S>(p, pool, b.layer, b.head0, j)) + b.t;
            is_new |= j >= pool.count ? 1u << (2 * m + r) : 0u;
            if (b.t == 0 && !b.is_empty(m)) weights[b.token(m, r)] = b.weight(m, r);
        }
    }
    const u32 to_next_head = (p.slots - 1) * pieces, to_next_new = (pool.pass_tokens - 1) * pieces;
    u32 left = b.heads * (p.width / COLUMNS), left_of_head = p.width / COLUMNS, next_slot = 0;
    const auto fetch = [&]() {
        if (left == 0) return;
        --left;
        uint4* const to = ring + next_slot * stage_pieces + mine;
#pragma unroll
        for (int m = 0; m < M_TILES; ++m) {
            if (b.is_empty(m)) break;
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                copy_16(to + m * TILE_PIECES + 32 * r, at<S>(p, offset[m][r]));
                offset[m][r] += COLUMNS / 8;
            }
        }
        next_slot = next_slot + 1 == p.stages ? 0u : next_slot + 1;
        if (--left_of_head > 0) return;
        left_of_head = p.width / COLUMNS;
#pragma unroll
        for (int m = 0; m < M_TILES; ++m) {
#pragma unroll
            for (int r = 0; r < 2; ++r) offset[m][r] += is_new >> (2 * m + r) & 1u ? to_next_new : to_next_head;
        }
    };
    // Copies the queries of a head into one of two buffers while the previous head is multiplied. A
    // warp copies rows, a lane one piece of each.
    const u32 query = b.tile * QUERIES + b.warp;
    const u32 first_query = offset_of_row(p, new_row<S>(p, pool, pool.pass_q[b.layer], b.head0, query)) + b.lane;
    const auto stage = [&](u32 h, unsigned short* buffer) {
        if (b.lane >= pieces) return;
        u32 from = first_query + h * pool.pass_tokens * pieces;
        for (u32 q = 0; q + b.warp < QUERIES; q += b.warps) {
            unsigned short* const to = buffer + (q + b.warp) * QUERY_STRIDE + 8 * b.lane;
            if (query + q < pool.new_tokens) {
                copy_16(to, at<S>(p, from));
            } else {
                store_shared_16(to, uint4{0u, 0u, 0u, 0u});
            }
            from += b.warps * pieces;
        }
    };

    const u32 prefetch = p.stages - 1;
    stage(0, queries);
    for (u32 i = 0; i < prefetch; ++i) {
        fetch();
        commit_copies();
    }
    float cosine[M_TILES][4] = {};
    u32 slot = 0;
    for (u32 h = 0; h < b.heads; ++h) {
        const unsigned short* const of_head = queries + h % 2 * QUERIES * QUERY_STRIDE;
        const bool sums_here = b.sums(h);
        for (u32 column = 0; column < p.width; column += COLUMNS) {
            // One group per step: the step's keys, and the head's queries (limits.rs), are complete
            // when all groups but the prefetched ones are.
            fetch();
            commit_copies();
            wait_copies(prefetch);
            if (column == 0) {
                __syncthreads();  // queries complete, previous ones no longer in use
                if (h + 1 < b.heads) stage(h + 1, queries + (h + 1) % 2 * QUERIES * QUERY_STRIDE);
            }
            uint4 q[N_TILES];
#pragma unroll
            for (int n = 0; n < N_TILES; ++n) q[n] = load_shared_16(of_head + b.g * QUERY_STRIDE + 8 * b.t + column + 8 * n * QUERY_STRIDE);
            const uint4* const keys = ring + slot * stage_pieces + mine;
            float sum[8] = {};
#pragma unroll
            for (int m = 0; m < M_TILES; ++m) {
                if (b.is_empty(m)) break;
                const uint4 key[2] = {load_shared_16(keys + m * TILE_PIECES), load_shared_16(keys + m * TILE_PIECES + 32)};
#pragma unroll
                for (int n = 0; n < N_TILES; ++n) multiply_low<S>(key, q[n], c[m][n]);
#pragma unroll
                for (int n = 0; n < N_TILES; ++n) multiply_high<S>(key, q[n], c[m][n]);
                if (!sums_here) continue;
#pragma unroll
                for (int r = 0; r < 2; ++r) {
                    float x[8];
                    S::floats({{key[r]}}, x);
                    const float weight = weights[b.token(m, r)];
#pragma unroll
                    for (int i = 0; i < 8; ++i) sum[i] += weight * x[i];
                }
            }
            if (sums_here) {
                sums[b.warp * COLUMNS + 8 * b.t + b.g] = row_sums(sum, b.g);
                __syncthreads();  // all warps have written their sums
                if (threadIdx.x < COLUMNS) {
                    float rest = sum_over_warps(sums, b.warps) * SUM_SCALE;
#pragma unroll
                    for (u32 i = 0; i < 3; ++i) {
                        const u32 part_of_sum = S::narrow(rest);
                        total[i * COLUMNS + threadIdx.x] = (unsigned short)part_of_sum;
                        rest -= S::widen(part_of_sum);
                    }
                }
                __syncthreads();  // the sum is complete
                const uint4 unit = load_shared_16(total + b.g * COLUMNS + 8 * b.t);
#pragma unroll
                for (int m = 0; m < M_TILES; ++m) {
                    if (b.is_empty(m)) break;
                    const uint4 key[2] = {load_shared_16(keys + m * TILE_PIECES), load_shared_16(keys + m * TILE_PIECES + 32)};
                    multiply_low<S>(key, unit, cosine[m]);
                    multiply_high<S>(key, unit, cosine[m]);
                }
            }
            slot = slot + 1 == p.stages ? 0u : slot + 1;
        }
    }
#pragma unroll
    for (int m = 0; m < M_TILES; ++m) {
#pragma unroll
        for (int r = 0; r < 2; ++r) along[m][r] = quad_sum(cosine[m][2 * r] + cosine[m][2 * r + 1]) / SUM_SCALE;
    }
    return (unsigned char*)(weights + b.tiles() * 16);
}
