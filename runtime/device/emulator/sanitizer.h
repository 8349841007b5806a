// What the emulator tells the checks of sanitizer.cpp. In the plain emulator, which has none, all of it is nothing.
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

// A launch begins. `own` is the emulator's own memory, which its inline functions touch in a kernel's name.
void begin_launch(const Launch& launch, Bytes params, const Bytes (&own)[4]);
void begin_block(unsigned x, unsigned y, Bytes shared);
// A thread goes on, on its stack; and stops.
void resume(unsigned thread, Bytes stack);
void suspend();
// All threads of the block are here: what they did before is ordered before what they do from here on.
void barrier();

// Accesses that the compiler does not see as such; `code` is where a kernel asked for them.
void read(const void* at, size_t bytes);
void write(void* at, size_t bytes);
void atomic(void* at, size_t bytes, const void* code);
// 16 bytes set out for shared memory; and are there, for this thread.
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
