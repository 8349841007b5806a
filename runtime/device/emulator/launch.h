// How a launch is asked for; the Rust side is src/cuda/emulator.rs.
#pragma once
#include <cstdint>

namespace emulator {

// A kernel, called once for every thread with the address of its parameters.
typedef void (*Body)(const void* params);

struct Launch {
    uint32_t blocks[2];
    uint32_t threads;
    uint32_t shared_bytes;
    uint64_t seed;  // of the order in which threads go on
};

// Null, or what the launch did wrong.
const char* run(Body body, const void* params, const Launch& launch);

}  // namespace emulator
