// The C interface of TensorRT and TensorRT-RTX, which ../src/tensorrt calls. One source serves both
// families and all versions from 10.3 on.
//
// The vendor's classes are C++ interfaces whose vtables depend on the family and its major version.
// The shim is therefore compiled once for each available set of headers, with the vendor's
// namespace renamed (build.rs). Each compilation exports one table of functions. Nothing is linked:
// callers pass the entry points of the libraries as addresses. The shim only calls what TensorRT
// 10.3 already has; calls that a family lacks are compiled out.
//
// Handles are created and freed one by one, the newest first: context, engine, runtime.
#pragma once
#include <stddef.h>
#include <stdint.h>

enum { DRIVEWAM_MAX_RANK = 8 };
// Severities of a log message: those of the library (0 internal error to 4 verbose), and this one
// for what the library told its error recorder.
enum { DRIVEWAM_RECORDED = 5 };

struct drivewam_log {
    void* user;
    void (*write)(void* user, int32_t severity, const char* text);
};

// Receives bytes or text, which are only valid during the call.
struct drivewam_sink {
    void* user;
    void (*write)(void* user, const void* data, size_t bytes);
};

struct drivewam_dims {
    int32_t rank;
    int64_t lengths[DRIVEWAM_MAX_RANK];
};

struct drivewam_tensor {
    const char* name;   // valid as long as the engine
    int32_t is_input;
    int32_t on_device;
    int32_t dtype;      // the value of the library's DataType
    struct drivewam_dims dims;  // -1: set when the tensor is bound
};

// The shapes of one input in one optimization profile.
struct drivewam_range {
    int32_t profile;
    const char* tensor;
    struct drivewam_dims min, opt, max;
};

struct drivewam_build {
    const void* onnx;
    size_t onnx_bytes;
    const char* onnx_path;  // its folder contains the weights
    int32_t profiles;
    const struct drivewam_range* ranges;
    size_t range_count;
    const int32_t* compute_capabilities;  // 86 for 8.6; only TensorRT-RTX
    size_t compute_capability_count;
    size_t workspace_bytes;
    int32_t optimization_level;  // 0 to 5
    int32_t tf32, version_compatible, hardware_compatible, weight_streaming;
    const void* timing_cache;  // null if there is none yet
    size_t timing_cache_bytes;
    struct drivewam_sink engine, timing_cache_out;
    void* progress_user;
    // Called at every step of a phase. A result of 0 cancels the build.
    int32_t (*progress)(void* user, const char* phase, int32_t step, int32_t steps);
};

struct drivewam_api {
    int32_t is_rtx, major, minor, patch;  // family and version of the headers

    // Creates a logger. The library keeps the first logger that it gets, longer than the object
    // that passed it, so create one for each library and never free it.
    void* (*logger)(struct drivewam_log log);

    // `host_code`: allow engines that contain a runtime, as version-compatible engines do.
    void* (*runtime)(void* create, void* logger, int32_t host_code);
    void (*runtime_free)(void* runtime);

    // What the first bytes of a plan tell: 0 valid on this GPU, 1 valid but slower, 2 invalid
    // (`diagnostics` says why), -1 the family has no such check.
    int32_t (*header)(void* runtime, const void* plan, size_t bytes, uint64_t* diagnostics);
    void* (*engine)(void* runtime, const void* plan, size_t bytes);
    void (*engine_free)(void* engine);
    int32_t (*tensor_count)(void* engine);
    int32_t (*tensor)(void* engine, int32_t index, struct drivewam_tensor* out);
    int32_t (*profile_count)(void* engine);
    // `which`: 0 min, 1 opt, 2 max.
    int32_t (*profile_shape)(void* engine, int32_t profile, const char* tensor, int32_t which, struct drivewam_dims* out);
    int64_t (*scratch_bytes)(void* engine, int32_t profile);
    int64_t (*streamable_bytes)(void* engine);
    int32_t (*set_weight_budget)(void* engine, int64_t bytes);
    int32_t (*information)(void* engine, struct drivewam_sink json);

    // Creates a context. TensorRT-RTX compiles kernels for each new shape of a context, here
    // eagerly, and reuses the kernels in `cache`, which an earlier context saved.
    void* (*context)(void* engine, const void* cache, size_t cache_bytes);
    void (*context_free)(void* context);
    int32_t (*set_profile)(void* context, int32_t profile, void* stream);
    int32_t (*set_shape)(void* context, const char* tensor, const struct drivewam_dims* dims);
    int32_t (*shape)(void* context, const char* tensor, struct drivewam_dims* out);
    int32_t (*set_address)(void* context, const char* tensor, int32_t is_input, void* address);
    // Null if the library can infer all shapes. Otherwise the name of an input that it still needs,
    // or a message in parentheses if the shapes contradict each other.
    const char* (*missing)(void* context);
    int64_t (*scratch_of_shapes)(void* context);
    void (*set_scratch)(void* context, void* address, int64_t bytes);
    int32_t (*enqueue)(void* context, void* stream);
    int32_t (*is_capturable)(void* context, void* stream);
    int32_t (*save_cache)(void* context, struct drivewam_sink cache);

    // The builder. `parser_create` is the entry point that creates the library's ONNX parser. Both
    // functions return 1 on success.
    int32_t (*parse)(void* builder_create, void* parser_create, void* logger, const struct drivewam_build* what);
    int32_t (*build)(void* builder_create, void* parser_create, void* logger, const struct drivewam_build* what);
};
