// Relevance and redundancy of the tokens of both pools, from one reading of their keys (host twin: host/score.rs; oracle: core/selection/score.rs).
//
// A block owns 40 queries (16 without tensor cores) of one job and walks over the heads of its set, 32 columns at a time; a warp owns up to five times 16
// keys, whose logits it keeps in registers until all heads are summed: q·k never reaches device memory. Redundancy rides along: of every head, one of the
// job's blocks also sums the unit keys that pass by and multiplies the same keys with that sum. Writes [2, tokens] per block; choose.cuh adds the blocks up
// in order, so the result does not depend on who ran first.
#include "score_plain.cuh"
#include "score_tensor.cuh"

template <class S, bool TURNED, bool TENSOR>
__device__ void score(const Kv& p) {
    constexpr int QUERIES = queries_of(TENSOR), N_TILES = QUERIES / 8;
    const bool later = blockIdx.x >= p.parts[0].tiles;
    const Part& part = p.parts[later];
    const u32 tile = later ? blockIdx.x - p.parts[0].tiles : blockIdx.x;
    const u32 warps = blockDim.x / 32, warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const u32 job = blockIdx.y, heads = heads_per_set(p), all = tokens(p, part);
    Scored b = {p, part, tile, job, job / p.sets, job % p.sets * heads, heads, all, warps, warp, lane, g, t, 0u, 0u};
    b.deal();
    SHARED_MEMORY(memory);
    u32* const word = (u32*)memory;
    if (is_stopped(p.state, word)) return;
    __syncthreads();  // everybody has read the word

    float c[M_TILES][N_TILES][4] = {};
    float along[M_TILES][2];
    float* most;  // [warps + 1, QUERIES]
    if constexpr (TENSOR) {
        most = (float*)products<S, N_TILES>(b, memory, c, along);
    } else {
        most = (float*)plain_products<S, TURNED, N_TILES>(b, memory, c, along);
    }

    // A lane holds queries 2t and 2t+1 of every n-tile, for keys g and g+8 of every m-tile. What is not finite makes the sum of all, times zero, not a number.
    float nothing = 0.0f;
#pragma unroll
    for (int m = 0; m < M_TILES; ++m) {
        if (b.is_empty(m)) break;
#pragma unroll
        for (int n = 0; n < N_TILES; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) nothing += c[m][n][i] * 0.0f;
        }
    }
    if (nothing != 0.0f) {
#pragma unroll
        for (int m = 0; m < M_TILES; ++m) {
#pragma unroll
            for (int n = 0; n < N_TILES; ++n) {
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    const u32 j = b.token(m, i / 2), q = tile * QUERIES + 8 * n + 2 * t + i % 2;
                    if (j < all && q < part.fresh && !is_finite(c[m][n][i])) raise(p.state, code_of(part, QUERY_OR_PRODUCT), job, q, j, p.counts);
                }
            }
        }
    }

    // A softmax over the keys for each query. First the peaks.
    const float scale = 1.0f / sqrtf((float)(heads * p.width));
    float* over_all = most + warps * QUERIES;
#pragma unroll
    for (int n = 0; n < N_TILES; ++n) {
        float peak[2] = {minus_infinity(), minus_infinity()};
#pragma unroll
        for (int m = 0; m < M_TILES; ++m) {
            if (b.is_empty(m)) break;
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                c[m][n][i] = b.token(m, i / 2) < all ? c[m][n][i] * scale : minus_infinity();
                peak[i % 2] = fmaxf(peak[i % 2], c[m][n][i]);
            }
        }
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            peak[i] = row_max(peak[i]);
            if (g == 0) most[warp * QUERIES + 8 * n + 2 * t + i] = peak[i];
        }
    }
    __syncthreads();
    for (u32 q = threadIdx.x; q < QUERIES; q += blockDim.x) {
        float x = minus_infinity();
        for (u32 w = 0; w < warps; ++w) x = fmaxf(x, most[w * QUERIES + q]);
        over_all[q] = x;
    }
    __syncthreads();
    // Then the sums of what is left, and each query's weight.
#pragma unroll
    for (int n = 0; n < N_TILES; ++n) {
        float sum[2] = {};
#pragma unroll
        for (int m = 0; m < M_TILES; ++m) {
            if (b.is_empty(m)) break;
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                c[m][n][i] = expf(c[m][n][i] - over_all[8 * n + 2 * t + i % 2]);
                sum[i % 2] += c[m][n][i];
            }
        }
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            sum[i] = row_sum(sum[i]);
            if (g == 0) most[warp * QUERIES + 8 * n + 2 * t + i] = sum[i];
        }
    }
    __syncthreads();
    for (u32 q = threadIdx.x; q < QUERIES; q += blockDim.x) {
        float x = 0.0f;
        for (u32 w = 0; w < warps; ++w) x += most[w * QUERIES + q];
        const bool asked = tile * QUERIES + q < part.fresh;
        over_all[q] = asked ? 1.0f / (x * (float)part.fresh) : 0.0f;
    }
    __syncthreads();  // every query's weight is there
    float* partial = part.partial + (u64)(job * part.tiles + tile) * 2 * all;
#pragma unroll
    for (int m = 0; m < M_TILES; ++m) {
        if (b.is_empty(m)) break;
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            float rho = 0.0f;
#pragma unroll
            for (int n = 0; n < N_TILES; ++n) {
#pragma unroll
                for (int i = 0; i < 2; ++i) rho += c[m][n][2 * r + i] * over_all[8 * n + 2 * t + i];
            }
            rho = quad_sum(rho);
            const u32 j = b.token(m, r);
            if (t == 0 && j < all) {
                partial[j] = rho;
                partial[all + j] = along[m][r];
            }
        }
    }
}

KERNEL void __launch_bounds__(THREADS, 1) score_f32(const Kv p) { score<F32, false, false>(p); }
KERNEL void __launch_bounds__(THREADS, 1) score_f16(const Kv p) { score<F16, false, true>(p); }
KERNEL void __launch_bounds__(THREADS, 1) score_bf16(const Kv p) { score<Bf16, false, true>(p); }
KERNEL void __launch_bounds__(THREADS, 1) score_turned_f32(const Kv p) { score<F32, true, false>(p); }
KERNEL void __launch_bounds__(THREADS, 1) score_turned_f16(const Kv p) { score<F16, true, false>(p); }
KERNEL void __launch_bounds__(THREADS, 1) score_turned_bf16(const Kv p) { score<Bf16, true, false>(p); }
