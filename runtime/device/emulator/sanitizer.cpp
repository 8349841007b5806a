// Checks every access of an instrumented kernel against the guarantees of CUDA, as
// compute-sanitizer's memcheck, initcheck and racecheck do on a GPU.
//
// memcheck: an access lies in the thread's own stack, in the block's shared memory, or in one
// allocation or region of the launch; a read may also lie in the parameters or in constants of the
// library.
//
// initcheck: a block has written what it reads of shared memory. Device memory is zeroed by
// contract (Driver::allocate).
//
// racecheck: two accesses of the same byte by different threads, one of them a write, are a race
// unless a barrier of their block lies between them. Blocks of a launch are never ordered.
// Shuffles, ballots and products order nothing. Atomics do not race with one another, and a
// volatile read counts as one. A write of the value that another thread wrote in this launch is
// allowed while no thread reads it unordered. A copy in flight races with every access of its
// target, also by its own thread, and with every write to its source.
//
// All barriers are of whole blocks and blocks run one after the other, so time is one number, which
// grows with every barrier and every block.
#include "sanitizer.h"

#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include "checks.h"
#include "emulator.h"

namespace emulator::sanitizer {
namespace {

// An access of a word of four bytes, or of some of its bytes.
struct Access {
    uint32_t time;  // 0: none
    uint32_t code;  // bytes from the start of the library
    uint16_t thread;
    uint8_t bytes;  // a bit for each of the four
    uint8_t how;
};

// Two of each kind suffice: a later access that races with any earlier one also races with one of
// these (with exceptions where threads share a word by its bytes).
struct Word {
    Access writes[2], reads[2];
};

struct Place {
    Memory memory;
    Word* words;
};

bool lies_in(uintptr_t at, size_t bytes, const void* base, size_t len) {
    const uintptr_t into = at - reinterpret_cast<uintptr_t>(base);
    return into < len && bytes <= len - into;
}

// Calls `each` for every word of the `bytes` bytes at `into`: with its index, and with a bit for
// each of its bytes that is among them.
template <class F>
void words(size_t into, size_t bytes, F each) {
    for (const size_t end = into + bytes; into < end;) {
        const size_t first = into % 4, last = std::min<size_t>(4, first + end - into);
        each(into / 4, static_cast<uint8_t>((1u << last) - (1u << first)));
        into += last - first;
    }
}

// A write to a word that another thread wrote unordered. The check of the value follows after the
// write.
struct Rewrite {
    const unsigned char* at;
    unsigned char before[4];
    uint8_t bytes;
    Access me, other;
};

struct Checks {
    const unsigned char *stack = nullptr, *shared = nullptr, *params = nullptr;
    size_t stack_bytes = 0, shared_bytes = 0, params_bytes = 0;
    const uintptr_t library = reinterpret_cast<uintptr_t>(library_base());
    Bytes own[4];
    bool runs = false;  // whether a thread of a kernel runs
    uint16_t thread = 0;
    uint32_t now = 0, launch = 0, block = 0;  // times: now, start of the launch, start of the block
    std::vector<Word> of_shared, of_device;
    std::vector<std::pair<uint32_t, uint8_t>> written;  // block and bytes, per shared word
    std::vector<Place> places;                          // sorted by address
    size_t last = 0;                                    // index of the place found last
    std::vector<Block> blocks;
    Rewrite rewrites[16];
    size_t rewrite_count = 0;

    Access of(uint8_t how, const void* code) const {
        return {now, static_cast<uint32_t>(reinterpret_cast<uintptr_t>(code) - library), thread, 0, how};
    }

    // Whether nothing orders `earlier` before an access of this thread now. `since` is the time at
    // which the memory came into use.
    bool is_unordered(const Access& earlier, uint32_t since) const {
        if (earlier.time < since) return false;
        if (earlier.time < block || earlier.how & IN_FLIGHT) return true;
        return earlier.time == now && earlier.thread != thread;
    }

    bool races(const Access& earlier, const Access& me, uint32_t since) const {
        return earlier.bytes & me.bytes && !(earlier.how & me.how & ATOMIC) && is_unordered(earlier, since);
    }

    void record(Access (&of_word)[2], const Access& me, uint32_t since) const {
        for (Access& slot : of_word) {
            if (slot.time == me.time && slot.thread == me.thread) {
                const uint8_t how = (slot.how & me.how & ATOMIC) | ((slot.how | me.how) & IN_FLIGHT);
                slot = {me.time, me.code, me.thread, static_cast<uint8_t>(slot.bytes | me.bytes), how};
                return;
            }
            if (!is_unordered(slot, since)) {
                slot = me;
                return;
            }
        }
    }

    std::vector<Memory> memory() const {
        std::vector<Memory> all;
        for (const Place& place : places) all.push_back(place.memory);
        all.push_back({shared, shared_bytes, "shared memory"});
        return all;
    }

