// What a test says to the TensorRT of fake.cpp, and what that asks of the driver library in whose streams it works.
#pragma once
#include <stdint.h>

// A tensor of a call of `enqueueV3`, with the address that it had then.
struct fake_tensor {
    const char* name;
    int is_input;
    int dtype;  // the library's number
    int rank;
    int64_t dims[8];
    void* address;
};

extern "C" {

// Who does the work of engines from now on, also of what is queued already; nonzero: done. Without one every output is zero bytes.
// What fails after `enqueueV3` has returned leaves 0xff bytes, which are NaN in every float.
void fake_tensorrt_set_executor(void* user, int (*run)(void* user, const char* engine, const struct fake_tensor* tensors, int count));
// Objects that the library has given out and nobody has freed.
int fake_tensorrt_alive();
// Shapes that contexts had to compile kernels for, which are not in their caches. TensorRT-RTX alone.
int fake_tensorrt_compiled();

// The driver library's, found by name; without them every piece of work is done at once, and nothing is ever captured.
//
// Queues `work(user)` on `stream`, or keeps it in the graph that is being captured and runs it at every launch. `release(user)` comes once, after
// the last run or when the graph goes. 0: taken; else neither is called.
typedef int fake_cuda_push_function(void* stream, void (*work)(void*), void* user, void (*release)(void*));
typedef int fake_cuda_is_capturing_function(void* stream);
}
