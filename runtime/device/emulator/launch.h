// The parameters of a launch. The Rust side is src/cuda/emulator.rs.
#pragma once
#include <cstdint>

namespace emulator {

// A kernel, called once for every thread with the address of its parameters.
typedef void (*Body)(const void* params);

// An allocation of the driver, or a region of its arena.
struct Memory {
    const unsigned char* base;
    uint64_t bytes;
    const char* region;  // its name, or null
};

struct Launch {
    uint32_t blocks[2];
    uint32_t threads;
    uint32_t shared_bytes;
    uint64_t seed;  // of the order in which threads run
    // All memory that the kernel may access. Only sanitizer.cpp uses it.
    const Memory* memory;
    uint64_t memories;
};

// Null, or a description of the launch's error, valid until the thread's next launch.
const char* run(Body body, const void* params, uint32_t params_bytes, const Launch& launch);

}  // namespace emulator
