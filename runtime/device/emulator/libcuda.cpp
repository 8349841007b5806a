// A fake of the driver library, for tests without a GPU: the functions that ../src/cuda/nvidia
// calls, on top of the emulator.
//
// A stream is a queue, and its work runs only when a caller waits for this stream. So a host fails
// that reuses memory too early, reads before it waits, waits for another stream, or releases what
// is still in use. A lock admits one thread at a time. Environment variables describe the machine
// and its faults (see `setting`).
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "emulator.h"
#include "launch.h"
#include "machine.h"

extern "C" const char* drivewam_emulate(const char*, const void*, uint32_t, const emulator::Launch*, emulator::Counts*);

namespace {

// Runs a launch.
int run(const std::string& kernel, const std::vector<char>& params, const emulator::Launch& launch) {
    if (++machine.launches == setting("FAIL_LAUNCH", 0)) return ILLEGAL_ADDRESS;
    emulator::Launch seeded = launch;
    seeded.seed = machine.seed = machine.seed * 0x5851f42d4c957f2dull + 1;
    emulator::Counts counts;
    const char* refused = drivewam_emulate(kernel.c_str(), params.data(), static_cast<uint32_t>(params.size()), &seeded, &counts);
    if (refused) std::fprintf(stderr, "%s: %s\n", kernel.c_str(), refused);
    return refused ? LAUNCH_FAILED : SUCCESS;
}

// Sizes of the kernels' parameters, which a real driver reads from the cubin.
const std::map<std::string, size_t> PARAMS = {{"solver", 248}, {"fill", 24}, {"image", 96}};

}  // namespace

