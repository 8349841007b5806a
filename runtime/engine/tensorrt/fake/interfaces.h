// The vendor's interfaces, with every method that must not be called: it ends the process. fake.cpp
// adds those that the shim calls. One source for all versions. A method that a set of headers lacks
// is one more that is not called; a type that it lacks is declared here.
#pragma once
#include <NvInferRuntime.h>

#include <cstdio>
#include <cstdlib>

namespace nvinfer1 {
namespace v_1_0 {
class IStreamReader;
class IStreamReaderV2;
}  // namespace v_1_0
using IStreamReader = v_1_0::IStreamReader;
using IStreamReaderV2 = v_1_0::IStreamReaderV2;
class IRuntimeConfig;
class IWeightsManager;
enum class DLAWorkspaceAllocationStrategy : int32_t;
enum class EngineStat : int32_t;
enum class EngineValidity : int32_t;
}  // namespace nvinfer1

#define UNEXPECTED(result, method, arguments) \
    virtual result method arguments noexcept { fake::unexpected(#method); }

namespace fake {
using namespace nvinfer1;

[[noreturn]] inline void unexpected(const char* method) {
    std::fprintf(stderr, "fake: %s is not expected\n", method);
    std::abort();
}

class AnyMemory : public apiv::VHostMemory {
public:
    UNEXPECTED(DataType, type, () const)
};

class AnyRuntime : public apiv::VRuntime {
public:
    UNEXPECTED(IRuntime*, getPImpl, ())
    UNEXPECTED(void, setDLACore, (int32_t))
    UNEXPECTED(int32_t, getDLACore, () const)
    UNEXPECTED(int32_t, getNbDLACores, () const)
    UNEXPECTED(void, setGpuAllocator, (IGpuAllocator*))
    UNEXPECTED(IErrorRecorder*, getErrorRecorder, () const)
    UNEXPECTED(ILogger*, getLogger, () const)
    UNEXPECTED(bool, setMaxThreads, (int32_t))
    UNEXPECTED(int32_t, getMaxThreads, () const)
    UNEXPECTED(void, setTemporaryDirectory, (char const*))
    UNEXPECTED(char const*, getTemporaryDirectory, () const)
    UNEXPECTED(void, setTempfileControlFlags, (TempfileControlFlags))
    UNEXPECTED(TempfileControlFlags, getTempfileControlFlags, () const)
    UNEXPECTED(IPluginRegistry&, getPluginRegistry, ())
    UNEXPECTED(void, setPluginRegistryParent, (IPluginRegistry*))
    UNEXPECTED(IRuntime*, loadRuntime, (char const*))
    UNEXPECTED(void, setEngineHostCodeAllowed, (bool))
    UNEXPECTED(bool, getEngineHostCodeAllowed, () const)
    UNEXPECTED(ICudaEngine*, deserializeCudaEngineV2, (IStreamReaderV2&))
    UNEXPECTED(int64_t, getEngineHeaderSize, () const)
    UNEXPECTED(void, setDeferredWeightsLoading, (bool))
    UNEXPECTED(bool, getDeferredWeightsLoading, () const)
    UNEXPECTED(bool, setDLAWorkspaceAllocationStrategy, (DLAWorkspaceAllocationStrategy))
    UNEXPECTED(DLAWorkspaceAllocationStrategy, getDLAWorkspaceAllocationStrategy, () const)
};

class AnyEngine : public apiv::VCudaEngine {
public:
    UNEXPECTED(ICudaEngine*, getPImpl, ())
    UNEXPECTED(int32_t, getNbLayers, () const)
    UNEXPECTED(IHostMemory*, serialize, () const)
    UNEXPECTED(bool, isRefittable, () const)
    UNEXPECTED(char const*, getName, () const)
    UNEXPECTED(int32_t const*, getProfileTensorValues, (char const*, int32_t, OptProfileSelector) const)
    UNEXPECTED(EngineCapability, getEngineCapability, () const)
    UNEXPECTED(void, setErrorRecorder, (IErrorRecorder*))
    UNEXPECTED(IErrorRecorder*, getErrorRecorder, () const)
    UNEXPECTED(bool, hasImplicitBatchDimension, () const)
    UNEXPECTED(TacticSources, getTacticSources, () const)
    UNEXPECTED(ProfilingVerbosity, getProfilingVerbosity, () const)
    UNEXPECTED(bool, isShapeInferenceIO, (char const*) const)
    UNEXPECTED(int32_t, getTensorBytesPerComponent, (char const*) const)
    UNEXPECTED(int32_t, getTensorComponentsPerElement, (char const*) const)
    UNEXPECTED(TensorFormat, getTensorFormat, (char const*) const)
    UNEXPECTED(char const*, getTensorFormatDesc, (char const*) const)
    UNEXPECTED(int32_t, getTensorVectorizedDim, (char const*) const)
    UNEXPECTED(HardwareCompatibilityLevel, getHardwareCompatibilityLevel, () const)
    UNEXPECTED(int32_t, getNbAuxStreams, () const)
    UNEXPECTED(int32_t, getTensorBytesPerComponentV2, (char const*, int32_t) const)
    UNEXPECTED(int32_t, getTensorComponentsPerElementV2, (char const*, int32_t) const)
    UNEXPECTED(TensorFormat, getTensorFormatV2, (char const*, int32_t) const)
    UNEXPECTED(char const*, getTensorFormatDescV2, (char const*, int32_t) const)
    UNEXPECTED(int32_t, getTensorVectorizedDimV2, (char const*, int32_t) const)
    UNEXPECTED(ISerializationConfig*, createSerializationConfig, ())
    UNEXPECTED(IHostMemory*, serializeWithConfig, (ISerializationConfig&) const)
    UNEXPECTED(size_t, getDeviceMemorySizeForProfile, (int32_t) const)
    UNEXPECTED(IRefitter*, createRefitter, (ILogger&))
    UNEXPECTED(bool, setWeightStreamingBudget, (int64_t))
    UNEXPECTED(int64_t, getWeightStreamingBudget, () const)
    UNEXPECTED(int64_t, getMinimumWeightStreamingBudget, () const)
    UNEXPECTED(bool, isDebugTensor, (char const*) const)
    UNEXPECTED(int64_t, getWeightStreamingBudgetV2, () const)
    UNEXPECTED(int64_t, getWeightStreamingAutomaticBudget, () const)
    UNEXPECTED(int64_t, getWeightStreamingScratchMemorySize, () const)
    UNEXPECTED(int64_t, getDeviceMemorySizeV2, () const)
    UNEXPECTED(int64_t const*, getProfileTensorValuesV2, (char const*, int32_t, OptProfileSelector) const)
    UNEXPECTED(IExecutionContext*, createExecutionContextWithRuntimeConfig, (IRuntimeConfig*))
    UNEXPECTED(IRuntimeConfig*, createRuntimeConfig, ())
    UNEXPECTED(int64_t, getEngineStat, (EngineStat) const)
    UNEXPECTED(char const*, getAliasedInputTensor, (char const*) const)
    UNEXPECTED(bool, areWeightsLoaded, () const)
    UNEXPECTED(bool, loadWeights, (void const*, int64_t))
    UNEXPECTED(bool, loadWeightsAsync, (IStreamReaderV2&, cudaStream_t))
    UNEXPECTED(bool, unloadWeights, ())
    UNEXPECTED(IWeightsManager*, createWeightsManager, ())
    UNEXPECTED(IExecutionContext*, createExecutionContextWithoutDeviceMemory, ())
    UNEXPECTED(size_t, getDeviceMemorySize, () const)
};

class AnyContext : public apiv::VExecutionContext {
public:
    UNEXPECTED(IExecutionContext*, getPImpl, ())
    UNEXPECTED(void, setDebugSync, (bool))
    UNEXPECTED(bool, getDebugSync, () const)
    UNEXPECTED(void, setProfiler, (IProfiler*))
    UNEXPECTED(IProfiler*, getProfiler, () const)
    UNEXPECTED(ICudaEngine const&, getEngine, () const)
    UNEXPECTED(void, setName, (char const*))
    UNEXPECTED(char const*, getName, () const)
    UNEXPECTED(void, setDeviceMemory, (void*))
    UNEXPECTED(int32_t, getOptimizationProfile, () const)
    UNEXPECTED(bool, allInputDimensionsSpecified, () const)
    UNEXPECTED(bool, allInputShapesSpecified, () const)
    UNEXPECTED(void, setErrorRecorder, (IErrorRecorder*))
    UNEXPECTED(IErrorRecorder*, getErrorRecorder, () const)
    UNEXPECTED(bool, executeV2, (void* const*))
    UNEXPECTED(void, setEnqueueEmitsProfile, (bool))
    UNEXPECTED(bool, getEnqueueEmitsProfile, () const)
    UNEXPECTED(bool, reportToProfiler, () const)
    UNEXPECTED(Dims, getTensorStrides, (char const*) const)
    UNEXPECTED(void const*, getTensorAddress, (char const*) const)
    UNEXPECTED(bool, setOutputTensorAddress, (char const*, void*))
    UNEXPECTED(bool, setInputConsumedEvent, (cudaEvent_t))
    UNEXPECTED(cudaEvent_t, getInputConsumedEvent, () const)
    UNEXPECTED(void*, getOutputTensorAddress, (char const*) const)
    UNEXPECTED(bool, setOutputAllocator, (char const*, IOutputAllocator*))
    UNEXPECTED(IOutputAllocator*, getOutputAllocator, (char const*))
    UNEXPECTED(int64_t, getMaxOutputSize, (char const*) const)
    UNEXPECTED(bool, setTemporaryStorageAllocator, (IGpuAllocator*))
    UNEXPECTED(IGpuAllocator*, getTemporaryStorageAllocator, () const)
    UNEXPECTED(void, setPersistentCacheLimit, (size_t))
    UNEXPECTED(size_t, getPersistentCacheLimit, () const)
    UNEXPECTED(bool, setNvtxVerbosity, (ProfilingVerbosity))
    UNEXPECTED(ProfilingVerbosity, getNvtxVerbosity, () const)
    UNEXPECTED(void, setAuxStreams, (cudaStream_t*, int32_t))
    UNEXPECTED(bool, setDebugListener, (IDebugListener*))
    UNEXPECTED(IDebugListener*, getDebugListener, ())
    UNEXPECTED(bool, setTensorDebugState, (char const*, bool))
    UNEXPECTED(bool, getDebugState, (char const*) const)
    UNEXPECTED(bool, setAllTensorsDebugState, (bool))
    UNEXPECTED(IRuntimeConfig*, getRuntimeConfig, () const)
    UNEXPECTED(bool, setUnfusedTensorsDebugState, (bool))
    UNEXPECTED(bool, getUnfusedTensorsDebugState, () const)
    UNEXPECTED(bool, isStreamCapturable, (cudaStream_t) const)
    UNEXPECTED(bool, setCommunicator, (void*))
};

class AnyInspector : public apiv::VEngineInspector {
public:
    UNEXPECTED(IEngineInspector*, getPImpl, ())
    UNEXPECTED(bool, setExecutionContext, (IExecutionContext const*))
    UNEXPECTED(IExecutionContext const*, getExecutionContext, () const)
    UNEXPECTED(char const*, getLayerInformation, (int32_t, LayerInformationFormat) const)
    UNEXPECTED(void, setErrorRecorder, (IErrorRecorder*))
    UNEXPECTED(IErrorRecorder*, getErrorRecorder, () const)
};

#if NV_TENSORRT_MAJOR < 10  // TensorRT-RTX
class AnyConfig : public apiv::VRuntimeConfig {
public:
    UNEXPECTED(IRuntimeConfig*, getPImpl, ())
    UNEXPECTED(ExecutionContextAllocationStrategy, getExecutionContextAllocationStrategy, () const)
    UNEXPECTED(IRuntimeCache*, getRuntimeCache, () const)
    UNEXPECTED(DynamicShapesKernelSpecializationStrategy, getDynamicShapesKernelSpecializationStrategy, () const)
    UNEXPECTED(bool, setCudaGraphStrategy, (CudaGraphStrategy))
    UNEXPECTED(CudaGraphStrategy, getCudaGraphStrategy, () const)
};
#endif
}  // namespace fake
