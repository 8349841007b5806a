// Runs a launch: fibers with their own stacks, barriers, and exchanges between the lanes of a warp.
// See emulator.h.
#include "emulator.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <utility>
#include <vector>

#include "launch.h"

// Our own stack switch is many times faster than ucontext, which calls the operating system each
// time. Other architectures use ucontext.
#if defined(__x86_64__) && !defined(EMULATOR_UCONTEXT)
#define OWN_SWITCH
#else
#include <ucontext.h>
#endif

namespace emulator {
namespace {

constexpr size_t STACK = 64 * 1024;
constexpr unsigned WARP = 32;
constexpr size_t PAYLOAD = 32;
constexpr size_t SHARED_BYTES = 99 * 1024;  // a block may request so much on every architecture
constexpr size_t GUARD = 64 * 1024;         // behind a block's shared memory, to detect writes

#if defined(OWN_SWITCH)
// Saves the callee-saved registers, switches stacks, and returns on the other one.
extern "C" void drivewam_switch(void** save, void* load);
asm(R"(
.text
.globl drivewam_switch
.type drivewam_switch, @function
drivewam_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size drivewam_switch, .-drivewam_switch
)");
#endif

struct Fiber {
    Thread place{};
    std::unique_ptr<unsigned char[]> stack{new unsigned char[STACK]};
#if defined(OWN_SWITCH)
    void* at = nullptr;
#else
    ucontext_t at{};
#endif
    uint64_t exchanges = 0;
    // An asynchronous copy that the fiber has not waited for.
    struct Copy {
        void* to;
        const void* from;
        uint64_t group;
        bool is_late;  // not copied yet
    };
    std::vector<Copy> copies;
    uint64_t groups = 0;  // number of committed groups
    bool ended = false;
};

struct Warp {
    unsigned char payload[2][WARP * PAYLOAD];
    unsigned arrived[2];
    unsigned size[2];
};

struct Block {
    std::vector<Fiber> fibers;
    std::vector<Warp> warps;
    std::vector<std::vector<unsigned>> ready;  // fibers of each warp that can run
    std::vector<unsigned> order;               // order of the warps
    std::vector<unsigned> at_barrier;
    bool counts = false;       // whether the present barrier counts
    unsigned counted = 0, result = 0;
    std::vector<unsigned char> memory;
#if defined(OWN_SWITCH)
    void* scheduler = nullptr;
#else
    ucontext_t scheduler{};
#endif
    unsigned running = 0;
    unsigned alive = 0;
    uint64_t random = 0;
    Body body = nullptr;
    const void* params = nullptr;
    const char* refused = nullptr;
};

// A plain pointer: C++ would check at every access whether `made` is initialised.
thread_local Block made;
__thread Block* block = nullptr;

// xorshift64*.
unsigned draw(unsigned below) {
    block->random ^= block->random >> 12;
    block->random ^= block->random << 25;
    block->random ^= block->random >> 27;
    return static_cast<unsigned>((block->random * 0x2545f4914f6cdd1dull) >> 33) % below;
}

// Draws the fiber that runs next; false when all wait. In about half of the blocks (`skewed`) one
// warp runs as far as it can before the next one does, which separates warps that no barrier keeps
// together. In the others the warps alternate at random. The lanes of a warp always alternate at
// random.
bool next(bool skewed, unsigned* which) {
    const unsigned warps = static_cast<unsigned>(block->ready.size()), from = skewed ? 0 : draw(warps);
    for (unsigned i = 0; i < warps; ++i) {
        std::vector<unsigned>& lanes = block->ready[block->order[(from + i) % warps]];
        if (lanes.empty()) continue;
        const unsigned pick = draw(static_cast<unsigned>(lanes.size()));
        *which = lanes[pick];
        lanes[pick] = lanes.back();
        lanes.pop_back();
        return true;
    }
    return false;
}

void to_scheduler() {
    sanitizer::suspend();
    Fiber& fiber = block->fibers[block->running];
#if defined(OWN_SWITCH)
    drivewam_switch(&fiber.at, block->scheduler);
#else
    swapcontext(&fiber.at, &block->scheduler);
#endif
}

void enter() {
    block->body(block->params);
    Fiber& fiber = block->fibers[block->running];
    fiber.ended = true;
    --block->alive;
    to_scheduler();
    std::abort();  // an ended fiber is never run again
}

void prepare(Fiber& fiber) {
#if defined(OWN_SWITCH)
    // The stack as after a call of `enter`: 16-byte aligned before the return address, then six
    // registers.
    auto* top = reinterpret_cast<uintptr_t*>((reinterpret_cast<uintptr_t>(fiber.stack.get()) + STACK) & ~uintptr_t{15});
    *--top = 0;
    *--top = reinterpret_cast<uintptr_t>(&enter);
    for (int i = 0; i < 6; ++i) *--top = 0;
    fiber.at = top;
#else
    getcontext(&fiber.at);
    fiber.at.uc_stack.ss_sp = fiber.stack.get();
    fiber.at.uc_stack.ss_size = STACK;
    fiber.at.uc_link = nullptr;
    makecontext(&fiber.at, &enter, 0);
#endif
    fiber.exchanges = 0;
    fiber.copies.clear();
    fiber.groups = 0;
    fiber.ended = false;
}

void resume(unsigned which) {
    block->running = which;
    self = &block->fibers[which].place;
    sanitizer::resume(which, {block->fibers[which].stack.get(), STACK});
#if defined(OWN_SWITCH)
    drivewam_switch(&block->scheduler, block->fibers[which].at);
#else
    swapcontext(&block->scheduler, &block->fibers[which].at);
#endif
}

}  // namespace

__thread Thread* self = nullptr;
__thread Counts counts = {};

unsigned char* shared() { return block->memory.data(); }

unsigned lane() { return block->running % WARP; }

void refuse(const char* what) {
    block->refused = what;
    to_scheduler();
    std::abort();
}

namespace {
void arrive(bool counts, bool x) {
    if (block->at_barrier.empty()) {
        block->counts = counts;
        block->counted = 0;
    }
    if (block->counts != counts) refuse("threads at different barriers");
    block->counted += x;
    block->at_barrier.push_back(block->running);
    if (block->at_barrier.size() == block->fibers.size()) {
        for (const unsigned fiber : block->at_barrier) block->ready[fiber / WARP].push_back(fiber);
        block->at_barrier.clear();
        block->result = block->counted;
        sanitizer::barrier();
    }
    to_scheduler();
}
}  // namespace

void barrier() { arrive(false, false); }

unsigned barrier_count(bool x) {
    arrive(true, x);
    return block->result;  // the next barrier ends after all threads have read it
}

const unsigned char* exchange(unsigned mask, const void* mine, unsigned size) {
    if (mask != 0xffffffffu) refuse("a shuffle of a part of a warp");
    if (size > PAYLOAD) refuse("a shuffle of too large a value");
    Fiber& fiber = block->fibers[block->running];
    Warp& warp = block->warps[block->running / WARP];
    // Two rounds of payloads: a lane that is one exchange ahead must not overwrite what a slower
    // lane still reads.
    const unsigned round = fiber.exchanges++ % 2, me = lane();
    if (warp.arrived[round] == 0xffffffffu) warp.arrived[round] = 0;
    if (warp.arrived[round] == 0) warp.size[round] = size;
    if (warp.size[round] != size) refuse("lanes of a warp at different shuffles");
    std::memcpy(warp.payload[round] + me * size, mine, size);
    warp.arrived[round] |= 1u << me;
    if (warp.arrived[round] == 0xffffffffu) {
        const unsigned first = block->running / WARP * WARP;
        for (unsigned i = 0; i < WARP; ++i) block->ready[first / WARP].push_back(first + i);
    }
    to_scheduler();
    return warp.payload[round];
}

float of_bfloat(uint16_t bits) { return __uint_as_float(static_cast<uint32_t>(bits) << 16); }

float of_half(uint16_t bits) {
    const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16, exponent = bits >> 10 & 0x1fu, fraction = bits & 0x3ffu;
    if (exponent == 0) return (sign ? -1.0f : 1.0f) * std::ldexp(static_cast<float>(fraction), -24);
    if (exponent == 31) return __uint_as_float(sign | 0x7f800000u | fraction << 13);
    return __uint_as_float(sign | (exponent + 112) << 23 | fraction << 13);
}

uint16_t to_half(float x) {
    const uint16_t sign = static_cast<uint16_t>(__float_as_uint(x) >> 16 & 0x8000u);
    const float size = std::fabs(x);
    if (std::isnan(x)) return 0x7fffu;
    if (size >= 65520.0f) return sign | 0x7c00u;
    // Below the smallest normal number steps are 2^-24. Above it a power of two has 1024 steps, and
    // a carry gives the first step of the next one.
    if (size < 6.103515625e-5f) return sign | static_cast<uint16_t>(std::nearbyint(std::ldexp(size, 24)));
    int exponent;
    const float steps = std::nearbyint(std::ldexp(std::frexp(size, &exponent), 11));
    return sign | static_cast<uint16_t>(((exponent + 14) << 10) + static_cast<int>(steps) - 1024);
}

// Fragments as in the PTX ISA: lane 4g + t holds a(g, 2t..), a(g + 8, 2t..), a(g, 2t + 8..), a(g +
// 8, 2t + 8..), b(2t.., g), b(2t + 8.., g), and of c the elements (g, 2t..) and (g + 8, 2t..).
void mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], float (*to_float)(uint16_t)) {
    struct Fragments {
        uint32_t a[4], b[2];
    } mine = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
    static_assert(sizeof(Fragments) <= PAYLOAD);
    Fragments all[WARP];
    std::memcpy(all, exchange(0xffffffffu, &mine, sizeof mine), sizeof all);
    const unsigned g = lane() / 4, t = lane() % 4;
    for (unsigned half = 0; half < 2; ++half) {
        for (unsigned s = 0; s < 4; ++s) {
            for (unsigned high = 0; high < 2; ++high) {
                const uint32_t left = all[4 * g + s].a[half + 2 * high];
                for (unsigned n = 0; n < 2; ++n) {
                    const uint32_t right = all[4 * (2 * t + n) + s].b[high];
                    c[2 * half + n] += to_float(left & 0xffffu) * to_float(right & 0xffffu) + to_float(left >> 16) * to_float(right >> 16);
                }
            }
        }
    }
    counts.flops += 2 * 16 * 8 * 16 / WARP;
}

