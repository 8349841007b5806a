// All that the headers of TensorRT need of the CUDA runtime: two handle types, which are those of
// the driver.
#pragma once

typedef struct CUevent_st* cudaEvent_t;
typedef struct CUstream_st* cudaStream_t;
