// Shapes, addresses and the work of an engine, in stream order. Only fake.cpp includes this.
#pragma once
#include <dlfcn.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <mutex>
#include <set>

#include "fake.h"
#include "plan.h"

namespace {

// The number in FAKE_TENSORRT_<NAME>.
long setting(char const* name, long otherwise) {
    char const* text = std::getenv((std::string("FAKE_TENSORRT_") + name).c_str());
    return text ? std::strtol(text, nullptr, 10) : otherwise;
}

[[noreturn]] void die(std::string const& text) {
    std::fprintf(stderr, "fake: %s\n", text.c_str());
    std::abort();
}

std::atomic<int> alive{0}, compiled{0};
std::atomic<long> enqueues{0};

// Counts live objects, in all and of one owner.
class Alive {
public:
    explicit Alive(std::atomic<int>* siblings = nullptr) : siblings_(siblings) { count(1); }
    ~Alive() { count(-1); }
    Alive(Alive const&) = delete;

private:
    void count(int by) {
        alive += by;
        if (siblings_) *siblings_ += by;
    }
    std::atomic<int>* siblings_;
};

// The sink for messages. A runtime passes it to its engines, and they to their contexts.
class Reports {
public:
    explicit Reports(ILogger* logger) : logger_(logger) {}
    Reports(Reports const& of) : logger_(of.logger_) { set(of.recorder_); }
    ~Reports() { set(nullptr); }

    void set(IErrorRecorder* recorder) {
        if (recorder) recorder->incRefCount();
        if (recorder_) recorder_->decRefCount();
        recorder_ = recorder;
    }
    void log(ILogger::Severity severity, std::string const& text) const { logger_->log(severity, text.c_str()); }
    bool fail(ErrorCode code, std::string const& text) const {
        log(ILogger::Severity::kERROR, text);
        if (recorder_) recorder_->reportError(code, text.substr(0, IErrorRecorder::kMAX_DESC_LENGTH).c_str());
        return false;
    }

private:
    ILogger* logger_;
    IErrorRecorder* recorder_ = nullptr;
};

std::mutex guard;  // guards the executor and all caches
struct {
    void* user;
    int (*run)(void*, char const*, fake_tensor const*, int);
} executor;

// One enqueued pass.
struct Work {
    std::shared_ptr<Plan const> plan;  // owns the names
    std::shared_ptr<std::atomic<bool>> context;
    std::vector<fake_tensor> tensors;
    void* scratch;
    int64_t scratch_bytes;

    void fill_outputs(int with) const {
        for (fake_tensor const& tensor : tensors) {
            int64_t bytes = 1;
            for (Type const& type : TYPES)
                if (tensor.dtype == static_cast<int>(type.type)) bytes = type.bytes;
            for (int i = 0; i < tensor.rank; ++i) bytes *= tensor.dims[i];
            if (!tensor.is_input) std::memset(tensor.address, with, static_cast<size_t>(bytes));
        }
    }

    bool run() const {
        if (!*context) die("work of " + plan->name + " is done after its context was freed");
        if (scratch) std::memset(scratch, 0xa5, static_cast<size_t>(scratch_bytes));
        guard.lock();
        auto const now = executor;
        guard.unlock();
        bool const done = !now.run || now.run(now.user, plan->name.c_str(), tensors.data(), static_cast<int>(tensors.size()));
        if (!now.run) fill_outputs(0);
        if (!done || setting("NAN", 0)) fill_outputs(0xff);
        return done;
    }
};

void run_later(void* work) {
    if (!static_cast<Work*>(work)->run()) std::fprintf(stderr, "fake: the work of %s failed\n", static_cast<Work*>(work)->plan->name.c_str());
}
void release(void* work) { delete static_cast<Work*>(work); }

// A function of the driver library, or null.
template <class Function>
Function* of_driver(char const* name) {
    void* found = dlsym(RTLD_DEFAULT, name);
    void* library = found ? nullptr : dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
    if (library) found = dlsym(library, name), dlclose(library);
    return reinterpret_cast<Function*>(found);
}

// The shapes that kernels were compiled for.
typedef std::set<std::string> Shapes;

class Context final : public IExecutionContext, public fake::AnyContext {
public:
    // With a `cache`, kernels are compiled for every new shape, as in TensorRT-RTX.
    Context(std::shared_ptr<Plan const> plan, Reports const& reports, std::atomic<int>* siblings, bool owns_scratch, bool streams_weights, bool is_lazy,
            std::shared_ptr<Shapes> cache)
        : plan_(std::move(plan)), reports_(reports), alive_(siblings), owns_scratch_(owns_scratch), can_capture_(!streams_weights && !is_lazy),
          cache_(std::move(cache)), bound_(plan_->tensors.size()) {
        mImpl = this;
        if (is_lazy) reports_.log(ILogger::Severity::kWARNING, "lazy compilation of kernels or memory that the library owns: enqueues cannot be captured");
        bool dynamic = false;
        for (Tensor const& tensor : plan_->tensors) dynamic |= tensor.is_input && tensor.is_dynamic();
        set_profile(dynamic ? -1 : 0);
    }
    ~Context() noexcept override { *lives_ = false; }

