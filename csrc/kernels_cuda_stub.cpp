// Stands in for kernels_cuda.cu and snnp_cuda.cu where no CUDA compiler was used, so that callers carry no
// #ifdef.
#include "kernels.h"
#include "snnp.h"

#include <c10/util/Exception.h>

namespace ase_mlip::cuda {
namespace {

[[noreturn]] void not_compiled() {
    TORCH_CHECK(false,
                "`ase_mlip` operators were not compiled with CUDA: expected tensors on the CPU, got tensors "
                "on a CUDA device; use `device=\"cpu\"`, or install nvcc of the CUDA version `torch` was "
                "built for and rebuild (`ase-mlip doctor` says how)");
}

} // namespace

void reverse_edges(const at::Tensor&, const at::Tensor&, at::Tensor&) { not_compiled(); }
void forces(const at::Tensor&, const at::Tensor&, at::Tensor&) { not_compiled(); }
void atom_virials(const at::Tensor&, const at::Tensor&, const at::Tensor&, at::Tensor&) { not_compiled(); }
void structure_virials(const at::Tensor&, const at::Tensor&, const at::Tensor&, at::Tensor&) {
    not_compiled();
}
std::tuple<at::Tensor, at::Tensor> snnp(const cpu::SnnpInputs&, const cpu::SnnpWeights&, const at::Tensor&) {
    not_compiled();
}

} // namespace ase_mlip::cuda
