// State of the simulated machine of libcuda.cpp: streams, memory, graphs, and the error of the
// context. Only libcuda.cpp includes this.
#pragma once
#include <cstdlib>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace {

enum : int { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_BINARY = 209, ILLEGAL_ADDRESS = 700, LAUNCH_FAILED = 719, CAPTURE_UNSUPPORTED = 900 };

// The number in the environment variable FAKE_CUDA_<NAME>.
unsigned long long setting(const char* name, unsigned long long otherwise) {
    const char* text = std::getenv((std::string("FAKE_CUDA_") + name).c_str());
    return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

typedef std::function<int()> Work;

struct Graph {
    std::vector<Work> work;
};

struct Stream {
    std::vector<Work> queue;
    Graph* capture = nullptr;  // receives the work during a capture
    int priority = 0;
};

struct Memory {
    size_t bytes;
    Stream* user = nullptr;  // the stream whose work uses it
};

struct Machine {
    std::recursive_mutex guard;
    std::set<Stream*> streams;
    std::map<char*, Memory> memory;   // allocations of the device
    std::map<void*, Stream*> pinned;  // with the stream whose copies use it
    std::set<void*> graphs;
    size_t used = 0;
    unsigned long long launches = 0, seed = 1;
    int sticky = SUCCESS;             // after a fault every call returns it
    int retained = 0;
    std::map<std::string, unsigned> shared;  // dynamic shared memory that each kernel may use
};

Machine machine;

struct Inside {
    std::lock_guard<std::recursive_mutex> lock{machine.guard};
};

Stream* of(void* stream) { return static_cast<Stream*>(stream); }

bool at_rest() {
    for (Stream* stream : machine.streams)
        if (!stream->queue.empty()) return false;
    return true;
}

bool captures() {
    for (Stream* stream : machine.streams)
        if (stream->capture) return true;
    return false;
}

// The address as a pointer if `bytes` from there lie in one allocation, else null.
char* on_device(unsigned long long address, size_t bytes) {
    char* at = reinterpret_cast<char*>(address);
    auto after = machine.memory.upper_bound(at);
    if (after == machine.memory.begin()) return nullptr;
    --after;
    return at + bytes <= after->first + after->second.bytes ? at : nullptr;
}

int push(void* stream, Work work) {
    if (machine.sticky) return machine.sticky;
    if (!machine.streams.count(of(stream))) return INVALID_VALUE;
    (of(stream)->capture ? of(stream)->capture->work : of(stream)->queue).push_back(std::move(work));
    return SUCCESS;
}

int finish(Stream* stream) {
    if (stream->capture) return CAPTURE_UNSUPPORTED;
    std::vector<Work> queue;
    queue.swap(stream->queue);
    for (const Work& work : queue) {
        if (machine.sticky) break;
        machine.sticky = work();
    }
    return machine.sticky;
}

}  // namespace
