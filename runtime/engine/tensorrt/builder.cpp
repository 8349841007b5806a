// Builds an engine from ONNX, for `build_engines`. A vehicle never runs this.
#include <NvOnnxParser.h>

#include <cstdio>
#include <memory>

#include "common.h"

using namespace nvinfer1;

namespace shim {
namespace SHIM {
namespace {

class Progress : public IProgressMonitor {
public:
    explicit Progress(drivewam_build const& build) : build_(build) {}
    void phaseStart(char const* phase, char const*, int32_t steps) noexcept override { steps_ = steps, tell(phase, 0); }
    bool stepComplete(char const* phase, int32_t step) noexcept override { return tell(phase, step + 1); }
    void phaseFinish(char const*) noexcept override {}

private:
    bool tell(char const* phase, int32_t step) noexcept {
        return !build_.progress || build_.progress(build_.progress_user, phase ? phase : "", step, steps_);
    }
    drivewam_build const& build_;
    std::atomic<int32_t> steps_{0};
};

// Members are freed in reverse order: the network reads data that the parser owns.
struct Work {
    explicit Work(void* to) : logger(*static_cast<Logger*>(to)), recorder(logger.sink()) {}
    Logger& logger;
    Recorder recorder;
    std::unique_ptr<IBuilder> builder;
    std::unique_ptr<INetworkDefinition> network;
    std::unique_ptr<nvonnxparser::IParser> parser;

    bool fail(char const* text) { return logger.log(ILogger::Severity::kERROR, text), false; }