const char* run(Body body, const void* params, uint32_t params_bytes, const Launch& launch) {
    const unsigned threads = launch.threads;
    if (threads == 0 || threads % WARP || threads > 1024) return "a block that is not a whole number of warps, or has more than 1024 threads";
    if (launch.shared_bytes > SHARED_BYTES) return "more shared memory than a block may request";
    block = &made;
    block->fibers.resize(threads);
    block->warps.resize(threads / WARP);
    block->memory.resize(launch.shared_bytes + GUARD);
    block->body = body;
    block->params = params;
    block->random = launch.seed | 1;
    block->refused = nullptr;
    sanitizer::begin_launch(launch, {params, params_bytes},
                            {{block->fibers.data(), threads * sizeof(Fiber)},
                             {&self, sizeof self},
                             {&counts, sizeof counts},
                             {block->warps.data(), block->warps.size() * sizeof(Warp)}});
    for (unsigned y = 0; y < launch.blocks[1]; ++y) {
        for (unsigned x = 0; x < launch.blocks[0]; ++x) {
            std::memset(block->memory.data(), 0xff, block->memory.size());
            sanitizer::begin_block(x, y, {block->memory.data(), launch.shared_bytes});
            std::memset(block->warps.data(), 0, block->warps.size() * sizeof(Warp));
            block->ready.assign(threads / WARP, {});
            block->order.resize(threads / WARP);
            for (unsigned i = 0; i < block->order.size(); ++i) {
                block->order[i] = i;
                std::swap(block->order[i], block->order[draw(i + 1)]);
            }
            block->at_barrier.clear();
            block->alive = threads;
            for (unsigned i = 0; i < threads; ++i) {
                Fiber& fiber = block->fibers[i];
                fiber.place = {{i, 0, 0}, {x, y, 0}, {threads, 1, 1}, {launch.blocks[0], launch.blocks[1], 1}};
                prepare(fiber);
                block->ready[i / WARP].push_back(i);
            }
            const bool skewed = draw(2) == 0;
            for (unsigned which; next(skewed, &which);) {
                resume(which);
                if (block->refused) return block->refused;
            }
            const auto guard = block->memory.begin() + launch.shared_bytes;
            if (std::any_of(guard, block->memory.end(), [](unsigned char x) { return x != 0xff; })) return "a write past the block's shared memory";
            if (block->alive > 0) return "a barrier or a shuffle that not all threads reach";
        }
    }
    return nullptr;
}

}  // namespace emulator

