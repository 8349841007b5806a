// A fake TensorRT that needs no GPU, for tests: the functions that ../runtime.cpp calls, behind the
// vendor's headers. Compiled once for each set of headers.
//
// A plan is a text (see `read_plan`), and the test defines the work of an engine (see fake.h). The
// fake is as strict as the comments of the headers: it reports an address that is not aligned to
// 256 bytes, a shape outside of its profile, too little scratch memory, and freeing in the wrong
// order. It overwrites scratch memory after every pass, so that data kept there is lost.
// Environment variables FAKE_TENSORRT_<NAME> choose what fails:
//
//   VERSION=100200     the version that the library reports and checks plans against
//   WARN=1             reading a plan logs a warning
//   NO_RUNTIME=1       the library makes no runtime
//   NO_CONTEXT=1       an engine makes no execution context
//   FAIL_ENQUEUE=n     the n-th enqueue of the process fails
//   FAIL_CAPTURE=1     every enqueue in a capture fails
//   NOT_CAPTURABLE=1   contexts report that they cannot be captured
//   WRONG_SCRATCH=1    shapes need more scratch memory than the engine reports
//   COMPILES_ALWAYS=1  every enqueue compiles kernels anew (TensorRT-RTX)
//   NAN=1              outputs are NaN
//   NOT_FOR_THIS_GPU=1 the header check refuses every plan (TensorRT-RTX)
#include "context.h"

#define RTX (NV_TENSORRT_MAJOR < 10)

namespace {

int version() { return static_cast<int>(setting("VERSION", NV_TENSORRT_VERSION)); }
std::string in_words(int of) { return std::to_string(of / 10000) + '.' + std::to_string(of / 100 % 100) + '.' + std::to_string(of % 100); }

class Inspector final : public IEngineInspector, public fake::AnyInspector {
public:
    Inspector(std::shared_ptr<Plan const> plan, std::atomic<int>* siblings) : plan_(std::move(plan)), alive_(siblings) { mImpl = this; }
    char const* getEngineInformation(LayerInformationFormat) const noexcept override { return plan_->has_layers ? plan_->layers.c_str() : nullptr; }

private:
    std::shared_ptr<Plan const> plan_;
    Alive alive_;
};

#if RTX
class Memory final : public IHostMemory, public fake::AnyMemory {
public:
    explicit Memory(std::string text) : text_(std::move(text)) { mImpl = this; }
    void* data() const noexcept override { return const_cast<char*>(text_.data()); }
    std::size_t size() const noexcept override { return text_.size(); }

private:
    std::string text_;
    Alive alive_;
};

// Serialised: "fake cache <n shapes>", then a line for each shape.
class Cache final : public IRuntimeCache, public apiv::VRuntimeCache {
public:
    Cache() { mImpl = this; }
    std::shared_ptr<Shapes> shapes() const { return shapes_; }

    IHostMemory* serialize() const noexcept override {
        std::lock_guard<std::mutex> lock(guard);
        std::string text = "fake cache " + std::to_string(shapes_->size()) + '\n';
        for (std::string const& shape : *shapes_) text += shape + '\n';
        return new Memory(text);
    }
    bool deserialize(void const* blob, size_t bytes) noexcept override {
        std::istringstream lines(std::string(static_cast<char const*>(blob), blob ? bytes : 0));
        std::string fake, cache, line;
        size_t count = 0;
        Shapes found;
        if (!(lines >> fake >> cache >> count) || fake != "fake" || cache != "cache") return false;
        std::getline(lines, line);
        while (std::getline(lines, line)) found.insert(line);
        if (found.size() != count) return false;
        std::lock_guard<std::mutex> lock(guard);
        return shapes_->swap(found), true;
    }
    bool reset() noexcept override {
        std::lock_guard<std::mutex> lock(guard);
        return shapes_->clear(), true;
    }

private:
    std::shared_ptr<Shapes> shapes_ = std::make_shared<Shapes>();
    Alive alive_;
};

class Config final : public IRuntimeConfig, public fake::AnyConfig {
public:
    explicit Config(std::atomic<int>* siblings) : alive_(siblings) { mImpl = this; }
    void setExecutionContextAllocationStrategy(ExecutionContextAllocationStrategy strategy) noexcept override { allocation = strategy; }
    void setDynamicShapesKernelSpecializationStrategy(DynamicShapesKernelSpecializationStrategy strategy) noexcept override { specialization = strategy; }
    IRuntimeCache* createRuntimeCache() const noexcept override { return new Cache; }
    bool setRuntimeCache(IRuntimeCache const& of) noexcept override { return cache = static_cast<Cache const&>(of).shapes(), true; }

