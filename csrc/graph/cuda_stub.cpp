// Stands in for cuda.cu where it was not compiled, so that callers carry no #ifdef.
#include "../common/not_compiled.h"
#include "kernels.h"

namespace ase_mlip::cuda {

void reverse_edges(const at::Tensor&, const at::Tensor&, at::Tensor&) { not_compiled(); }
void forces(const at::Tensor&, const at::Tensor&, at::Tensor&) { not_compiled(); }
void atom_virials(const at::Tensor&, const at::Tensor&, const at::Tensor&, at::Tensor&) { not_compiled(); }
void structure_virials(const at::Tensor&, const at::Tensor&, const at::Tensor&, at::Tensor&) {
    not_compiled();
}

} // namespace ase_mlip::cuda