extern "C" {

int cuInit(unsigned) { return SUCCESS; }
int cuDriverGetVersion(int* version) { return *version = static_cast<int>(setting("VERSION", 13000)), SUCCESS; }
int cuDeviceGetCount(int* count) { return *count = static_cast<int>(setting("COUNT", 1)), SUCCESS; }
int cuDeviceGet(int* device, int ordinal) { return *device = ordinal, SUCCESS; }
int cuDeviceGetName(char* name, int len, int) { return std::snprintf(name, len, "no GPU, a test"), SUCCESS; }

int cuDeviceGetAttribute(int* value, int attribute, int) {
    Inside lock;
    const int capability = static_cast<int>(setting("CAPABILITY", 90));
    // Shared memory of a block, compute capability, multiprocessors, texture alignment.
    *value = attribute == 97 ? 99 * 1024 : attribute == 75 ? capability / 10 : attribute == 76 ? capability % 10 : attribute == 16 ? static_cast<int>(setting("MULTIPROCESSORS", 2)) : attribute == 14 ? 512 : 0;
    return SUCCESS;
}

int cuDevicePrimaryCtxRetain(void** context, int) {
    Inside lock;
    return *context = &machine, ++machine.retained, SUCCESS;
}

int cuDevicePrimaryCtxRelease_v2(int) {
    Inside lock;
    // An error if the context still owns something: a release in the wrong order.
    const bool last = --machine.retained == 0;
    const bool clean = !last || (machine.memory.empty() && machine.pinned.empty() && machine.graphs.empty() && at_rest());
    return machine.sticky || (clean && !setting("FAIL_RELEASE", 0)) ? machine.sticky : INVALID_VALUE;
}

int cuCtxSetCurrent(void*) {
    Inside lock;
    return machine.retained > 0 ? SUCCESS : INVALID_VALUE;
}
int cuCtxGetStreamPriorityRange(int* low, int* high) { return *low = 0, *high = -5, SUCCESS; }

int cuStreamCreateWithPriority(void** stream, unsigned, int priority) {
    Inside lock;
    Stream* made = new Stream;
    made->priority = priority;
    return machine.streams.insert(made), *stream = made, SUCCESS;
}

int cuStreamSynchronize(void* stream) {
    Inside lock;
    return finish(of(stream));
}

int cuCtxSynchronize() {
    Inside lock;
    for (Stream* stream : machine.streams)
        if (const int failed = finish(stream)) return failed;
    return machine.sticky;
}

int cuStreamDestroy_v2(void* stream) {
    Inside lock;
    if (!machine.streams.erase(of(stream))) return INVALID_VALUE;
    const bool clean = of(stream)->queue.empty();
    delete of(stream);
    return clean ? machine.sticky : INVALID_VALUE;
}

int cuModuleLoadData(void** module, const void* image) {
    Inside lock;
    if (!std::strstr(static_cast<const char*>(image), "kernels")) return NO_BINARY;
    return *module = &machine, SUCCESS;
}

// Sets the dynamic shared memory of a kernel, up to the limit of the machine.
int cuFuncSetAttribute(void* function, int attribute, int value) {
    Inside lock;
    if (attribute != 8 || value > 99 * 1024) return INVALID_VALUE;
    return machine.shared[*static_cast<std::string*>(function)] = static_cast<unsigned>(value), SUCCESS;
}

int cuModuleUnload(void*) {
    Inside lock;
    return machine.sticky;
}

int cuModuleGetFunction(void** function, void*, const char* name) {
    Inside lock;
    static std::set<std::string> names;
    *function = const_cast<std::string*>(&*names.insert(name).first);
    return SUCCESS;
}

int cuMemGetInfo_v2(size_t* free, size_t* total) {
    Inside lock;
    *total = setting("MEMORY", 1ull << 30);
    *free = *total - machine.used;
    return machine.sticky;
}

int cuMemAlloc_v2(unsigned long long* address, size_t bytes) {
    Inside lock;
    if (captures()) return CAPTURE_UNSUPPORTED;
    char* at = static_cast<char*>(std::aligned_alloc(256, (bytes + 255) / 256 * 256));
    std::memset(at, 0xa5, bytes);  // not zero: the driver does not promise zeros
    machine.memory[at] = {bytes};
    machine.used += bytes;
    *address = reinterpret_cast<unsigned long long>(at);
    return machine.sticky;
}

int cuMemFree_v2(unsigned long long address) {
    Inside lock;
    auto found = machine.memory.find(reinterpret_cast<char*>(address));
    if (found == machine.memory.end() || (found->second.user && !found->second.user->queue.empty())) return INVALID_VALUE;
    machine.used -= found->second.bytes;
    std::free(found->first);
    machine.memory.erase(found);
    return machine.sticky;
}

int cuMemHostAlloc(void** at, size_t bytes, unsigned) {
    Inside lock;
    *at = std::aligned_alloc(256, bytes);
    std::memset(*at, 0xa5, bytes);
    machine.pinned[*at] = nullptr;
    return SUCCESS;
}

int cuMemFreeHost(void* at) {
    Inside lock;
    const auto found = machine.pinned.find(at);
    if (found == machine.pinned.end() || (found->second && !found->second->queue.empty())) return INVALID_VALUE;
    machine.pinned.erase(found);
    std::free(at);
    return machine.sticky;
}

int cuMemsetD8Async(unsigned long long to, unsigned char value, size_t bytes, void* stream) {
    Inside lock;
    char* at = on_device(to, bytes);
    if (!at) return INVALID_VALUE;
    if (machine.memory.count(at)) machine.memory[at].user = of(stream);
    return push(stream, [=] { return std::memset(at, value, bytes), SUCCESS; });
}

static void used_by(const void* pinned, void* stream) {
    auto after = machine.pinned.upper_bound(const_cast<void*>(pinned));
    if (after != machine.pinned.begin()) (--after)->second = of(stream);
}

int cuMemcpyHtoDAsync_v2(unsigned long long to, const void* from, size_t bytes, void* stream) {
    Inside lock;
    char* at = on_device(to, bytes);
    if (!at || of(stream)->capture) return at ? CAPTURE_UNSUPPORTED : INVALID_VALUE;
    used_by(from, stream);
    return push(stream, [=] { return std::memcpy(at, from, bytes), SUCCESS; });
}

int cuMemcpyDtoHAsync_v2(void* to, unsigned long long from, size_t bytes, void* stream) {
    Inside lock;
    char* at = on_device(from, bytes);
    if (!at || of(stream)->capture) return at ? CAPTURE_UNSUPPORTED : INVALID_VALUE;
    used_by(to, stream);
    return push(stream, [=] { return std::memcpy(to, at, bytes), SUCCESS; });
}

// CUDA_MEMCPY2D.
struct Copy2D {
    struct Side {
        size_t x, y;
        int kind;
        void* host;
        unsigned long long device;
        void* array;
        size_t pitch;
    } from, to;
    size_t width, height;
};

int cuMemcpy2DAsync_v2(const Copy2D* copy, void* stream) {
    Inside lock;
    const auto place = [&](const Copy2D::Side& side) {
        const bool plain = side.x == 0 && side.y == 0 && side.kind == 2 && side.pitch >= copy->width && copy->width && copy->height;
        return plain ? on_device(side.device, (copy->height - 1) * side.pitch + copy->width) : nullptr;
    };
    char *from = place(copy->from), *to = place(copy->to);
    if (!from || !to) return INVALID_VALUE;
    const Copy2D kept = *copy;
    return push(stream, [=] {
        for (size_t row = 0; row < kept.height; ++row) std::memcpy(to + row * kept.to.pitch, from + row * kept.from.pitch, kept.width);
        return SUCCESS;
    });
}

int cuLaunchKernel(void* function, unsigned x, unsigned y, unsigned, unsigned threads, unsigned, unsigned, unsigned shared, void* stream, void** params,
                   void**) {
    Inside lock;
    const std::string kernel = *static_cast<std::string*>(function);
    if (x == 0 || y == 0 || x > 0x7fffffff || y > 65535 || threads > 1024) return INVALID_VALUE;
    const auto asked = machine.shared.find(kernel);
    if (shared > (asked == machine.shared.end() ? 48u * 1024 : asked->second)) return INVALID_VALUE;
    // The launch bounds of these kernels.
    if ((kernel.rfind("score", 0) == 0 || kernel.rfind("decide", 0) == 0) && threads > 384) return INVALID_VALUE;
    if (!params[0]) return INVALID_VALUE;
    const auto known = PARAMS.find(kernel);
    const size_t bytes = known == PARAMS.end() ? 2352 : known->second;
    const char* first = static_cast<const char*>(params[0]);
    // Copied now, as a driver does: the caller's may be gone when the work runs.
    const std::vector<char> copy(first, first + bytes);
    const emulator::Launch launch = {{x, y}, threads, shared, 0, nullptr, 0};
    return push(stream, [=] { return run(kernel, copy, launch); });
}

int cuEventCreate(void** event, unsigned) {
    Inside lock;
    return machine.pinned[*event = std::malloc(1)] = nullptr, SUCCESS;
}
int cuEventRecord(void*, void* stream) {
    Inside lock;
    return of(stream)->capture ? CAPTURE_UNSUPPORTED : machine.sticky;
}
int cuEventElapsedTime(float* milliseconds, void*, void*) { return *milliseconds = 0.5f, at_rest() ? SUCCESS : INVALID_VALUE; }
int cuEventDestroy_v2(void* event) {
    Inside lock;
    return std::free(event), machine.pinned.erase(event) ? SUCCESS : INVALID_VALUE;
}

int cuStreamBeginCapture_v2(void* stream, int) {
    Inside lock;
    if (of(stream)->capture) return CAPTURE_UNSUPPORTED;
    of(stream)->capture = new Graph;
    return SUCCESS;
}

int cuStreamEndCapture(void* stream, void** graph) {
    Inside lock;
    if (!of(stream)->capture) return INVALID_VALUE;
    machine.graphs.insert(*graph = of(stream)->capture);
    of(stream)->capture = nullptr;
    return SUCCESS;
}

int cuGraphInstantiateWithFlags(void** exec, void* graph, unsigned long long) {
    Inside lock;
    machine.graphs.insert(*exec = new Graph(*static_cast<Graph*>(graph)));
    return SUCCESS;
}

int cuGraphUpload(void*, void*) { return SUCCESS; }

int cuGraphLaunch(void* exec, void* stream) {
    Inside lock;
    for (const Work& work : static_cast<Graph*>(exec)->work) push(stream, work);
    return machine.sticky;
}

int cuGraphGetNodes(void* graph, void** nodes, size_t* count) {
    Inside lock;
    const size_t all = static_cast<Graph*>(graph)->work.size();
    for (size_t i = 0; nodes && i < *count && i < all; ++i) nodes[i] = &static_cast<Graph*>(graph)->work[i];
    return *count = all, SUCCESS;
}

int cuGraphNodeGetType(void*, unsigned* kind) { return *kind = static_cast<unsigned>(setting("NODE_KIND", 0)), SUCCESS; }

int cuGraphDestroy(void* graph) {
    Inside lock;
    if (!machine.graphs.erase(graph)) return INVALID_VALUE;
    return delete static_cast<Graph*>(graph), SUCCESS;
}

// For the fake of TensorRT (../../engine/tensorrt/fake), whose passes run on the same streams and
// in the same graphs.
int fake_cuda_push(void* stream, void (*work)(void*), void* user, void (*release)(void*)) {
    Inside lock;
    if (machine.sticky) return machine.sticky;  // takes nothing over
    const std::shared_ptr<void> owned(user, release);
    return push(stream, [=] { return work(owned.get()), SUCCESS; });
}

int fake_cuda_is_capturing(void* stream) {
    Inside lock;
    return of(stream)->capture != nullptr;
}

// For tests: the number of streams with and without a raised priority.
static int fake_cuda_streams(bool is_first) {
    int found = 0;
    for (const Stream* stream : machine.streams) found += (stream->priority < 0) == is_first;
    return found;
}
int fake_cuda_first_streams() { return fake_cuda_streams(true); }
int fake_cuda_other_streams() { return fake_cuda_streams(false); }

int cuGraphExecDestroy(void* exec) {
    Inside lock;
    return cuGraphDestroy(exec);
}

int cuGetErrorName(int code, const char** text) {
    Inside lock;
    *text = code == ILLEGAL_ADDRESS ? "CUDA_ERROR_ILLEGAL_ADDRESS" : code == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR";
    return SUCCESS;
}

int cuGetErrorString(int code, const char** text) {
    Inside lock;
    static thread_local char words[32];
    std::snprintf(words, sizeof words, "code %d", code);
    return *text = words, SUCCESS;
}
}
