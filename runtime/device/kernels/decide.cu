// All that is known before a commit writes anything, in one launch: the first blocks choose the slots that are overwritten, which takes long and moves
// little, while the others prove the new rows, which is the other way round. Both change nothing of the memory.
#include "check.cuh"
#include "choose.cuh"

template <class S>
__device__ void decide(const Kv& p) {
    SHARED_MEMORY(memory);
    if (blockIdx.x < p.choosers) {
        const u32 jobs = p.layers * p.sets;
        const Part& part = p.parts[blockIdx.x / jobs];
        if (!part.in_order) choose(p, part, blockIdx.x % jobs, memory);
        return;
    }
    const u32 all = p.parts[0].fresh + p.parts[1].fresh, block = blockIdx.x - p.choosers, row = block % all;
    const bool later = row >= p.parts[0].fresh;
    check<S>(p, p.parts[later], later ? row - p.parts[0].fresh : row, block / all, memory);
}

KERNEL void decide_f32(const Kv p) { decide<F32>(p); }
KERNEL void __launch_bounds__(384, 4) decide_f16(const Kv p) { decide<F16>(p); }
KERNEL void __launch_bounds__(384, 4) decide_bf16(const Kv p) { decide<Bf16>(p); }