// Plain code is atomic here: fibers switch at barriers and shuffles alone.
uint32_t atomicCAS(uint32_t* at, uint32_t expected, uint32_t value) {
    emulator::sanitizer::atomic(at, sizeof *at, __builtin_return_address(0));
    const uint32_t was = *at;
    if (was == expected) *at = value;
    return was;
}

void copy_16(void* shared, const void* from) {
    if (reinterpret_cast<uintptr_t>(from) % 16 || reinterpret_cast<uintptr_t>(shared) % 16) emulator::refuse("a 16-byte copy that is not aligned");
    emulator::counts.bytes_read += 16;
    emulator::sanitizer::begin_copy(shared, from, __builtin_return_address(0));
    const bool is_late = emulator::draw(2) == 0;
    if (!is_late) std::memcpy(shared, from, 16);
    auto& fiber = emulator::block->fibers[emulator::block->running];
    fiber.copies.push_back({shared, from, fiber.groups, is_late});
}

void commit_copies() { ++emulator::block->fibers[emulator::block->running].groups; }

void wait_copies(unsigned n) {
    auto& fiber = emulator::block->fibers[emulator::block->running];
    if (n > 4) emulator::refuse("a wait for all but more than four groups");
    auto& copies = fiber.copies;
    size_t left = 0;
    for (const auto& copy : copies) {
        if (copy.group + n < fiber.groups) {
            if (copy.is_late) std::memcpy(copy.to, copy.from, 16);
            emulator::sanitizer::end_copy(copy.to, copy.from);
        } else {
            copies[left++] = copy;
        }
    }
    copies.resize(left);
}
