#pragma once
// The one boundary between the operators and the devices: the same functions for CPU and CUDA. Arguments
// are checked and contiguous; outputs are allocated, sums start from zero.

#include <ATen/core/Tensor.h>

namespace ase_mlip {

#define ASE_MLIP_DECLARE_KERNELS                                                                             \
    void reverse_edges(const at::Tensor& edge_index, const at::Tensor& shifts, at::Tensor& reverse);         \
    void forces(const at::Tensor& gradients, const at::Tensor& edge_index, at::Tensor& forces);              \
    void atom_virials(const at::Tensor& gradients, const at::Tensor& edge_vectors,                           \
                      const at::Tensor& edge_index, at::Tensor& virials);                                    \
    void structure_virials(const at::Tensor& gradients, const at::Tensor& edge_vectors,                      \
                           const at::Tensor& edge_structure, at::Tensor& virials);

namespace cpu {
ASE_MLIP_DECLARE_KERNELS
}
namespace cuda {
ASE_MLIP_DECLARE_KERNELS
} // namespace cuda
#undef ASE_MLIP_DECLARE_KERNELS

} // namespace ase_mlip