    bool parse(void* builder_create, void* parser_create, drivewam_build const& what) {
        auto make_builder = reinterpret_cast<void* (*)(void*, int32_t) noexcept>(builder_create);
        auto make_parser = reinterpret_cast<void* (*)(void*, void*, int) noexcept>(parser_create);
        builder.reset(static_cast<IBuilder*>(make_builder(&logger, NV_TENSORRT_VERSION)));
        if (!builder) return fail("the library gives no builder");
        builder->setErrorRecorder(&recorder);
#if SHIM_RTX || NV_TENSORRT_MAJOR > 10
        network.reset(builder->createNetworkV2(0));  // always strongly typed
#else
        network.reset(builder->createNetworkV2(1U << static_cast<uint32_t>(NetworkDefinitionCreationFlag::kSTRONGLY_TYPED)));
#endif
        if (!network) return fail("the library gives no network");
        parser.reset(static_cast<nvonnxparser::IParser*>(make_parser(network.get(), &logger, NV_ONNX_PARSER_VERSION)));
        if (!parser) return fail("the library gives no ONNX parser");
        if (parser->parse(what.onnx, what.onnx_bytes, what.onnx_path)) return true;
        for (int i = 0; i < parser->getNbErrors(); ++i) {
            nvonnxparser::IParserError const* error = parser->getError(i);
            char text[1024];
            std::snprintf(text, sizeof text, "node %d (%s): %s", error->node(), error->nodeName() ? error->nodeName() : "?", error->desc());
            fail(text);
        }
        return fail("the parser refuses the graph");
    }
};

bool add_profiles(IBuilder& builder, IBuilderConfig& config, drivewam_build const& what, Work& work) {
    for (int32_t i = 0; i < what.profiles; ++i) {
        IOptimizationProfile* profile = builder.createOptimizationProfile();
        if (!profile) return work.fail("the library gives no optimization profile");
        for (size_t j = 0; j < what.range_count; ++j) {
            drivewam_range const& range = what.ranges[j];
            if (range.profile != i) continue;
            Dims min, opt, max;
            bool const fits = to_dims(range.min, &min) && to_dims(range.opt, &opt) && to_dims(range.max, &max) &&
                              profile->setDimensions(range.tensor, OptProfileSelector::kMIN, min) &&
                              profile->setDimensions(range.tensor, OptProfileSelector::kOPT, opt) &&
                              profile->setDimensions(range.tensor, OptProfileSelector::kMAX, max);
            if (!fits) return work.fail(range.tensor), work.fail("the library refuses the range of an input");
        }
        // No profile may need extra memory for weights.
        if (!profile->setExtraMemoryTarget(0.0F)) return work.fail("the library refuses a profile without extra memory");
        if (config.addOptimizationProfile(profile) != i) return work.fail("the library refuses an optimization profile");
    }
    return true;
}

bool set_capabilities(IBuilderConfig& config, drivewam_build const& what, Work& work) {
#if SHIM_RTX
    auto const count = static_cast<int32_t>(what.compute_capability_count);
    if (count == 0) return true;
    if (!config.setNbComputeCapabilities(count)) return work.fail("the library does not build for so many compute capabilities");
    for (int32_t i = 0; i < count; ++i)
        if (!config.setComputeCapability(static_cast<ComputeCapability>(what.compute_capabilities[i]), i)) return work.fail("the library does not know a compute capability");
    return true;
#else
    (void)config;
    return what.compute_capability_count == 0 || work.fail("this library builds for the GPU of this machine alone");
#endif
}

}  // namespace

int32_t parse(void* builder_create, void* parser_create, void* logger, drivewam_build const* what) {
    return Work(logger).parse(builder_create, parser_create, *what);
}

int32_t build(void* builder_create, void* parser_create, void* logger, drivewam_build const* what) {
    // Both must outlive the builder.
    Progress progress(*what);
#if !SHIM_RTX
    std::unique_ptr<ITimingCache> timing;
#endif
    Work work(logger);
    if (!work.parse(builder_create, parser_create, *what)) return 0;
    std::unique_ptr<IBuilderConfig> config(work.builder->createBuilderConfig());
    if (!config) return work.fail("the library gives no configuration");
    config->setProgressMonitor(&progress);
    config->setProfilingVerbosity(ProfilingVerbosity::kDETAILED);
    config->setBuilderOptimizationLevel(what->optimization_level);
    config->setMaxAuxStreams(0);  // all work is on the caller's stream
    if (what->workspace_bytes) config->setMemoryPoolLimit(MemoryPoolType::kWORKSPACE, what->workspace_bytes);
    if (!what->tf32) config->clearFlag(BuilderFlag::kTF32);
    if (what->version_compatible) config->setFlag(BuilderFlag::kVERSION_COMPATIBLE);
    if (what->weight_streaming) config->setFlag(BuilderFlag::kWEIGHT_STREAMING);
    if (what->hardware_compatible) config->setHardwareCompatibilityLevel(HardwareCompatibilityLevel::kAMPERE_PLUS);
    if (!set_capabilities(*config, *what, work) || !add_profiles(*work.builder, *config, *what, work)) return 0;
#if !SHIM_RTX
    // Without a timing cache the library makes its own and drops it. TensorRT-RTX measures nothing
    // while it builds.
    timing.reset(config->createTimingCache(what->timing_cache, what->timing_cache_bytes));
    if (!timing || !config->setTimingCache(*timing, false)) {
        // The cache of another GPU or version is useless: all tactics are measured anew.
        timing.reset(config->createTimingCache(nullptr, 0));
        if (!timing || !config->setTimingCache(*timing, false)) return work.fail("the library refuses a timing cache");
    }
#else
    // CUDA graphs need this: a pass allocates nothing. Streamed weights are the exception.
    if (!what->weight_streaming) config->setFlag(BuilderFlag::kREQUIRE_USER_ALLOCATION);
#endif
    std::unique_ptr<IHostMemory> engine(work.builder->buildSerializedNetwork(*work.network, *config));
    if (!engine) return work.fail("the library builds no engine");
    give(what->engine, engine->data(), engine->size());
#if !SHIM_RTX
    std::unique_ptr<IHostMemory> known(timing->serialize());
    if (known) give(what->timing_cache_out, known->data(), known->size());
#endif
    return 1;
}

}  // namespace SHIM
}  // namespace shim
