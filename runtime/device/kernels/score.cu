// Relevance and redundancy of the tokens of both pools, from one read of their keys. Counterpart on
// the
// host: host/score.rs; reference: core/selection/score.rs.
//
// A block owns 40 queries (16 without tensor cores) of one job and iterates over the heads of its
// set, 32 columns at a time. A warp owns up to five tiles of 16 keys. It keeps their logits in
// registers until all heads are summed, so q·k never reaches device memory. For redundancy, one of
// the job's blocks per head also sums the unit keys it loads, and multiplies the same keys with
// that sum. A block writes [2, tokens]; select.cuh adds the blocks in order, so the result does not
// depend on their schedule.
#include "score_plain.cuh"
#include "score_tensor.cuh"

template <class S, bool TURNED, bool TENSOR>
__device__ void score(const KvParams& p) {
    constexpr int QUERIES = queries_of(TENSOR), N_TILES = QUERIES / 8;
    const bool later = blockIdx.x >= p.pools[0].tiles;
    const PoolParams& pool = p.pools[later];
    const u32 tile = later ? blockIdx.x - p.pools[0].tiles : blockIdx.x;
    const u32 warps = blockDim.x / 32, warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const u32 job = blockIdx.y, heads = heads_per_set(p), all = tokens(p, pool);
    ScoreBlock b = {p, pool, tile, job, job / p.sets, job % p.sets * heads, heads, all, warps, warp, lane, g, t, 0u, 0u};
    b.distribute();
    SHARED_MEMORY(memory);
    u32* const word = (u32*)memory;
    if (is_stopped(p.state, word)) return;
    __syncthreads();  // all threads have read the word

    float c[M_TILES][N_TILES][4] = {};
    float along[M_TILES][2];
    float* peaks;  // [warps + 1, QUERIES]
    if constexpr (TENSOR) {
        peaks = (float*)products<S, N_TILES>(b, memory, c, along);
    } else {
        peaks = (float*)plain_products<S, TURNED, N_TILES>(b, memory, c, along);
    }

    // A lane holds queries 2t and 2t+1 of every n-tile, for keys g and g+8 of every m-tile. The sum
    // of all products times zero is NaN if any of them is not finite.
    float zero_or_nan = 0.0f;
#pragma unroll
    for (int m = 0; m < M_TILES; ++m) {
        if (b.is_empty(m)) break;
#pragma unroll
        for (int n = 0; n < N_TILES; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) zero_or_nan += c[m][n][i] * 0.0f;
        }
    }
    if (zero_or_nan != 0.0f) {
#pragma unroll
        for (int m = 0; m < M_TILES; ++m) {
#pragma unroll
            for (int n = 0; n < N_TILES; ++n) {
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    const u32 j = b.token(m, i / 2), q = tile * QUERIES + 8 * n + 2 * t + i % 2;
                    if (j < all && q < pool.new_tokens && !is_finite(c[m][n][i])) raise(p.state, code_of(pool, QUERY_OR_PRODUCT), job, q, j, p.counts);
                }
            }
        }
    }

    // Softmax over the keys for each query. First the peaks.
    const float scale = 1.0f / sqrtf((float)(heads * p.width));
    float* over_warps = peaks + warps * QUERIES;
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
            if (g == 0) peaks[warp * QUERIES + 8 * n + 2 * t + i] = peak[i];
        }
    }
    __syncthreads();
    for (u32 q = threadIdx.x; q < QUERIES; q += blockDim.x) {
        float x = minus_infinity();
        for (u32 w = 0; w < warps; ++w) x = fmaxf(x, peaks[w * QUERIES + q]);
        over_warps[q] = x;
    }
    __syncthreads();
    // Then the sums of the exponentials, and the weight of each query.
#pragma unroll
    for (int n = 0; n < N_TILES; ++n) {
        float sum[2] = {};
#pragma unroll
        for (int m = 0; m < M_TILES; ++m) {
            if (b.is_empty(m)) break;
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                c[m][n][i] = expf(c[m][n][i] - over_warps[8 * n + 2 * t + i % 2]);
                sum[i % 2] += c[m][n][i];
            }
        }
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            sum[i] = row_sum(sum[i]);
            if (g == 0) peaks[warp * QUERIES + 8 * n + 2 * t + i] = sum[i];
        }
    }
    __syncthreads();
    for (u32 q = threadIdx.x; q < QUERIES; q += blockDim.x) {
        float x = 0.0f;
        for (u32 w = 0; w < warps; ++w) x += peaks[w * QUERIES + q];
        const bool asked = tile * QUERIES + q < pool.new_tokens;
        over_warps[q] = asked ? 1.0f / (x * (float)pool.new_tokens) : 0.0f;
    }
    __syncthreads();  // all weights of queries are written
    float* partial = pool.partial + (u64)(job * pool.tiles + tile) * 2 * all;
#pragma unroll
    for (int m = 0; m < M_TILES; ++m) {
        if (b.is_empty(m)) break;
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            float rho = 0.0f;
#pragma unroll
            for (int n = 0; n < N_TILES; ++n) {
#pragma unroll
                for (int i = 0; i < 2; ++i) rho += c[m][n][2 * r + i] * over_warps[8 * n + 2 * t + i];
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

KERNEL void __launch_bounds__(THREADS, 1) score_f32(const KvParams p) { score<F32, false, false>(p); }
KERNEL void __launch_bounds__(THREADS, 1) score_f16(const KvParams p) { score<F16, false, true>(p); }
KERNEL void __launch_bounds__(THREADS, 1) score_bf16(const KvParams p) { score<Bf16, false, true>(p); }
KERNEL void __launch_bounds__(THREADS, 1) score_turned_f32(const KvParams p) { score<F32, true, false>(p); }
KERNEL void __launch_bounds__(THREADS, 1) score_turned_f16(const KvParams p) { score<F16, true, false>(p); }
KERNEL void __launch_bounds__(THREADS, 1) score_turned_bf16(const KvParams p) { score<Bf16, true, false>(p); }
