// Reports of the emulator to the checks of sanitizer.cpp. In the plain emulator they do nothing.
#pragma once
#include <cstddef>
#include <cstdint>

#include "launch.h"

namespace emulator::sanitizer {

struct Bytes {
    const void* base;
    size_t bytes;
};

#if defined(EMULATOR_SANITIZER)

// A launch begins. `own` is memory of the emulator, which its inline functions access in a kernel.
void begin_launch(const Launch& launch, Bytes params, const Bytes (&own)[4]);
void begin_block(unsigned x, unsigned y, Bytes shared);
// A thread resumes on its stack, and is suspended.
void resume(unsigned thread, Bytes stack);
void suspend();
// All threads of the block are at a barrier, which orders their earlier accesses before their later
// ones.
void barrier();

// Accesses that the compiler does not instrument; `code` is the address of the kernel's call.
void read(const void* at, size_t bytes);
void write(void* at, size_t bytes);
void atomic(void* at, size_t bytes, const void* code);
// An asynchronous copy of 16 bytes to shared memory begins, and is complete for this thread.
void begin_copy(void* to, const void* from, const void* code);
void end_copy(void* to, const void* from);

#else

inline void begin_launch(const Launch&, Bytes, const Bytes (&)[4]) {}
inline void begin_block(unsigned, unsigned, Bytes) {}
inline void resume(unsigned, Bytes) {}
inline void suspend() {}
inline void barrier() {}
inline void read(const void*, size_t) {}
inline void write(void*, size_t) {}
inline void atomic(void*, size_t, const void*) {}
inline void begin_copy(void*, const void*, const void*) {}
inline void end_copy(void*, const void*) {}

#endif

}  // namespace emulator::sanitizer