    AccessInfo info(const char* verb, const Access& access, const void* at, size_t bytes) const {
        const auto began_after = [](uint32_t time, const Block& block) { return time < block.time; };
        const Block& in = *std::prev(std::upper_bound(blocks.begin(), blocks.end(), access.time, began_after));
        return {access.how & IN_FLIGHT ? (*verb == 'w' ? "copy to there" : "copy from there") : verb, at, bytes, access.thread, in, access.code};
    }

    // Reports by word, whatever the size of the accesses.
    [[noreturn]] void race(const char* mine, const Access& me, const char* theirs, const Access& other, const void* at, size_t bytes) {
        rewrite_count = 0;
        const char* wanted = other.time < block ? "blocks that stay apart" : other.thread == me.thread ? "a wait for the copy between them" : "a barrier between them";
        refuse(of_race(info(mine, me, at, bytes), info(theirs, other, at, bytes), wanted, memory()));
    }

    // Checks the values of rewritten words: a byte that changed was a race.
    void check_rewrites() {
        for (size_t i = 0; i < rewrite_count; ++i) {
            const Rewrite one = rewrites[i];
            for (unsigned k = 0; k < 4; ++k) {
                if (one.bytes >> k & 1 && one.at[k] != one.before[k]) race("write of another value", one.me, "write", one.other, one.at + k, 1);
            }
        }
        rewrite_count = 0;
    }

    void note_rewrite(const unsigned char* at, const Access& me, const Access& other) {
        if (me.how != PLAIN || other.how != PLAIN || rewrite_count == std::size(rewrites)) race("write", me, "write", other, at, 4);
        Rewrite& one = rewrites[rewrite_count++];
        one = {at, {}, static_cast<uint8_t>(me.bytes & other.bytes), me, other};
        for (unsigned k = 0; k < 4; ++k) {
            if (one.bytes >> k & 1) one.before[k] = at[k];
        }
    }

    void touch(const unsigned char* at, Word& word, const Access& me, bool writes, uint32_t since) {
        for (const Access& other : word.writes) {
            if (!races(other, me, since)) continue;
            if (!writes) race("read", me, "write", other, at, 4);
            note_rewrite(at, me, other);
            break;
        }
        if (writes) {
            for (const Access& other : word.reads) {
                if (races(other, me, since)) race("write", me, "read", other, at, 4);
            }
        }
        record(writes ? word.writes : word.reads, me, since);
    }

    // The place that contains the whole access, or null.
    const Place* place_of(uintptr_t at, size_t bytes) {
        const auto holds = [&](const Place& place) { return lies_in(at, bytes, place.memory.base, place.memory.bytes); };
        if (last < places.size() && holds(places[last])) return &places[last];
        const auto begins_after = [](uintptr_t x, const Place& place) { return x < reinterpret_cast<uintptr_t>(place.memory.base); };
        const auto after = std::upper_bound(places.begin(), places.end(), at, begins_after);
        if (after == places.begin() || !holds(*std::prev(after))) return nullptr;
        last = static_cast<size_t>(std::prev(after) - places.begin());
        return &places[last];
    }

    void in_shared(size_t into, size_t bytes, Access me, bool reads, bool writes) {
        words(into, bytes, [&](size_t i, uint8_t of_word) {
            me.bytes = of_word;
            touch(shared + 4 * i, of_shared[i], me, writes, block);
            auto& [in_block, are_written] = written[i];
            if (in_block != block) are_written = 0;
            in_block = block;
            const unsigned missing = of_word & ~are_written;
            if (reads && missing) refuse(of_unwritten(info("read", me, shared + into, bytes), shared + 4 * i + __builtin_ctz(missing), memory()));
            if (me.how & IN_FLIGHT) {
                are_written &= static_cast<uint8_t>(~of_word);
            } else if (writes) {
                are_written |= of_word;
            }
        });
    }

    void access(const void* at, size_t bytes, bool reads, bool writes, uint8_t how, const void* code) {
        const auto address = reinterpret_cast<uintptr_t>(at);
        if (rewrite_count > 0) check_rewrites();
        for (const Bytes& one : own) {
            if (lies_in(address, bytes, one.base, one.bytes)) return;
        }
        Access me = of(how, code);
        if (lies_in(address, bytes, shared, shared_bytes)) return in_shared(address - reinterpret_cast<uintptr_t>(shared), bytes, me, reads, writes);
        if (const Place* place = place_of(address, bytes)) {
            const unsigned char* base = place->memory.base;
            words(address - reinterpret_cast<uintptr_t>(base), bytes, [&](size_t i, uint8_t of_word) {
                me.bytes = of_word;
                touch(base + 4 * i, place->words[i], me, writes, launch);
            });
            return;
        }
        const bool is_constant = lies_in(address, bytes, params, params_bytes) || is_constant_of_library(at, bytes);
        if (is_constant && !writes) return;
        const char* wanted = is_constant ? "no write to what is constant" : "an access within one of what the kernel was given";
        refuse(of_place(info(writes ? "write" : "read", me, at, bytes), wanted, memory()));
    }

