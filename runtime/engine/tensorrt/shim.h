// A C interface of TensorRT and TensorRT-RTX, for ../src/tensorrt. One source for both families and
// all versions from 10.3 on.
//
// The vendor's classes are C++ vtables of one major version of a family. So the shim is compiled
// once for each set of headers, with the namespace renamed (build.rs), and each compilation exports
// one table of functions. Nothing is linked: the caller passes the entry points of the libraries as
// addresses. Only functions that TensorRT 10.3 already has are called; what a family lacks is
// compiled out. Handles are made and freed one by one. The order of freeing: context, engine,
// runtime.
#pragma once
#include <stddef.h>
#include <stdint.h>

enum { DRIVEWAM_MAX_RANK = 8 };
// Severities of a message: the library's (0 internal error to 4 verbose), and that of its error
// recorder.
enum { DRIVEWAM_RECORDED = 5 };

struct drivewam_log {
    void* user;
    void (*write)(void* user, int32_t severity, const char* text);
};

// Gets bytes or text that live during the call.
struct drivewam_sink {
    void* user;
    void (*write)(void* user, const void* data, size_t bytes);
};

struct drivewam_dims {
    int32_t rank;
    int64_t lengths[DRIVEWAM_MAX_RANK];
};

struct drivewam_tensor {
    const char* name;   // lives as long as the engine
    int32_t is_input;
    int32_t on_device;
    int32_t dtype;      // the library's number
    struct drivewam_dims dims;  // -1: dynamic
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
    const char* onnx_path;  // the weights lie beside it
    int32_t profiles;
    const struct drivewam_range* ranges;
    size_t range_count;
    const int32_t* compute_capabilities;  // 86 for 8.6; TensorRT-RTX alone
    size_t compute_capability_count;
    size_t workspace_bytes;
    int32_t optimization_level;  // 0 to 5
    int32_t tf32, version_compatible, hardware_compatible, weight_streaming;
    const void* timing_cache;  // null: none yet
    size_t timing_cache_bytes;
    struct drivewam_sink engine, timing_cache_out;
    void* progress_user;
    // Called at every step; 0 ends the build.
    int32_t (*progress)(void* user, const char* phase, int32_t step, int32_t steps);
};

struct drivewam_api {
    int32_t is_rtx, major, minor, patch;  // of the headers

    // The library keeps the first logger that it gets, even after the object that got it is freed.
    // So there is one for each library, which is never freed.
    void* (*logger)(struct drivewam_log log);

    // `host_code`: allow engines that contain a runtime of their own, as version-compatible ones
    // do.
    void* (*runtime)(void* create, void* logger, int32_t host_code);
    void (*runtime_free)(void* runtime);

    // Examines the first bytes of an engine: 0 valid, 1 valid but slower, 2 invalid (`diagnostics`
    // says why), -1 the family cannot examine them.
    int32_t (*header)(void* runtime, const void* plan, size_t bytes, uint64_t* diagnostics);
    void* (*engine)(void* runtime, const void* plan, size_t bytes);
    void (*engine_free)(void* engine);
    int32_t (*tensor_count)(void* engine);
    int32_t (*tensor)(void* engine, int32_t index, struct drivewam_tensor* out);
    int32_t (*profile_count)(void* engine);
    // which: 0 min, 1 opt, 2 max
    int32_t (*profile_shape)(void* engine, int32_t profile, const char* tensor, int32_t which, struct drivewam_dims* out);
    int64_t (*scratch_bytes)(void* engine, int32_t profile);
    int64_t (*streamable_bytes)(void* engine);
    int32_t (*set_weight_budget)(void* engine, int64_t bytes);
    int32_t (*information)(void* engine, struct drivewam_sink json);

    // TensorRT-RTX compiles kernels when a context gets a new shape: eagerly, except those in
    // `cache`.
    void* (*context)(void* engine, const void* cache, size_t cache_bytes);
    void (*context_free)(void* context);
    int32_t (*set_profile)(void* context, int32_t profile, void* stream);
    int32_t (*set_shape)(void* context, const char* tensor, const struct drivewam_dims* dims);
    int32_t (*shape)(void* context, const char* tensor, struct drivewam_dims* out);
    int32_t (*set_address)(void* context, const char* tensor, int32_t is_input, void* address);
    // Null, or the name of a tensor whose shape the library still needs.
    const char* (*missing)(void* context);
    int64_t (*scratch_of_shapes)(void* context);
    void (*set_scratch)(void* context, void* address, int64_t bytes);
    int32_t (*enqueue)(void* context, void* stream);
    int32_t (*is_capturable)(void* context, void* stream);
    int32_t (*save_cache)(void* context, struct drivewam_sink cache);

    // The builder. `parser_create` makes the library's ONNX parser. Returns 1 for a built engine.
    int32_t (*parse)(void* builder_create, void* parser_create, void* logger, const struct drivewam_build* what);
    int32_t (*build)(void* builder_create, void* parser_create, void* logger, const struct drivewam_build* what);
};
