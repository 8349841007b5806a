// Runtime, engine and context, and the table of all functions.
#include "common.h"

using namespace nvinfer1;

namespace shim {
namespace SHIM {
namespace {

struct Runtime {
    explicit Runtime(drivewam_log log) : recorder(log) {}
    ~Runtime() { delete runtime; }
    Recorder recorder;
    IRuntime* runtime = nullptr;
};

struct Context {
    ~Context() {
        delete context;
#if SHIM_RTX
        delete cache;
        delete config;
#endif
    }
    IExecutionContext* context = nullptr;
#if SHIM_RTX
    IRuntimeConfig* config = nullptr;
    IRuntimeCache* cache = nullptr;
#endif
};

ICudaEngine* engine_of(void* engine) { return static_cast<ICudaEngine*>(engine); }
IExecutionContext* context_of(void* context) { return static_cast<Context*>(context)->context; }

void* logger(drivewam_log log) { return new (std::nothrow) Logger(log); }

void* runtime(void* create, void* logger, int32_t host_code) {
    auto* const to = static_cast<Logger*>(logger);
    auto* made = new (std::nothrow) Runtime(to->sink());
    if (!made) return nullptr;
    auto call = reinterpret_cast<void* (*)(void*, int32_t) noexcept>(create);
    made->runtime = static_cast<IRuntime*>(call(static_cast<ILogger*>(to), NV_TENSORRT_VERSION));
    if (!made->runtime) return delete made, nullptr;
    made->runtime->setErrorRecorder(&made->recorder);
    if (host_code) made->runtime->setEngineHostCodeAllowed(true);
    return made;
}

void runtime_free(void* runtime) { delete static_cast<Runtime*>(runtime); }

int32_t header(void* runtime, void const* plan, size_t bytes, uint64_t* diagnostics) {
#if SHIM_RTX
    return static_cast<int32_t>(static_cast<Runtime*>(runtime)->runtime->getEngineValidity(plan, static_cast<int64_t>(bytes), diagnostics));
#else
    (void)runtime, (void)plan, (void)bytes, (void)diagnostics;
    return -1;
#endif
}

void* engine(void* runtime, void const* plan, size_t bytes) { return static_cast<Runtime*>(runtime)->runtime->deserializeCudaEngine(plan, bytes); }
void engine_free(void* engine) { delete engine_of(engine); }
int32_t tensor_count(void* engine) { return engine_of(engine)->getNbIOTensors(); }

int32_t tensor(void* engine, int32_t index, drivewam_tensor* out) {
    ICudaEngine* of = engine_of(engine);
    char const* name = of->getIOTensorName(index);
    if (!name) return 0;
    out->name = name;
    out->is_input = of->getTensorIOMode(name) == TensorIOMode::kINPUT;
    out->on_device = of->getTensorLocation(name) == TensorLocation::kDEVICE;
    out->dtype = static_cast<int32_t>(of->getTensorDataType(name));
    return from_dims(of->getTensorShape(name), &out->dims);
}

int32_t profile_count(void* engine) { return engine_of(engine)->getNbOptimizationProfiles(); }

int32_t profile_shape(void* engine, int32_t profile, char const* tensor, int32_t which, drivewam_dims* out) {
    OptProfileSelector const selectors[] = {OptProfileSelector::kMIN, OptProfileSelector::kOPT, OptProfileSelector::kMAX};
    if (which < 0 || which > 2) return 0;
    return from_dims(engine_of(engine)->getProfileShape(tensor, profile, selectors[which]), out);
}

int64_t scratch_bytes(void* engine, int32_t profile) { return engine_of(engine)->getDeviceMemorySizeForProfileV2(profile); }
int64_t streamable_bytes(void* engine) { return engine_of(engine)->getStreamableWeightsSize(); }
int32_t set_weight_budget(void* engine, int64_t bytes) { return engine_of(engine)->setWeightStreamingBudgetV2(bytes); }

int32_t information(void* engine, drivewam_sink json) {
    IEngineInspector* inspector = engine_of(engine)->createEngineInspector();
    if (!inspector) return 0;
    char const* text = inspector->getEngineInformation(LayerInformationFormat::kJSON);
    size_t bytes = 0;
    while (text && text[bytes]) ++bytes;
    if (text) give(json, text, bytes);
    delete inspector;
    return text != nullptr;
}

void* context(void* engine, void const* cache, size_t cache_bytes) {
    auto* made = new (std::nothrow) Context;
    if (!made) return nullptr;
#if SHIM_RTX
    made->config = engine_of(engine)->createRuntimeConfig();
    made->cache = made->config ? made->config->createRuntimeCache() : nullptr;
    if (!made->cache) return delete made, nullptr;
    // The cache of another driver or board is useless but not a fault: all kernels are compiled
    // anew.
    if (cache_bytes > 0 && !made->cache->deserialize(cache, cache_bytes)) made->cache->reset();
    made->config->setExecutionContextAllocationStrategy(ExecutionContextAllocationStrategy::kUSER_MANAGED);
    made->config->setDynamicShapesKernelSpecializationStrategy(DynamicShapesKernelSpecializationStrategy::kEAGER);
    if (made->config->setRuntimeCache(*made->cache)) made->context = engine_of(engine)->createExecutionContext(made->config);
#else
    (void)cache, (void)cache_bytes;
    made->context = engine_of(engine)->createExecutionContext(ExecutionContextAllocationStrategy::kUSER_MANAGED);
#endif
    if (!made->context) return delete made, nullptr;
    return made;
}

void context_free(void* context) { delete static_cast<Context*>(context); }

int32_t set_profile(void* context, int32_t profile, void* stream) {
    return context_of(context)->setOptimizationProfileAsync(profile, static_cast<cudaStream_t>(stream));
}

int32_t set_shape(void* context, char const* tensor, drivewam_dims const* dims) {
    Dims to;
    return to_dims(*dims, &to) && context_of(context)->setInputShape(tensor, to);
}

int32_t shape(void* context, char const* tensor, drivewam_dims* out) { return from_dims(context_of(context)->getTensorShape(tensor), out); }

int32_t set_address(void* context, char const* tensor, int32_t is_input, void* address) {
    return is_input ? context_of(context)->setInputTensorAddress(tensor, address) : context_of(context)->setTensorAddress(tensor, address);
}

char const* missing(void* context) {
    char const* name = nullptr;
    int32_t const count = context_of(context)->inferShapes(1, &name);
    return count == 0 ? nullptr : count > 0 && name ? name : "(the shapes do not fit one another)";
}

int64_t scratch_of_shapes(void* context) { return static_cast<int64_t>(context_of(context)->updateDeviceMemorySizeForShapes()); }
void set_scratch(void* context, void* address, int64_t bytes) { context_of(context)->setDeviceMemoryV2(address, bytes); }
int32_t enqueue(void* context, void* stream) { return context_of(context)->enqueueV3(static_cast<cudaStream_t>(stream)); }

int32_t is_capturable(void* context, void* stream) {
#if SHIM_RTX
    return context_of(context)->isStreamCapturable(static_cast<cudaStream_t>(stream));
#else
    (void)context, (void)stream;
    return 1;
#endif
}

int32_t save_cache(void* context, drivewam_sink sink) {
#if SHIM_RTX
    IHostMemory* memory = static_cast<Context*>(context)->cache->serialize();
    if (!memory) return 0;
    give(sink, memory->data(), memory->size());
    delete memory;
#else
    (void)context, (void)sink;
#endif
    return 1;
}

}  // namespace
}  // namespace SHIM
}  // namespace shim

extern "C" drivewam_api const SHIM;
extern "C" drivewam_api const SHIM = {
    SHIM_RTX, NV_TENSORRT_MAJOR, NV_TENSORRT_MINOR, NV_TENSORRT_PATCH,
    shim::SHIM::logger, shim::SHIM::runtime, shim::SHIM::runtime_free, shim::SHIM::header,
    shim::SHIM::engine, shim::SHIM::engine_free, shim::SHIM::tensor_count, shim::SHIM::tensor, shim::SHIM::profile_count, shim::SHIM::profile_shape,
    shim::SHIM::scratch_bytes, shim::SHIM::streamable_bytes, shim::SHIM::set_weight_budget, shim::SHIM::information,
    shim::SHIM::context, shim::SHIM::context_free, shim::SHIM::set_profile, shim::SHIM::set_shape, shim::SHIM::shape, shim::SHIM::set_address,
    shim::SHIM::missing, shim::SHIM::scratch_of_shapes, shim::SHIM::set_scratch, shim::SHIM::enqueue, shim::SHIM::is_capturable, shim::SHIM::save_cache,
    shim::SHIM::parse, shim::SHIM::build,
};