    ExecutionContextAllocationStrategy allocation = ExecutionContextAllocationStrategy::kSTATIC;
    DynamicShapesKernelSpecializationStrategy specialization = DynamicShapesKernelSpecializationStrategy::kLAZY;
    std::shared_ptr<Shapes> cache = std::make_shared<Shapes>();

private:
    Alive alive_;
};
#endif

class Engine final : public ICudaEngine, public fake::AnyEngine {
public:
    Engine(std::shared_ptr<Plan const> plan, Reports const& reports, std::atomic<int>* siblings)
        : plan_(std::move(plan)), reports_(reports), alive_(siblings), budget_(plan_->weights) {
        mImpl = this;
    }
    ~Engine() noexcept override {
        if (contexts_ + others_ > 0) die("the engine " + plan_->name + " is freed before what is made from it");
    }

    int32_t getNbIOTensors() const noexcept override { return static_cast<int32_t>(plan_->tensors.size()); }
    char const* getIOTensorName(int32_t i) const noexcept override { return i < 0 || i >= getNbIOTensors() ? nullptr : plan_->tensors[i].name.c_str(); }
    TensorIOMode getTensorIOMode(char const* name) const noexcept override {
        Tensor const* tensor = plan_->find(name);
        return !tensor ? TensorIOMode::kNONE : tensor->is_input ? TensorIOMode::kINPUT : TensorIOMode::kOUTPUT;
    }
    TensorLocation getTensorLocation(char const* name) const noexcept override {
        Tensor const* tensor = plan_->find(name);
        return tensor && tensor->on_host ? TensorLocation::kHOST : TensorLocation::kDEVICE;
    }
    DataType getTensorDataType(char const* name) const noexcept override {
        Tensor const* tensor = plan_->find(name);
        return tensor ? tensor->type : DataType::kFLOAT;
    }
    Dims getTensorShape(char const* name) const noexcept override {
        Tensor const* tensor = plan_->find(name);
        return tensor ? tensor->dims : Dims{-1, {}};
    }

    int32_t getNbOptimizationProfiles() const noexcept override { return std::max<int32_t>(1, static_cast<int32_t>(plan_->profiles.size())); }
    Dims getProfileShape(char const* name, int32_t profile, OptProfileSelector which) const noexcept override {
        Tensor const* tensor = plan_->find(name);
        if (!tensor || !tensor->is_input || profile < 0 || profile >= getNbOptimizationProfiles()) return Dims{-1, {}};
        return tensor->is_dynamic() ? plan_->profiles[profile].at(name).at[static_cast<int32_t>(which)] : tensor->dims;
    }
    int64_t getDeviceMemorySizeForProfileV2(int32_t profile) const noexcept override {
        return profile < 0 || profile >= getNbOptimizationProfiles() ? 0 : plan_->scratch;
    }

    int64_t getStreamableWeightsSize() const noexcept override { return plan_->weights; }
    bool setWeightStreamingBudgetV2(int64_t bytes) noexcept override {
        if (bytes < 0 || plan_->weights == 0) return reports_.fail(ErrorCode::kINVALID_ARGUMENT, "the weights of " + plan_->name + " cannot be streamed so");
        if (contexts_ > 0) return reports_.fail(ErrorCode::kINVALID_STATE, "the weights of " + plan_->name + " are in use");
        return budget_ = std::min(bytes, plan_->weights), true;
    }

