// Products of keys and queries, and of keys and the sum of unit keys, on tensor cores: keys in f16 or bf16, as the cache holds them.
//
// Every thread copies what it will multiply into a ring of its own in shared memory, some steps of 32 columns ahead, so that device memory never waits for
// products. The sum of unit keys is multiplied as three more queries, whose numbers add up to it: 16 bits are too few for it.
#pragma once
#include "score_block.cuh"

constexpr u32 QUERY_STRIDE = 224;    // numbers from one query's row to the next in shared memory, of which 192 may be used: no two lanes of a load meet in a bank
constexpr float SUM_SCALE = 32.0f;   // of the sum of unit keys: at most 640, it fills what f16 holds
constexpr u32 TILE_PIECES = 64;      // of 16 bytes: 32 columns of 16 keys

// The product of 16 keys with eight queries over 32 columns. A lane's 8 neighbouring elements stand for columns 2t, 2t+1, 2t+8, 2t+9 of two products: the
// order of the columns is the same in keys and queries, and a sum does not ask for more.
template <class S>
__device__ inline void multiply_low(const uint4 (&key)[2], const uint4& q, float (&c)[4]) {
    S::mma(c, key[0].x, key[1].x, key[0].y, key[1].y, q.x, q.y);
}
template <class S>
__device__ inline void multiply_high(const uint4 (&key)[2], const uint4& q, float (&c)[4]) {
    S::mma(c, key[0].z, key[1].z, key[0].w, key[1].w, q.z, q.w);
}

// `memory`: the ring [stages, tiles, 2, 32 lanes] of 16 bytes; queries [2, 8 N_TILES, 224]; sums [warps, 32]; the sum in parts [8, 32], of which five are
// zero; weights [tiles, 16]. Returns what comes after it. `c` gets q·k over all heads of the set, `along` the product with the sum of unit keys.
template <class S, int N_TILES>
__device__ inline unsigned char* products(const Scored& b, unsigned char* memory, float (&c)[M_TILES][N_TILES][4], float (&along)[M_TILES][2]) {
    constexpr u32 QUERIES = 8 * N_TILES;
    const Kv& p = b.p;
    const Part& part = b.part;
    const u32 stage_pieces = b.tiles() * TILE_PIECES, mine = b.first * TILE_PIECES + b.lane;
    const u32 pieces = p.width / 8;
    uint4* const ring = (uint4*)memory;
    unsigned short* const queries = (unsigned short*)(ring + p.stages * stage_pieces);
    float* const sums = (float*)(queries + 2 * QUERIES * QUERY_STRIDE);
    unsigned short* const total = (unsigned short*)(sums + b.warps * COLUMNS);
    float* const weights = (float*)(total + 8 * COLUMNS);
    for (u32 i = threadIdx.x; i < 8 * COLUMNS; i += blockDim.x) total[i] = 0;  // a barrier comes before it and the weights are read

    // Where the lane's next pieces lie, in 16 bytes from the arena's base; which of them are of new tokens, a bit each; what they weigh.
    u32 place[M_TILES][2], is_new = 0;
#pragma unroll
    for (int m = 0; m < M_TILES; ++m) {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            const u32 j = b.read(m, r);
            place[m][r] = place_of_row(p, key_row<S>(p, part, b.layer, b.head0, j)) + b.t;
            is_new |= j >= part.count ? 1u << (2 * m + r) : 0u;
            if (b.t == 0 && !b.is_empty(m)) weights[b.token(m, r)] = b.weight(m, r);
        }
    }
    const u32 to_next_head = (p.slots - 1) * pieces, to_next_new = (part.pass_tokens - 1) * pieces;
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
                copy_16(to + m * TILE_PIECES + 32 * r, at<S>(p, place[m][r]));
                place[m][r] += COLUMNS / 8;
            }
        }
        next_slot = next_slot + 1 == p.stages ? 0u : next_slot + 1;
        if (--left_of_head > 0) return;
        left_of_head = p.width / COLUMNS;
#pragma unroll
        for (int m = 0; m < M_TILES; ++m) {
#pragma unroll
            for (int r = 0; r < 2; ++r) place[m][r] += is_new >> (2 * m + r) & 1u ? to_next_new : to_next_head;
        }
    };
    // The queries of a head into one of two buffers, on their way while the head before is multiplied: a warp takes rows, a lane a piece of each.
    const u32 query = b.tile * QUERIES + b.warp;
    const u32 first_query = place_of_row(p, fresh_row<S>(p, part, part.pass_q[b.layer], b.head0, query)) + b.lane;
    const auto stage = [&](u32 h, unsigned short* buffer) {
        if (b.lane >= pieces) return;
        u32 from = first_query + h * part.pass_tokens * pieces;
        for (u32 q = 0; q + b.warp < QUERIES; q += b.warps) {
            unsigned short* const to = buffer + (q + b.warp) * QUERY_STRIDE + 8 * b.lane;
            if (query + q < part.fresh) {
                copy_16(to, at<S>(p, from));
            } else {
                store_shared_16(to, uint4{0u, 0u, 0u, 0u});
            }
            from += b.warps * pieces;
        }
    };

    const u32 ahead = p.stages - 1;
    stage(0, queries);
    for (u32 i = 0; i < ahead; ++i) {
        fetch();
        commit_copies();
    }
    float cosine[M_TILES][4] = {};
    u32 slot = 0;
    for (u32 h = 0; h < b.heads; ++h) {
        const unsigned short* const of_head = queries + h % 2 * QUERIES * QUERY_STRIDE;
        const bool sums_here = b.sums(h);
        for (u32 column = 0; column < p.width; column += COLUMNS) {
            // As many groups as steps: the step's keys are there when all groups but those ahead of it are, and so are the head's queries (limits.rs).
            fetch();
            commit_copies();
            wait_copies(ahead);
            if (column == 0) {
                __syncthreads();  // the head's queries are there, and those of the head before are done with
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
                __syncthreads();  // the sums of all warps are there
                if (threadIdx.x < COLUMNS) {
                    float rest = over_warps(sums, b.warps) * SUM_SCALE;
#pragma unroll
                    for (u32 i = 0; i < 3; ++i) {
                        const u32 part_of_sum = S::narrow(rest);
                        total[i * COLUMNS + threadIdx.x] = (unsigned short)part_of_sum;
                        rest -= S::widen(part_of_sum);
                    }
                }
                __syncthreads();  // the sum is there
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
