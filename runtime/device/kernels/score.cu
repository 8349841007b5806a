// Relevance and redundancy of the tokens of both pools, from one reading of their keys (host twin: host/score.rs; oracle: core/selection/score.rs).
//
// A block owns 40 queries (16 without tensor cores) of one job and walks over the heads of its set, 32 columns at a time; a warp owns up to three times 16
// keys, whose logits it keeps in registers until all heads are summed: q·k never reaches device memory. On tensor cores every thread copies what it will
// multiply into a ring of its own in shared memory, some steps ahead, so that device memory never waits for products. Redundancy rides along: of every
// head, one of the job's blocks also sums the unit keys that pass by and multiplies the same keys, still in the ring, with that sum. Writes [2, tokens]
// per block; choose.cuh adds the blocks up in order, so the result does not depend on who ran first.
#include "kv.cuh"

// Queries of a block: fewer in f32, which takes more registers. cuda/kv/limits.rs counts on it.
__device__ constexpr int queries_of(bool tensor) { return tensor ? 40 : 16; }
constexpr int M_TILES = 3;   // times 16 keys of a warp
constexpr int THREADS = 384;  // at most, twelve warps: 576 keys; a thread may have 168 registers
// Bytes between the queries' rows in shared memory: no two lanes of a load meet in a bank.
__device__ constexpr int pad_bytes(bool tensor) { return tensor ? 64 : 16; }

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

// The product of 16 keys with the block's queries over 32 columns, on tensor cores. A lane's 8 neighbouring elements stand for columns 2t, 2t+1, 2t+8, 2t+9 of
// two products: the order of the columns is the same in keys and queries, and a sum does not ask for more.
template <class S, int N_TILES>
__device__ inline void multiply(const typename S::Eight& low, const typename S::Eight& high, const unsigned short* queries, u32 stride, u32 lane,
                                u32 column, float (&c)[N_TILES][4]) {
    const u32 g = lane / 4, t = lane % 4;
    const uint4 a = low.raw[0], b = high.raw[0];
#pragma unroll
    for (int n = 0; n < N_TILES; ++n) {
        const uint4 q = *(const uint4*)(queries + (8 * n + g) * stride + column + 8 * t);
        S::mma(c[n], a.x, b.x, a.y, b.y, q.x, q.y);
        S::mma(c[n], a.z, b.z, a.w, b.w, q.z, q.w);
    }
}

// The same in f32 for rows g (R = 0) or g + 8 (R = 1), with the same lanes holding the same numbers: for f32 memories and for keys that were turned back.
template <int N_TILES, int R>
__device__ inline void multiply(const float (&key)[8], const float* queries, u32 stride, u32 lane, u32 column, float (&c)[N_TILES][4]) {
    const u32 t = lane % 4;
#pragma unroll 1
    for (u32 s = 0; s < 4; ++s) {  // one at a time: the queries of all would take too many registers
        float a[8];
#pragma unroll
        for (int i = 0; i < 8; ++i) a[i] = __shfl_sync(ALL_LANES, key[i], (lane & ~3u) | s);
#pragma unroll
        for (int n = 0; n < N_TILES; ++n) {
            const float* q = queries + (8 * n + 2 * t) * stride + column + 8 * s;
#pragma unroll
            for (int i = 0; i < 8; ++i) {
                c[n][2 * R] += a[i] * q[i];
                c[n][2 * R + 1] += a[i] * q[stride + i];
            }
        }
    }
    count_flops(N_TILES * 2 * 8 * 4 * 2);
}

template <bool TENSOR> struct Element { typedef float T; };
template <> struct Element<true> { typedef unsigned short T; };

