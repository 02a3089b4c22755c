#pragma once
// A job for every index from 0 to a count, on the current stream.

#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAStream.h>

#include <algorithm>
#include <cstdint>

namespace ase_mlip::cuda {

constexpr int64_t kMaxBlocks = 65535;

template <typename Job> __global__ void for_each(Job job, int64_t count) {
    const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
    for (int64_t n = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x; n < count; n += step) {
        job(n);
    }
}

struct Launch {
    int threads = 128;

    template <typename Job> void operator()(int64_t count, const Job& job) const {
        if (count == 0) {
            return; // an empty grid is a launch error
        }
        const auto blocks = static_cast<int>(std::min<int64_t>((count + threads - 1) / threads, kMaxBlocks));
        for_each<<<blocks, threads, 0, c10::cuda::getCurrentCUDAStream()>>>(job, count);
        C10_CUDA_KERNEL_LAUNCH_CHECK();
    }
};

} // namespace ase_mlip::cuda
