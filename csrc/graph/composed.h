#pragma once
// The operators on edges once more, composed of torch's own operators: what a GPU runs for which no kernel of
// ours was compiled. Correct on every device, and differentiable as torch's operators are;
// torch.ops.ase_mlip_composed has them, and those of the other families, under the same names, so that tests
// compare them with the kernels where there is no GPU. Indices are not checked: that would mean waiting for
// the device.

#include <ATen/core/Tensor.h>

#include <tuple>

namespace ase_mlip::composed {

at::Tensor reverse_edges(const at::Tensor& edge_index, const at::Tensor& shifts);
at::Tensor forces(const at::Tensor& gradients, const at::Tensor& edge_index, int64_t n_nodes);
at::Tensor atom_virials(const at::Tensor& gradients, const at::Tensor& edge_vectors,
                        const at::Tensor& edge_index, int64_t n_nodes);
at::Tensor structure_virials(const at::Tensor& gradients, const at::Tensor& edge_vectors,
                             const at::Tensor& edge_structure, int64_t n_structures);

/// Waits for the device twice: for the number of edges and for the shortest distance, which it returns.
std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, double>
near_edges(const at::Tensor& positions, const at::Tensor& edge_index, const at::Tensor& offsets,
           const at::Tensor& reverse, const at::Tensor& shifts, const at::Tensor& squared_cutoffs);

} // namespace ase_mlip::composed
