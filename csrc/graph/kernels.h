#pragma once
// The one boundary between the operators and the devices: the same functions for CPU and CUDA. Arguments
// are checked and contiguous; outputs are allocated, sums start from zero.

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

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

/// Whether the kernels were compiled, and for this GPU; else the composed operators take their place.
bool fits(c10::DeviceIndex device);

/// What they were compiled by and for; nothing if they were not.
struct Build {
    std::string nvcc;                   // version
    std::vector<int64_t> architectures; // compute capabilities, 90 is 9.0
};
Build build();
} // namespace cuda
#undef ASE_MLIP_DECLARE_KERNELS

} // namespace ase_mlip
