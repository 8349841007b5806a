// What the sanitizer's parts share: hooks.cpp tells sanitizer.cpp of accesses, finding.cpp puts into words what is wrong with them.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "launch.h"

namespace emulator::sanitizer {

enum How : uint8_t { PLAIN = 0, ATOMIC = 1, IN_FLIGHT = 2 };

// An access of an instrumented kernel, asked for at `code`: launches that may not do it are refused.
void access(const void* at, size_t bytes, bool reads, bool writes, uint8_t how, const void* code);
// The same of what must lie at a multiple of its size.
void access_aligned(const void* at, size_t bytes, bool reads, bool writes, uint8_t how, const void* code);

// A block of the launch, and when it began.
struct Block {
    uint32_t time;
    unsigned x, y;
};

struct Done {
    const char* verb;
    const void* at;
    size_t bytes;
    unsigned thread;
    Block block;
    uint32_t code;  // in bytes from the library's beginning
};

// Sentences, each good until the thread's next one. `memory` is where the access could have been meant to lie.
const char* of_place(const Done& access, const char* wanted, const std::vector<Memory>& memory);
const char* of_unwritten(const Done& access, const void* first, const std::vector<Memory>& memory);
const char* of_race(const Done& access, const Done& other, const char* wanted, const std::vector<Memory>& memory);

// Where the library of the kernels begins, and whether these bytes are constants of it.
const void* library_base();
bool is_constant_of_library(const void* at, size_t bytes);

}  // namespace emulator::sanitizer
