// One step of the solver, in place. A thread owns one element of the sample. Reference and
// constants: core/flow/solver.rs.
#include "kernel.cuh"

constexpr u32 MAX_CHANNELS = 1024;

// cuda/solver.rs has the same fields in the same order. A coefficient of zero excludes its buffer,
// whatever the buffer holds.
struct Solver {
    float* x;
    const float* velocity;
    float *last, *m1, *m2;  // for UniPC
    State* state;
    u64 channels[MAX_CHANNELS / 64];  // a bit for each channel to step
    u32 len, width, unipc, corrects;
    float span, sigma;
    float corrector[4];  // of last, m1, m2, m0
    float predictor[3];  // of the corrected sample, m0, m1
    u32 counts[3];  // of the memory, for a fault
    u32 reserved[2];
};

static_assert(sizeof(Solver) == 248, "cuda/solver.rs has another size");

__device__ inline float unless_zero(float coefficient, const float* value) { return coefficient == 0.0f ? 0.0f : coefficient * *value; }

KERNEL void solver(const Solver p) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= p.len) return;
    const u32 channel = i % p.width;
    if (!(p.channels[channel / 64] >> channel % 64 & 1)) return;
    const float v = p.velocity[i];
    if (!is_finite(v)) {
        raise(p.state, VELOCITY, i / p.width, channel, 0, p.counts);
        return;
    }
    if (!p.unipc) {
        p.x[i] += p.span * v;
        return;
    }
    const float m0 = p.x[i] - p.sigma * v;
    float corrected = p.x[i];
    if (p.corrects) {
        corrected = p.corrector[0] * p.last[i] + p.corrector[1] * p.m1[i] + unless_zero(p.corrector[2], p.m2 + i) + p.corrector[3] * m0;
    }
    p.x[i] = p.predictor[0] * corrected + p.predictor[1] * m0 + unless_zero(p.predictor[2], p.m1 + i);
    p.last[i] = corrected;
    p.m2[i] = p.m1[i];
    p.m1[i] = m0;
}

struct Fill {
    float* to;
    u64 len;
    float value;
    u32 reserved;
};

static_assert(sizeof(Fill) == 24, "cuda/solver.rs has another size");

KERNEL void fill(const Fill p) {
    const u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < p.len) p.to[i] = p.value;
}
