// The work of a block of score.cu, and reductions within a warp.
//
// A block owns some queries of one job and all keys of a pool, in tiles of 16; a warp owns
// consecutive tiles. A lane owns rows g and g + 8 of each tile of its warp, and columns 8t to 8t +
// 7 of every 32, as in a fragment of a tensor-core product.
#pragma once
#include "kv.cuh"

// cuda/kv/limits.rs relies on all of these.
// Queries of a block: fewer in f32, which needs more registers.
__device__ constexpr int queries_of(bool tensor) { return tensor ? 40 : 16; }
constexpr int M_TILES = 5;    // of a warp, at most
constexpr int THREADS = 256;  // of a block, at most: eight warps, 640 keys, 255 registers a thread
constexpr u32 COLUMNS = 32;   // of a step

struct ScoreBlock {
    const KvParams& p;
    const PoolParams& pool;
    u32 tile;  // of queries
    u32 job, layer, head0, heads;
    u32 all;   // keys
    u32 warps, warp, lane, g, t;
    u32 first, mine;  // tiles of the warp: the first, and their number

    __device__ u32 tiles() const { return (all + 15) / 16; }
    __device__ u32 token(int m, int r) const { return (first + m) * 16 + g + 8 * r; }
    __device__ bool is_empty(int m) const { return (u32)m >= mine; }
    // The token whose key a lane reads. Beyond the last token it reads the first one, and the
    // result is masked.
    __device__ u32 read(int m, int r) const { return token(m, r) < all ? token(m, r) : 0u; }
    // The weight of a token's key in the sum of unit keys.
    __device__ float weight(int m, int r) const { return token(m, r) < all ? inv_norm_of(p, pool, job, token(m, r)) : 0.0f; }
    // Distributes the tiles over the warps; where they do not divide evenly, the first warps get
    // one more.
    __device__ void distribute() {
        const u32 each = tiles() / warps, more = tiles() % warps;
        mine = each + (warp < more ? 1u : 0u);
        first = warp * each + (warp < more ? warp : more);
    }
    // Whether this block computes the sum of unit keys of a head, for all blocks of its job and
    // pool.
    __device__ bool sums(u32 head) const { return head % pool.tiles == tile; }
};

__device__ inline float quad_sum(float x) {
    x += __shfl_xor_sync(ALL_LANES, x, 1);
    return x + __shfl_xor_sync(ALL_LANES, x, 2);
}

// The sum over the 8 rows that a fragment spreads across a warp.
__device__ inline float row_sum(float x) {
    x += __shfl_xor_sync(ALL_LANES, x, 4);
    x += __shfl_xor_sync(ALL_LANES, x, 8);
    return x + __shfl_xor_sync(ALL_LANES, x, 16);
}

__device__ inline float row_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 4));
    x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 8));
    return fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 16));
}

// The sums of 8 values over the 8 rows: the lanes of row g get the sum of value g. Each exchange
// halves the remaining values.
__device__ inline float row_sums(const float (&x)[8], u32 g) {
    float four[4], two[2];
#pragma unroll
    for (int i = 0; i < 4; ++i) four[i] = (g & 4 ? x[i + 4] : x[i]) + __shfl_xor_sync(ALL_LANES, g & 4 ? x[i] : x[i + 4], 16);
#pragma unroll
    for (int i = 0; i < 2; ++i) two[i] = (g & 2 ? four[i + 2] : four[i]) + __shfl_xor_sync(ALL_LANES, g & 2 ? four[i] : four[i + 2], 8);
    return (g & 1 ? two[1] : two[0]) + __shfl_xor_sync(ALL_LANES, g & 1 ? two[0] : two[1], 4);
}

// Column `threadIdx.x` of the sums [warps, 32], added over the warps.
__device__ inline float sum_over_warps(const float* sums, u32 warps) {
    float x = 0.0f;
    for (u32 w = 0; w < warps; ++w) x += sums[w * COLUMNS + threadIdx.x];
    return x;
}
