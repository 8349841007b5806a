// Declarations that both halves of the shim share. The macro SHIM is the name of this compilation's
// table.
#pragma once
#include <NvInfer.h>

#include <atomic>
#include <new>

#include "shim.h"

#if NV_TENSORRT_MAJOR < 10
#define SHIM_RTX 1
#else
#define SHIM_RTX 0
#endif

namespace shim {
// All names are this compilation's own, like the vendor's: one program contains several versions.
namespace SHIM {

class Logger : public nvinfer1::ILogger {
public:
    explicit Logger(drivewam_log log) : log_(log) {}
    void log(Severity severity, char const* text) noexcept override {
        if (text) log_.write(log_.user, static_cast<int32_t>(severity), text);
    }
    drivewam_log sink() const { return log_; }

private:
    drivewam_log log_;
};

// Passes on and counts the errors that the library reports; keeps no texts.
class Recorder : public nvinfer1::IErrorRecorder {
public:
    explicit Recorder(drivewam_log log) : log_(log) {}
    int32_t getNbErrors() const noexcept override { return errors_; }
    nvinfer1::ErrorCode getErrorCode(int32_t) const noexcept override { return nvinfer1::ErrorCode::kUNSPECIFIED_ERROR; }
    ErrorDesc getErrorDesc(int32_t) const noexcept override { return ""; }
    bool hasOverflowed() const noexcept override { return errors_ > 0; }
    void clear() noexcept override { errors_ = 0; }
    // True: whatever reports an error shall end.
    bool reportError(nvinfer1::ErrorCode, ErrorDesc text) noexcept override {
        ++errors_;
        if (text) log_.write(log_.user, DRIVEWAM_RECORDED, text);
        return true;
    }
    RefCount incRefCount() noexcept override { return ++count_; }
    RefCount decRefCount() noexcept override { return --count_; }

private:
    drivewam_log log_;
    std::atomic<RefCount> count_{0};
    std::atomic<int32_t> errors_{0};
};

inline void give(drivewam_sink sink, void const* data, size_t bytes) { sink.write(sink.user, data, bytes); }

inline bool to_dims(drivewam_dims const& from, nvinfer1::Dims* to) {
    if (from.rank < 0 || from.rank > nvinfer1::Dims::MAX_DIMS) return false;
    to->nbDims = from.rank;
    for (int32_t i = 0; i < from.rank; ++i) to->d[i] = from.lengths[i];
    return true;
}

inline bool from_dims(nvinfer1::Dims const& from, drivewam_dims* to) {
    if (from.nbDims < 0 || from.nbDims > DRIVEWAM_MAX_RANK) return false;
    to->rank = from.nbDims;
    for (int32_t i = 0; i < from.nbDims; ++i) to->lengths[i] = from.d[i];
    return true;
}

int32_t parse(void*, void*, void*, drivewam_build const*);
int32_t build(void*, void*, void*, drivewam_build const*);

}  // namespace SHIM
}  // namespace shim