    void begin_launch(const Launch& launched) {
        places.clear();
        for (uint64_t i = 0; i < launched.memories; ++i) places.push_back({launched.memory[i], nullptr});
        std::sort(places.begin(), places.end(), [](const Place& a, const Place& b) { return a.memory.base < b.memory.base; });
        const auto len = [](const Place& place) { return (place.memory.bytes + 3) / 4; };
        size_t all = 0;
        for (const Place& place : places) all += len(place);
        if (of_device.size() < all) of_device.resize(all);
        Word* next = of_device.data();
        for (Place& place : places) {
            place.words = next;
            next += len(place);
        }
        last = 0;
        blocks.clear();
        if (now > UINT32_MAX / 2) {  // restart time, without any access of before
            now = 0;
            of_device.assign(of_device.size(), {});
            of_shared.clear();
            written.clear();
        }
        launch = ++now;
    }
};

// A plain pointer: C++ would check at every access whether `made` is initialised.
thread_local Checks made;
__thread Checks* checks = nullptr;

bool is_of_stack(const void* at, size_t bytes) {
    return !checks || !checks->runs || lies_in(reinterpret_cast<uintptr_t>(at), bytes, checks->stack, checks->stack_bytes);
}

}  // namespace

void access(const void* at, size_t bytes, bool reads, bool writes, uint8_t how, const void* code) {
    if (!is_of_stack(at, bytes)) checks->access(at, bytes, reads, writes, how, code);
}

void access_aligned(const void* at, size_t bytes, bool reads, bool writes, uint8_t how, const void* code) {
    if (is_of_stack(at, bytes)) return;
    if (reinterpret_cast<uintptr_t>(at) % bytes) {
        const Access me = checks->of(how, code);
        refuse(of_place(checks->info(writes ? "write" : "read", me, at, bytes), "an address that is a multiple of the size", checks->memory()));
    }
    checks->access(at, bytes, reads, writes, how, code);
}

void begin_launch(const Launch& launch, Bytes params, const Bytes (&own)[4]) {
    checks = &made;
    std::copy(std::begin(own), std::end(own), checks->own);
    checks->params = static_cast<const unsigned char*>(params.base);
    checks->params_bytes = params.bytes;
    checks->begin_launch(launch);
}

void begin_block(unsigned x, unsigned y, Bytes shared) {
    checks->shared = static_cast<const unsigned char*>(shared.base);
    checks->shared_bytes = shared.bytes;
    checks->of_shared.resize((shared.bytes + 3) / 4);
    checks->written.resize(checks->of_shared.size());
    checks->block = ++checks->now;
    checks->blocks.push_back({checks->now, x, y});
}

void resume(unsigned thread, Bytes stack) {
    checks->thread = static_cast<uint16_t>(thread);
    checks->stack = static_cast<const unsigned char*>(stack.base);
    checks->stack_bytes = stack.bytes;
    checks->runs = true;
}

void suspend() {
    checks->check_rewrites();
    checks->runs = false;
}

void barrier() { ++checks->now; }

void read(const void* at, size_t bytes) { access(at, bytes, true, false, PLAIN, __builtin_return_address(0)); }

void write(void* at, size_t bytes) { access(at, bytes, false, true, PLAIN, __builtin_return_address(0)); }

void atomic(void* at, size_t bytes, const void* code) { access(at, bytes, true, true, ATOMIC, code); }

void begin_copy(void* to, const void* from, const void* code) {
    const Access me = checks->of(IN_FLIGHT, code);
    const auto refused = [&](const char* verb, const void* at) {
        refuse(of_place(checks->info(verb, me, at, 16), "a copy from device memory into shared memory", checks->memory()));
    };
    if (!lies_in(reinterpret_cast<uintptr_t>(to), 16, checks->shared, checks->shared_bytes)) refused("write", to);
    if (!checks->place_of(reinterpret_cast<uintptr_t>(from), 16)) refused("read", from);
    checks->access(from, 16, true, false, IN_FLIGHT, code);
    checks->access(to, 16, false, true, IN_FLIGHT, code);
}

void end_copy(void* to, const void* from) {
    const auto land = [](Access (&of_word)[2]) {
        for (Access& slot : of_word) {
            if (!(slot.how & IN_FLIGHT) || slot.thread != checks->thread || slot.time < checks->block) continue;
            slot.how &= static_cast<uint8_t>(~IN_FLIGHT);
            slot.time = checks->now;
        }
    };
    words(reinterpret_cast<uintptr_t>(to) - reinterpret_cast<uintptr_t>(checks->shared), 16, [&](size_t i, uint8_t) {
        land(checks->of_shared[i].writes);
        checks->written[i].second = 0xf;
    });
    // `begin_copy` checked the source.
    const Place& place = *checks->place_of(reinterpret_cast<uintptr_t>(from), 16);
    words(reinterpret_cast<uintptr_t>(from) - reinterpret_cast<uintptr_t>(place.memory.base), 16, [&](size_t i, uint8_t) { land(place.words[i].reads); });
}

}  // namespace emulator::sanitizer
