// How a test controls the fake TensorRT of fake.cpp, and what the fake needs of the driver library
// on whose streams it works.
#pragma once
#include <stdint.h>

// A tensor of an `enqueueV3` call, with its address at the time of the call.
struct fake_tensor {
    const char* name;
    int is_input;
    int dtype;  // the value of the library's DataType
    int rank;
    int64_t dims[8];
    void* address;
};

extern "C" {

// Sets the function that does the work of all engines from now on, including work that is queued
// already. It returns nonzero on success. Without a function, every output is filled with zero
// bytes. Work that fails after `enqueueV3` has returned fills its outputs with 0xff bytes, which
// are NaN in every float type.
void fake_tensorrt_set_executor(void* user, int (*run)(void* user, const char* engine, const struct fake_tensor* tensors, int count));
// Number of objects that the library has created and nobody has freed.
int fake_tensorrt_alive();
// Number of shapes for which contexts had to compile kernels, because their caches had none. Only
// TensorRT-RTX.
int fake_tensorrt_compiled();

// Functions of the driver library, found by name. Without them, all work is done at once, and no
// stream is ever captured.
//
// Queues `work(user)` on `stream`. During a capture, the graph keeps the work and runs it at every
// launch. `release(user)` is called once, after the last run or when the graph is destroyed.
// Returns 0 on success; otherwise neither function is called.
typedef int fake_cuda_push_function(void* stream, void (*work)(void*), void* user, void (*release)(void*));
typedef int fake_cuda_is_capturing_function(void* stream);
}
