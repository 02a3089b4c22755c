// Stands in for cuda.cu and snnp/cuda.cu where they were not compiled, so that callers carry no
// #ifdef. Nobody calls the kernels then: they fit no GPU.
#include "../snnp/kernels.h"
#include "kernels.h"

#include <c10/util/Exception.h>

namespace ase_mlip::cuda {
namespace {

[[noreturn]] void not_compiled() {
    TORCH_CHECK(false, "the CUDA kernels of `ase_mlip` were not compiled; `ase-mlip doctor` says why");
}

} // namespace

bool fits(c10::DeviceIndex) { return false; }
Build build() { return {}; }
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
