// All that TensorRT's headers want of the CUDA runtime: two handles, which are the driver's.
#pragma once

typedef struct CUevent_st* cudaEvent_t;
typedef struct CUstream_st* cudaStream_t;
