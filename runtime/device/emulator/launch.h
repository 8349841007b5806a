// How a launch is asked for; the Rust side is src/cuda/emulator.rs.
#pragma once
#include <cstdint>

namespace emulator {

// A kernel, called once for every thread with the address of its parameters.
typedef void (*Body)(const void* params);

// An allocation of the driver's, or a region of its arena.
struct Memory {
    const unsigned char* base;
    uint64_t bytes;
    const char* region;  // its name, or null
};

struct Launch {
    uint32_t blocks[2];
    uint32_t threads;
    uint32_t shared_bytes;
    uint64_t seed;  // of the order in which threads go on
    // All that the kernel may touch. sanitizer.cpp alone asks.
    const Memory* memory;
    uint64_t memories;
};

// Null, or what the launch did wrong: good until the thread's next launch.
const char* run(Body body, const void* params, uint32_t params_bytes, const Launch& launch);

}  // namespace emulator