    bool setOptimizationProfileAsync(int32_t profile, cudaStream_t) noexcept override {
        if (profile < 0 || profile >= std::max<int32_t>(1, static_cast<int32_t>(plan_->profiles.size())))
            return reports_.fail(ErrorCode::kINVALID_ARGUMENT, "no optimization profile " + std::to_string(profile));
        return set_profile(profile), true;
    }

    bool setInputShape(char const* name, Dims const& dims) noexcept override {
        Tensor const* tensor = plan_->find(name);
        auto const wrong = [&](char const* what) {
            return reports_.fail(ErrorCode::kINVALID_ARGUMENT, std::string("setInputShape: ") + (name ? name : "") + ": " + what);
        };
        if (!tensor || !tensor->is_input) return wrong("no such input");
        if (profile_ < 0) return wrong("no optimization profile is set");
        if (dims.nbDims != tensor->dims.nbDims) return wrong("the rank differs");
        for (int i = 0; i < dims.nbDims; ++i) {
            if (tensor->dims.d[i] != -1 && dims.d[i] != tensor->dims.d[i]) return wrong("a fixed axis differs");
            if (!tensor->is_dynamic()) continue;
            Range const& range = plan_->profiles[profile_].at(tensor->name);
            if (dims.d[i] < range.at[0].d[i] || dims.d[i] > range.at[2].d[i]) return wrong("out of the range of the profile");
        }
        return of(*tensor).dims = dims, true;
    }

    Dims getTensorShape(char const* name) const noexcept override {
        Tensor const* tensor = plan_->find(name);
        if (!tensor) return Dims{-1, {}};
        Dims dims = of(*tensor).dims;
        for (int i = 0; i < dims.nbDims && !tensor->is_input; ++i)
            if (dims.d[i] == -1) dims.d[i] = length(tensor->letter());
        return dims;
    }

    bool setTensorAddress(char const* name, void* address) noexcept override {
        Tensor const* tensor = plan_->find(name);
        if (!tensor) return reports_.fail(ErrorCode::kINVALID_ARGUMENT, std::string("no tensor ") + (name ? name : ""));
        if (!tensor->on_host && !is_aligned(address)) return reports_.fail(ErrorCode::kINVALID_ARGUMENT, tensor->name + " is not aligned to 256 bytes");
        return of(*tensor).address = address, true;
    }
    bool setInputTensorAddress(char const* name, void const* address) noexcept override {
        Tensor const* tensor = plan_->find(name);
        if (!tensor || !tensor->is_input) return reports_.fail(ErrorCode::kINVALID_ARGUMENT, std::string("no input ") + (name ? name : ""));
        return setTensorAddress(name, const_cast<void*>(address));
    }

    int32_t inferShapes(int32_t most, char const** names) noexcept override {
        int32_t missing = 0;
        if (most < 0 || (most > 0 && !names)) return reports_.fail(ErrorCode::kINVALID_ARGUMENT, "inferShapes: no room for names"), -1;
        for (Tensor const& tensor : plan_->tensors)
            if (tensor.is_input && is_open(of(tensor).dims) && ++missing <= most) names[missing - 1] = tensor.name.c_str();
        if (missing > 0) return missing;
        for (char letter : {'N', 'S'})
            if (length(letter) == DIFFER) return reports_.fail(ErrorCode::kINVALID_ARGUMENT, std::string("the inputs differ in ") + letter), -1;
        return 0;
    }

    size_t updateDeviceMemorySizeForShapes() noexcept override {
        if (inferShapes(0, nullptr) != 0) return reports_.fail(ErrorCode::kINVALID_STATE, "updateDeviceMemorySizeForShapes: shapes are not set"), 0;
        return static_cast<size_t>(needed());
    }

    void setDeviceMemoryV2(void* memory, int64_t bytes) noexcept override {
        if (owns_scratch_) reports_.fail(ErrorCode::kINVALID_STATE, "setDeviceMemoryV2: the library allocates by itself");
        else if (reinterpret_cast<uintptr_t>(memory) % 512) reports_.fail(ErrorCode::kINVALID_ARGUMENT, "setDeviceMemoryV2: not aligned to 512 bytes, a GPU's texture alignment");
        else scratch_ = memory, scratch_bytes_ = bytes;
    }

