// The functions that compilers call in code instrumented for ThreadSanitizer, whose library is not
// linked.
//
// Reads and writes of 1 to 16 bytes, of ranges (GCC), and of blocks of memory (Clang); volatile
// accesses by functions of their own, where a compiler flag requests it. Atomic accesses are
// missing on purpose: a kernel's atomics are functions of the emulator, and a kernel that uses
// others does not link.
#include <cstring>

#include "checks.h"

using emulator::sanitizer::access;
using emulator::sanitizer::access_aligned;
using emulator::sanitizer::ATOMIC;
using emulator::sanitizer::PLAIN;

#define CODE __builtin_return_address(0)
#define HOOKS(n)                                                                                 \
    void __tsan_read##n(void* at) { access_aligned(at, n, true, false, PLAIN, CODE); }            \
    void __tsan_write##n(void* at) { access_aligned(at, n, false, true, PLAIN, CODE); }           \
    void __tsan_unaligned_read##n(void* at) { access(at, n, true, false, PLAIN, CODE); }          \
    void __tsan_unaligned_write##n(void* at) { access(at, n, false, true, PLAIN, CODE); }         \
    void __tsan_volatile_read##n(void* at) { access_aligned(at, n, true, false, ATOMIC, CODE); }  \
    void __tsan_volatile_write##n(void* at) { access_aligned(at, n, false, true, ATOMIC, CODE); }

extern "C" {

HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)

void __tsan_read_range(void* at, size_t bytes) { access(at, bytes, true, false, PLAIN, CODE); }
void __tsan_write_range(void* at, size_t bytes) { access(at, bytes, false, true, PLAIN, CODE); }

void* __tsan_memcpy(void* to, const void* from, size_t bytes) {
    access(from, bytes, true, false, PLAIN, CODE);
    access(to, bytes, false, true, PLAIN, CODE);
    return std::memcpy(to, from, bytes);
}

void* __tsan_memmove(void* to, const void* from, size_t bytes) {
    access(from, bytes, true, false, PLAIN, CODE);
    access(to, bytes, false, true, PLAIN, CODE);
    return std::memmove(to, from, bytes);
}

void* __tsan_memset(void* to, int value, size_t bytes) {
    access(to, bytes, false, true, PLAIN, CODE);
    return std::memset(to, value, bytes);
}

void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
}
