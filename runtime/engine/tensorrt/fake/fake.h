// What a test calls on the TensorRT of fake.cpp, and what that library calls on the driver library.
#pragma once
#include <stdint.h>

// A tensor of a call of `enqueueV3`, with its address at that time.
struct fake_tensor {
    const char* name;
    int is_input;
    int dtype;  // the library's number
    int rank;
    int64_t dims[8];
    void* address;
};

extern "C" {

// Sets the function that computes passes from now on, queued ones included; it returns nonzero on
// success. Without one, all outputs are zero bytes. A pass that fails after `enqueueV3` returned
// fills its outputs with 0xff bytes, which are NaN in every float type.
void fake_tensorrt_set_executor(void* user, int (*run)(void* user, const char* engine, const struct fake_tensor* tensors, int count));
// Objects of the library that are not freed.
int fake_tensorrt_alive();
// Shapes that contexts compiled kernels for because their caches lacked them. TensorRT-RTX only.
int fake_tensorrt_compiled();

// Functions of the driver library, found by name. Without them all work is done at once, and
// nothing is captured. Queues `work(user)` on `stream`, or adds it to the graph that is being
// captured, which runs it at every launch. `release(user)` is called once, after the last run or
// when the graph is freed. Returns 0 on success; otherwise calls neither.
typedef int fake_cuda_push_function(void* stream, void (*work)(void*), void* user, void (*release)(void*));
typedef int fake_cuda_is_capturing_function(void* stream);
}