    bool enqueueV3(cudaStream_t stream) noexcept override {
        auto const is_capturing = of_driver<fake_cuda_is_capturing_function>("fake_cuda_is_capturing");
        auto const wrong = [&](std::string const& what) { return reports_.fail(ErrorCode::kINVALID_STATE, "enqueueV3: " + what); };
        if (++enqueues == setting("FAIL_ENQUEUE", 0)) return reports_.fail(ErrorCode::kFAILED_EXECUTION, "enqueue failed: " + plan_->name);
        if (is_capturing && is_capturing(stream) && (setting("FAIL_CAPTURE", 0) || !can_capture())) return wrong("not in a capture: " + plan_->name);
        if (profile_ < 0) return wrong("no optimization profile is set");
        if (inferShapes(0, nullptr) != 0) return wrong("the shapes of inputs are not set, or do not fit one another");
        if (!owns_scratch_ && needed() > 0 && (!scratch_ || scratch_bytes_ < needed())) return wrong("scratch memory is missing or too small");
        std::unique_ptr<Work> work(new Work{plan_, lives_, {}, scratch_, owns_scratch_ ? 0 : needed()});
        for (Tensor const& tensor : plan_->tensors) {
            Dims const dims = getTensorShape(tensor.name.c_str());
            if (!of(tensor).address) return wrong("no address: " + tensor.name);
            if (is_open(dims)) return wrong("a length of an output is not known: " + tensor.name);
            work->tensors.push_back({tensor.name.c_str(), tensor.is_input, static_cast<int>(tensor.type), dims.nbDims, {}, of(tensor).address});
            std::copy(dims.d, dims.d + dims.nbDims, work->tensors.back().dims);
        }
        if (cache_) compile();
        auto const push = of_driver<fake_cuda_push_function>("fake_cuda_push");
        if (!push) return work->run() || wrong("the work of " + plan_->name + " failed");
        if (push(stream, run_later, work.get(), release) != 0) return wrong("the driver takes no work");
        return work.release(), true;
    }

    bool isStreamCapturable(cudaStream_t) const noexcept override { return can_capture(); }

private:
    enum : int64_t { OPEN = -1, DIFFER = -2 };
    struct Bound {
        Dims dims{};  // -1: not set yet
        void* address = nullptr;
    };

    Bound& of(Tensor const& tensor) { return bound_[static_cast<size_t>(&tensor - plan_->tensors.data())]; }
    Bound const& of(Tensor const& tensor) const { return bound_[static_cast<size_t>(&tensor - plan_->tensors.data())]; }
    static bool is_aligned(void const* address) { return reinterpret_cast<uintptr_t>(address) % 256 == 0; }
    static bool is_open(Dims const& dims) { return std::any_of(dims.d, dims.d + dims.nbDims, [](int64_t length) { return length < 0; }); }
    int64_t needed() const { return plan_->scratch + (setting("WRONG_SCRATCH", 0) ? 256 : 0); }
    bool can_capture() const { return can_capture_ && !setting("NOT_CAPTURABLE", 0); }

    // Resets the shapes.
    void set_profile(int32_t profile) {
        profile_ = profile;
        for (Tensor const& tensor : plan_->tensors) of(tensor).dims = tensor.dims;
    }

    // The length that the inputs' axes with one letter share.
    int64_t length(char letter) const {
        int64_t found = OPEN;
        for (Tensor const& tensor : plan_->tensors)
            for (int i = 0; i < tensor.dims.nbDims && tensor.is_input && tensor.letter() == letter; ++i) {
                if (tensor.dims.d[i] != -1) continue;
                int64_t const here = of(tensor).dims.d[i];
                if (here == OPEN) return OPEN;
                if (found != OPEN && found != here) return DIFFER;
                found = here;
            }
        return found;
    }

    void compile() {
        std::string shape = plan_->name;
        for (Tensor const& tensor : plan_->tensors)
            for (int i = 0; i < tensor.dims.nbDims && tensor.is_input; ++i) shape += (i ? "x" : " " + tensor.name + " ") + std::to_string(of(tensor).dims.d[i]);
        std::lock_guard<std::mutex> lock(guard);
        if (setting("COMPILES_ALWAYS", 0)) shape += ' ' + std::to_string(enqueues);
        compiled += cache_->insert(shape).second;
    }

    std::shared_ptr<Plan const> plan_;
    Reports reports_;
    Alive alive_;
    bool owns_scratch_, can_capture_;
    std::shared_ptr<Shapes> cache_;
    std::vector<Bound> bound_;  // one per tensor
    std::shared_ptr<std::atomic<bool>> lives_ = std::make_shared<std::atomic<bool>>(true);
    int32_t profile_ = -1;
    void* scratch_ = nullptr;
    int64_t scratch_bytes_ = 0;
};

}  // namespace
