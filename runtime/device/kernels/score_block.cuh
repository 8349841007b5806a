// What a block of score.cu works on, and sums over parts of a warp.
//
// A block owns some queries of one job and all keys of a pool, 16 of them a tile; every warp has some tiles that follow one another. A lane looks at rows g and
// g + 8 of each of its warp's tiles, and at columns 8t to 8t + 7 of every 32: where a fragment of a tensor-core product has them.
#pragma once
#include "kv.cuh"

// cuda/kv/limits.rs counts on all of these.
__device__ constexpr int queries_of(bool tensor) { return tensor ? 40 : 16; }  // of a block: fewer in f32, which takes more registers
constexpr int M_TILES = 5;    // of a warp, at most
constexpr int THREADS = 256;  // of a block, at most: eight warps, 640 keys; a thread may have 255 registers
constexpr u32 COLUMNS = 32;   // of a step

struct Scored {
    const Kv& p;
    const Part& part;
    u32 tile;  // of queries
    u32 job, layer, head0, heads;
    u32 all;   // keys
    u32 warps, warp, lane, g, t;
    u32 first, mine;  // tiles of the warp

    __device__ u32 tiles() const { return (all + 15) / 16; }
    __device__ u32 token(int m, int r) const { return (first + m) * 16 + g + 8 * r; }
    __device__ bool is_empty(int m) const { return (u32)m >= mine; }
    // Whose key a lane reads: a token that does not exist reads the first, and is masked.
    __device__ u32 read(int m, int r) const { return token(m, r) < all ? token(m, r) : 0u; }
    // What a token's key weighs in the sum of unit keys.
    __device__ float weight(int m, int r) const { return token(m, r) < all ? inverse_of(p, part, job, token(m, r)) : 0.0f; }
    // Deals the tiles: the first warps get one more where they do not come out even.
    __device__ void deal() {
        const u32 each = tiles() / warps, more = tiles() % warps;
        mine = each + (warp < more ? 1u : 0u);
        first = warp * each + (warp < more ? warp : more);
    }
    // Whether this block takes a head's sum of unit keys, for all blocks of its job and pool.
    __device__ bool sums(u32 head) const { return head % part.tiles == tile; }
};

__device__ inline float quad_sum(float x) {
    x += __shfl_xor_sync(ALL_LANES, x, 1);
    return x + __shfl_xor_sync(ALL_LANES, x, 2);
}

// Over the 8 rows that a fragment spreads across a warp.
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

// The sums of 8 numbers over the 8 rows: the lanes of row g get the sum of number g. Each exchange halves what is left to add.
__device__ inline float row_sums(const float (&x)[8], u32 g) {
    float four[4], two[2];
#pragma unroll
    for (int i = 0; i < 4; ++i) four[i] = (g & 4 ? x[i + 4] : x[i]) + __shfl_xor_sync(ALL_LANES, g & 4 ? x[i] : x[i + 4], 16);
#pragma unroll
    for (int i = 0; i < 2; ++i) two[i] = (g & 2 ? four[i + 2] : four[i]) + __shfl_xor_sync(ALL_LANES, g & 2 ? four[i] : four[i + 2], 8);
    return (g & 1 ? two[1] : two[0]) + __shfl_xor_sync(ALL_LANES, g & 1 ? two[0] : two[1], 4);
}

// Column `threadIdx.x` of the sums of all warps: [warps, 32].
__device__ inline float over_warps(const float* sums, u32 warps) {
    float x = 0.0f;
    for (u32 w = 0; w < warps; ++w) x += sums[w * COLUMNS + threadIdx.x];
    return x;
}
