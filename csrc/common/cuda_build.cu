#include "cuda_build.h"
#include "launch.cuh"

#include <c10/cuda/CUDAGuard.h>
#include <cuda_runtime.h>

#include <array>
#include <atomic>

namespace ase_mlip::cuda {
namespace {

struct NoJob {
    __device__ void operator()(int64_t) const {}
};

/// Whether the driver finds code for the current device, as machine code or as PTX it can translate: all
/// files are compiled for the same devices.
bool has_code() {
    cudaFuncAttributes attributes;
    const bool found = cudaFuncGetAttributes(&attributes, for_each<NoJob>) == cudaSuccess;
    cudaGetLastError(); // nobody else is to see what was found out here
    return found;
}

} // namespace

bool fits(c10::DeviceIndex device) {
    static std::array<std::atomic<int>, C10_COMPILE_TIME_MAX_GPUS> known{}; // 0 not asked, 1 no, 2 yes
    auto& entry = known.at(device);
    if (entry.load() == 0) {
        const c10::cuda::CUDAGuard guard(device);
        entry.store(has_code() ? 2 : 1);
    }
    return entry.load() == 2;
}

Build build() {
    const std::string version =
        std::to_string(__CUDACC_VER_MAJOR__) + "." + std::to_string(__CUDACC_VER_MINOR__);
    Build found{version, {__CUDA_ARCH_LIST__}}; // 900 is sm_90
    for (int64_t& architecture : found.architectures) {
        architecture /= 10;
    }
    return found;
}

} // namespace ase_mlip::cuda