template <class S, bool TURNED, bool TENSOR>
__device__ void score(const Kv& p) {
    typedef typename Element<TENSOR>::T Q;
    constexpr int QUERIES = queries_of(TENSOR), N_TILES = QUERIES / 8;
    const u32 warps = blockDim.x / 32, warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const bool later = blockIdx.x >= p.parts[0].tiles;
    const Part& part = p.parts[later];
    const u32 tile = later ? blockIdx.x - p.parts[0].tiles : blockIdx.x;
    const u32 job = blockIdx.y, layer = job / p.sets, heads = heads_per_set(p), head0 = job % p.sets * heads;
    const u32 stride = p.width + pad_bytes(TENSOR) / sizeof(Q), all = tokens(p, part);
    SHARED_MEMORY(memory);
    uint4* ring = (uint4*)memory;  // on tensor cores: [stages, M_TILES, 2, threads]
    const u32 stage_pieces = TENSOR ? 2 * M_TILES * blockDim.x : 0u;
    Q* memory_of_queries = (Q*)(ring + p.stages * stage_pieces);  // [2 on tensor cores, QUERIES, stride]
    float* sums = (float*)(memory_of_queries + (TENSOR ? 2 : 1) * QUERIES * stride);  // [warps, 32]
    float* total = sums + warps * 32;                             // [32]
    float* most = total + 32;                                     // [warps + 1, QUERIES]
    u32* word = (u32*)(most + (warps + 1) * QUERIES);
    if (is_stopped(p.state, word)) return;

    float c[M_TILES][N_TILES][4] = {};
    float eta[M_TILES][2] = {};

    // Which token a lane looks at: tile `m` of its warp, row g or g + 8.
    const auto token_of = [&](int m, int r) { return (warp + warps * m) * 16 + g + 8 * r; };
    const auto is_empty = [&](int m) { return (warp + warps * m) * 16 >= all; };
    // The lane's part of that token's key, from `column` on; a token that does not exist reads the first, and is masked.
    const auto key = [&](u32 head, int m, int r, u32 column) {
        const u32 j = token_of(m, r);
        return key_row<S>(p, part, layer, head, j < all ? j : 0u) + column + 8 * t;
    };
    // The same in f32, turned back if it must be.
    const auto load = [&](u32 head, int m, int r, u32 column, float(&x)[8]) {
        typename S::Eight raw;
        S::load(key(head, m, r, column), raw);
        S::floats(raw, x);
        if (TURNED) {
            const u32 j = token_of(m, r) < all ? token_of(m, r) : 0u;
            const Slot slot = slots_of(p, part, job)[j < part.count ? j : 0u];
            const Place place = j < part.count ? place_of(p, part, slot.chunk, slot.token) : place_of(p, part, chunk_of(p), j - part.count);
            turn_back(p, part, place, column + 8 * t, x);
        }
    };

    // The queries of a head into a buffer: on tensor cores as they are, on their way while the head before is multiplied; else in f32, turned back.
    const auto stage = [&](u32 head, Q* buffer) {
        for (u32 i = threadIdx.x; i < QUERIES * p.width / 8; i += blockDim.x) {
            const u32 q = i / (p.width / 8), column = i % (p.width / 8) * 8, token = tile * QUERIES + q;
            Q* to = buffer + q * stride + column;
            if constexpr (TENSOR) {
                if (token < part.fresh) {
                    copy_16(to, fresh_row<S>(p, part, part.pass_q[layer], head, token) + column);
                } else {
                    *(uint4*)to = uint4{0u, 0u, 0u, 0u};
                }
            } else {
                typename S::Eight raw = {};
                float x[8];
                if (token < part.fresh) S::load(fresh_row<S>(p, part, part.pass_q[layer], head, token) + column, raw);
                S::floats(raw, x);
                if (TURNED) turn_back(p, part, place_of(p, part, chunk_of(p), token), column, x);
#pragma unroll
                for (int e = 0; e < 8; ++e) to[e] = x[e];
            }
        }
    };

    // The thread's piece of its tile `m`, row `r`, in a slot of its ring.
    const auto piece = [&](u32 slot, int m, int r) { return ring + slot * stage_pieces + (2 * m + r) * blockDim.x + threadIdx.x; };
    const u32 ahead = p.stages - 1;
    u32 next_head = 0, next_column = 0, next_slot = 0, slot = 0;  // what is copied next, and what is multiplied
    const auto fetch = [&]() {
        if (next_head == heads) return;
#pragma unroll
        for (int m = 0; m < M_TILES; ++m) {
            if (is_empty(m)) break;
#pragma unroll
            for (int r = 0; r < 2; ++r) copy_16(piece(next_slot, m, r), key(head0 + next_head, m, r, next_column));
        }
        next_slot = next_slot + 1 == p.stages ? 0u : next_slot + 1;
        next_column += 32;
        if (next_column == p.width) {
            next_column = 0;
            ++next_head;
        }
    };

    if constexpr (TENSOR) {
        stage(head0, memory_of_queries);
        for (u32 i = 0; i < ahead; ++i) {
            fetch();
            commit_copies();
        }
    }
    for (u32 h = 0; h < heads; ++h) {
        const u32 head = head0 + h;
        const Q* queries = memory_of_queries + (TENSOR ? h % 2 * QUERIES * stride : 0u);
        if constexpr (!TENSOR) {
            __syncthreads();
            stage(head, memory_of_queries);
            __syncthreads();
        }
        const bool sums_here = h % part.tiles == tile;
        for (u32 column = 0; column < p.width; column += 32) {
            if constexpr (TENSOR) {
                // As many groups as steps: the step's keys are there when all but those ahead of it are, and so are the head's queries (limits.rs).
                if (ahead == 0) {
                    fetch();
                    commit_copies();
                }
                wait_copies(ahead == 0 ? 0u : ahead - 1);
                if (column == 0) {
                    __syncthreads();  // the head's queries are there, and those of the head before are done with
                    if (h + 1 < heads) stage(head + 1, memory_of_queries + (h + 1) % 2 * QUERIES * stride);
                }
                if (ahead > 0) {
                    fetch();
                    commit_copies();
                }
            }
            float sum[8] = {};
#pragma unroll
            for (int m = 0; m < M_TILES; ++m) {
                if (is_empty(m)) break;
                const auto add = [&](int r, const float(&x)[8]) {
                    const u32 j = token_of(m, r);
                    const float weight = j < all ? inverse_of(p, part, job, j) : 0.0f;
#pragma unroll
                    for (int i = 0; i < 8; ++i) sum[i] += weight * x[i];
                };
                float x[8];
                if constexpr (TENSOR) {
                    typename S::Eight raw[2];
                    raw[0].raw[0] = *piece(slot, m, 0);
                    raw[1].raw[0] = *piece(slot, m, 1);
                    multiply<S, N_TILES>(raw[0], raw[1], queries, stride, lane, column, c[m]);
                    for (int r = 0; sums_here && r < 2; ++r) {
                        S::floats(raw[r], x);
                        add(r, x);
                    }
                } else {
                    keep_order();  // loads that run ahead would take registers that f32 needs
                    load(head, m, 0, column, x);
                    multiply<N_TILES, 0>(x, queries, stride, lane, column, c[m]);
                    if (sums_here) add(0, x);
                    keep_order();
                    load(head, m, 1, column, x);
                    multiply<N_TILES, 1>(x, queries, stride, lane, column, c[m]);
                    if (sums_here) add(1, x);
                }
            }
            if (sums_here) {
#pragma unroll
                for (int i = 0; i < 8; ++i) {
                    const float over_rows = row_sum(sum[i]);
                    if (g == 0) sums[warp * 32 + 8 * t + i] = over_rows;
                }
                __syncthreads();  // the sums of all warps are there
                if (threadIdx.x < 32) {
                    float over_warps = 0.0f;
                    for (u32 w = 0; w < warps; ++w) over_warps += sums[w * 32 + threadIdx.x];
                    total[threadIdx.x] = over_warps;
                }
                __syncthreads();
#pragma unroll
                for (int m = 0; m < M_TILES; ++m) {
                    if (is_empty(m)) break;
#pragma unroll
                    for (int r = 0; r < 2; ++r) {
                        float x[8];
                        if constexpr (TENSOR) {
                            typename S::Eight raw;
                            raw.raw[0] = *piece(slot, m, r);
                            S::floats(raw, x);
                        } else {
                            keep_order();
                            load(head, m, r, column, x);
                        }
#pragma unroll
                        for (int i = 0; i < 8; ++i) eta[m][r] += x[i] * total[8 * t + i];
                    }
                }
            }
            if (TENSOR) slot = slot + 1 == p.stages ? 0u : slot + 1;
        }
    }

    // A softmax over the keys for each query; a lane holds queries 2t and 2t+1 of every n-tile, for keys g and g+8 of every m-tile. First the peaks.
    const float scale = 1.0f / sqrtf((float)(heads * p.width));
    float* over_all = most + warps * QUERIES;
#pragma unroll
    for (int n = 0; n < N_TILES; ++n) {
        float peak[2] = {minus_infinity(), minus_infinity()};
#pragma unroll
        for (int m = 0; m < M_TILES; ++m) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const u32 j = token_of(m, i / 2), q = tile * QUERIES + 8 * n + 2 * t + i % 2;
                if (j < all && q < part.fresh && !is_finite(c[m][n][i])) raise(p.state, code_of(part, QUERY_OR_PRODUCT), job, q, j, p.counts);
                c[m][n][i] = j < all ? c[m][n][i] * scale : minus_infinity();
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
        if (is_empty(m)) break;
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            float rho = 0.0f;
#pragma unroll
            for (int n = 0; n < N_TILES; ++n) {
#pragma unroll
                for (int i = 0; i < 2; ++i) rho += c[m][n][2 * r + i] * over_all[8 * n + 2 * t + i];
            }
            rho = quad_sum(rho);
            const float along = quad_sum(eta[m][r]);
            const u32 j = token_of(m, r);
            if (t == 0 && j < all) {
                partial[j] = rho;
                partial[all + j] = along;
            }
        }
    }
}

KERNEL void __launch_bounds__(THREADS) score_f32(const Kv p) { score<F32, false, false>(p); }
KERNEL void __launch_bounds__(THREADS) score_f16(const Kv p) { score<F16, false, true>(p); }
KERNEL void __launch_bounds__(THREADS) score_bf16(const Kv p) { score<Bf16, false, true>(p); }
KERNEL void __launch_bounds__(THREADS) score_turned_f32(const Kv p) { score<F32, true, false>(p); }
KERNEL void __launch_bounds__(THREADS) score_turned_f16(const Kv p) { score<F16, true, false>(p); }
KERNEL void __launch_bounds__(THREADS) score_turned_bf16(const Kv p) { score<Bf16, true, false>(p); }
