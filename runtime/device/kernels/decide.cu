// Everything that a commit decides before it writes, in one launch. The first blocks select the
// slots to overwrite, which is bound by latency; the others check the new rows, which is bound by
// bandwidth. Neither changes the memory.
#include "check.cuh"
#include "select.cuh"

template <class S>
__device__ void decide(const KvParams& p) {
    SHARED_MEMORY(memory);
    if (blockIdx.x < p.select_blocks) {
        const u32 jobs = p.layers * p.sets;
        const PoolParams& pool = p.pools[blockIdx.x / jobs];
        if (!pool.in_order) select_slots(p, pool, blockIdx.x % jobs, memory);
        return;
    }
    const u32 all = p.pools[0].new_tokens + p.pools[1].new_tokens, block = blockIdx.x - p.select_blocks, row = block % all;
    const bool later = row >= p.pools[0].new_tokens;
    check<S>(p, p.pools[later], later ? row - p.pools[0].new_tokens : row, block / all, memory);
}

KERNEL void decide_f32(const KvParams p) { decide<F32>(p); }
KERNEL void __launch_bounds__(384, 4) decide_f16(const KvParams p) { decide<F16>(p); }
KERNEL void __launch_bounds__(384, 4) decide_bf16(const KvParams p) { decide<Bf16>(p); }
