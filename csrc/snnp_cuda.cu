// The operator torch.ops.ase_mlip.snnp on a GPU: a thread has an edge or a centre.

#include "snnp_staged.h"

#include <ATen/Dispatch.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <algorithm>

namespace ase_mlip::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int64_t kMaxBlocks = 65535;

template <typename Job> __global__ void for_each(Job job, int64_t count) {
    const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
    for (int64_t n = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x; n < count; n += step) {
        job(n);
    }
}

struct Launch {
    template <typename Job> void operator()(int64_t count, const Job& job) const {
        if (count == 0) {
            return; // an empty grid is a launch error
        }
        const auto blocks =
            static_cast<int>(std::min<int64_t>((count + kThreads - 1) / kThreads, kMaxBlocks));
        for_each<<<blocks, kThreads, 0, c10::cuda::getCurrentCUDAStream()>>>(job, count);
        C10_CUDA_KERNEL_LAUNCH_CHECK();
    }
};

} // namespace

std::tuple<at::Tensor, at::Tensor> snnp(const cpu::SnnpInputs& inputs, const cpu::SnnpWeights& weights,
                                        const at::Tensor& scale) {
    const c10::cuda::CUDAGuard guard(inputs.edge_vectors.device());
    std::tuple<at::Tensor, at::Tensor> found;
    AT_DISPATCH_FLOATING_TYPES(inputs.edge_vectors.scalar_type(), "snnp", [&] {
        found = ase_mlip::snnp::in_stages<scalar_t>(inputs, weights, scale, Launch{});
    });
    return found;
}

} // namespace ase_mlip::cuda