    IEngineInspector* createEngineInspector() const noexcept override { return new Inspector(plan_, &others_); }
    IExecutionContext* createExecutionContext(ExecutionContextAllocationStrategy strategy) noexcept override {
        return context(strategy, RTX, RTX ? std::make_shared<Shapes>() : nullptr);
    }
#if RTX
    IRuntimeConfig* createRuntimeConfig() noexcept override { return new Config(&others_); }
    IExecutionContext* createExecutionContextWithRuntimeConfig(IRuntimeConfig* with) noexcept override {
        if (!with) return reports_.fail(ErrorCode::kINVALID_ARGUMENT, "no configuration"), nullptr;
        Config const& config = *static_cast<Config*>(with);
        bool const is_eager = config.specialization == DynamicShapesKernelSpecializationStrategy::kEAGER;
        return context(config.allocation, !is_eager || config.allocation != ExecutionContextAllocationStrategy::kUSER_MANAGED, config.cache);
    }
#endif

private:
    IExecutionContext* context(ExecutionContextAllocationStrategy strategy, bool is_lazy, std::shared_ptr<Shapes> cache) {
        if (setting("NO_CONTEXT", 0)) return reports_.fail(ErrorCode::kFAILED_ALLOCATION, "no memory for a context of " + plan_->name), nullptr;
        bool const owns_scratch = strategy != ExecutionContextAllocationStrategy::kUSER_MANAGED;
        return new Context(plan_, reports_, &contexts_, owns_scratch, budget_ < plan_->weights, is_lazy, std::move(cache));
    }

    std::shared_ptr<Plan const> plan_;
    Reports reports_;
    Alive alive_;
    std::atomic<int> contexts_{0};
    mutable std::atomic<int> others_{0};
    int64_t budget_;
};

class Runtime final : public IRuntime, public fake::AnyRuntime {
public:
    explicit Runtime(ILogger* logger) : reports_(logger) { mImpl = this; }
    ~Runtime() noexcept override {
        if (engines_ > 0) die("a runtime is freed before its engines");
    }
    void setErrorRecorder(IErrorRecorder* recorder) noexcept override { reports_.set(recorder); }

#if RTX
    EngineValidity getEngineValidity(void const* blob, int64_t bytes, uint64_t* diagnostics) const noexcept override {
        static char const head[] = "fake plan";
        bool const ours = blob && bytes >= 64 && std::memcmp(blob, head, sizeof head - 1) == 0;
        *diagnostics = !ours ? 1u << 5 : setting("NOT_FOR_THIS_GPU", 0) ? 1u << 1 : 0;
        return *diagnostics ? EngineValidity::kINVALID : EngineValidity::kVALID;
    }
#endif

    UNEXPECTED(ICudaEngine*, deserializeCudaEngine, (IStreamReader&))
    ICudaEngine* deserializeCudaEngine(void const* blob, std::size_t bytes) noexcept override {
        if (setting("WARN", 0)) reports_.log(ILogger::Severity::kWARNING, "using a plan across different models of devices is not recommended");
        try {
            refuse_if(!blob || bytes == 0, "it is empty");
            auto const plan = std::make_shared<Plan const>(read_plan(std::string(static_cast<char const*>(blob), bytes)));
            std::string const ours = in_words(version());
            refuse_if(plan->version != ours, "the library's version is " + ours + " and the plan's " + plan->version + ", please rebuild");
            reports_.log(ILogger::Severity::kINFO, "Loaded engine size: " + std::to_string(bytes) + " bytes");
            return new Engine(plan, reports_, &engines_);
        } catch (std::exception const& error) {
            return reports_.fail(ErrorCode::kINVALID_ARGUMENT, std::string("deserializeCudaEngine: ") + error.what()), nullptr;
        }
    }

private:
    Reports reports_;
    Alive alive_;
    std::atomic<int> engines_{0};
};

}  // namespace

extern "C" {

int32_t getInferLibVersion() noexcept { return version(); }
int32_t getInferLibMajorVersion() noexcept { return version() / 10000; }
int32_t getInferLibMinorVersion() noexcept { return version() / 100 % 100; }
int32_t getInferLibPatchVersion() noexcept { return version() % 100; }
int32_t getInferLibBuildVersion() noexcept { return NV_TENSORRT_BUILD; }

void* createInferRuntime_INTERNAL(void* logger, int32_t headers) noexcept {
    if (!logger) return nullptr;
    auto* const to = static_cast<ILogger*>(logger);
    if (setting("NO_RUNTIME", 0)) return to->log(ILogger::Severity::kERROR, "CUDA initialization failure with error: 35"), nullptr;
    if (headers / 10000 != version() / 10000) return to->log(ILogger::Severity::kERROR, "the headers are of another major version"), nullptr;
    return static_cast<IRuntime*>(new Runtime(to));
}

void fake_tensorrt_set_executor(void* user, int (*run)(void*, const char*, const fake_tensor*, int)) {
    std::lock_guard<std::mutex> lock(guard);
    executor = {user, run};
}
int fake_tensorrt_alive() { return alive; }
int fake_tensorrt_compiled() { return compiled; }
}
