// The operator torch.ops.ase_mlip.snnp on a GPU: a thread has an edge or a centre.

#include "../common/launch.cuh"
#include "staged.h"

#include <ATen/Dispatch.h>
#include <c10/cuda/CUDAGuard.h>

namespace ase_mlip::cuda {

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
