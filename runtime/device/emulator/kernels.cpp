// The kernels of ../kernels, unchanged, compiled for the emulator, and the function that Rust
// calls.
#include "emulator.h"

#include "launch.h"

#include "../kernels/decide.cu"
#include "../kernels/image.cu"
#include "../kernels/scatter.cu"
#include "../kernels/score.cu"
#include "../kernels/solver.cu"

namespace {

template <class P, void (*KERNEL_BODY)(P)>
void call(const void* params) {
    KERNEL_BODY(*static_cast<const P*>(params));
}

struct Entry {
    const char* name;
    uint32_t params_bytes;
    emulator::Body body;
};

#define ENTRY(type, name) {#name, sizeof(type), call<const type, name>}
const Entry ENTRIES[] = {
    ENTRY(KvParams, score_f32),         ENTRY(KvParams, score_f16),  ENTRY(KvParams, score_bf16),  ENTRY(KvParams, score_turned_f32), ENTRY(KvParams, score_turned_f16),
    ENTRY(KvParams, score_turned_bf16), ENTRY(KvParams, decide_f32), ENTRY(KvParams, decide_f16),  ENTRY(KvParams, decide_bf16),      ENTRY(KvParams, scatter_f32),
    ENTRY(KvParams, scatter_f16),       ENTRY(KvParams, scatter_bf16), ENTRY(KvParams, drop),      ENTRY(Solver, solver),       ENTRY(Fill, fill),
    ENTRY(Image, image),
};

}  // namespace

extern "C" {

// Runs a kernel by its name. Returns null, or a description of the error; `counts` gets the work of
// the launch.
const char* drivewam_emulate(const char* name, const void* params, uint32_t params_bytes, const emulator::Launch* launch, emulator::Counts* counts) {
    for (const Entry& entry : ENTRIES) {
        if (std::strcmp(entry.name, name) != 0) continue;
        if (entry.params_bytes != params_bytes) return "parameters of another size than the kernel's";
        emulator::counts = {};
        const char* refused = emulator::run(entry.body, params, params_bytes, *launch);
        *counts = emulator::counts;
        return refused;
    }
    return "no kernel of this name";
}
}
