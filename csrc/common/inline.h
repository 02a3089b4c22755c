#pragma once
// Functions that are compiled for the host and, by nvcc, for the device.

#if defined(__CUDACC__)
#define ASE_MLIP_INLINE __host__ __device__ inline
#else
#define ASE_MLIP_INLINE inline
#endif
