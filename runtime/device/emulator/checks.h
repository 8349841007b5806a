// Shared by the parts of the sanitizer: hooks.cpp reports accesses to sanitizer.cpp, and
// finding.cpp describes errors.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "launch.h"

namespace emulator::sanitizer {

enum How : uint8_t { PLAIN = 0, ATOMIC = 1, IN_FLIGHT = 2 };

// An access of an instrumented kernel from the instruction at `code`. An invalid one ends the
// launch.
void access(const void* at, size_t bytes, bool reads, bool writes, uint8_t how, const void* code);
// The same for an access whose address must be a multiple of its size.
void access_aligned(const void* at, size_t bytes, bool reads, bool writes, uint8_t how, const void* code);

// A block of the launch, and the time at which it began.
struct Block {
    uint32_t time;
    unsigned x, y;
};

struct AccessInfo {
    const char* verb;
    const void* at;
    size_t bytes;
    unsigned thread;
    Block block;
    uint32_t code;  // bytes from the start of the library
};

// Descriptions of an error, each valid until the thread's next one. `memory` lists the memory that
// the access may have been meant for.
const char* of_place(const AccessInfo& access, const char* wanted, const std::vector<Memory>& memory);
const char* of_unwritten(const AccessInfo& access, const void* first, const std::vector<Memory>& memory);
const char* of_race(const AccessInfo& access, const AccessInfo& other, const char* wanted, const std::vector<Memory>& memory);

// The start of the kernels' library, and whether these bytes are constants of it.
const void* library_base();
bool is_constant_of_library(const void* at, size_t bytes);

}  // namespace emulator::sanitizer
