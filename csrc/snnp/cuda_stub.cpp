// Stands in for cuda.cu where it was not compiled, so that callers carry no #ifdef.
#include "../common/not_compiled.h"
#include "kernels.h"

namespace ase_mlip::cuda {

std::tuple<at::Tensor, at::Tensor> snnp(const cpu::SnnpInputs&, const cpu::SnnpWeights&, const at::Tensor&) {
    not_compiled();
}

} // namespace ase_mlip::cuda
