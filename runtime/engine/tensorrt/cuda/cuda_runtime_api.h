// The part of the CUDA runtime that TensorRT's headers use: two handle types, which are the
// driver's.
#pragma once

typedef struct CUevent_st* cudaEvent_t;
typedef struct CUstream_st* cudaStream_t;
