#pragma once
// Every operator once more, composed of torch's own operators: what a GPU runs for which no kernel of ours
// was compiled. Correct on every device, and differentiable as torch's operators are;
// torch.ops.ase_mlip_composed has them under the same names, so that tests compare them with the kernels
// where there is no GPU. Indices are not checked: that would mean waiting for the device.

#include "../snnp/kernels.h"
#include "../transformer/kernels.h"

#include <tuple>
#include <utility>
#include <vector>

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

/// Waits for the device once, for the largest neighbourhood. The networks of this package do not call it on a
/// GPU: they lay the tokens of all layers out together.
std::tuple<at::Tensor, at::Tensor> attention(const cpu::AttentionInputs& inputs,
                                             const cpu::BlockWeights& weights);
at::Tensor feedforward(const at::Tensor& x, const cpu::BlockWeights& weights);

/// As of cpu::snnp; waits for the device once, for the number of angles.
std::tuple<at::Tensor, at::Tensor> snnp(const cpu::SnnpInputs& inputs, const cpu::SnnpWeights& weights,
                                        const at::Tensor& scale);

/// What the features of csrc/snnp/training.h are functions of.
struct FeatureInputs {
    at::Tensor vectors, starts, types, neighbour_types;
    std::vector<at::Tensor> coefficients, grids, cases;
    double cutoff, angular_cutoff;
};
at::Tensor snnp_features(const FeatureInputs& inputs);
at::Tensor snnp_features_backward(const at::Tensor& slopes, const FeatureInputs& inputs);
std::vector<at::Tensor> snnp_features_parameters(const at::Tensor& values, const at::Tensor& slopes,
                                                 const at::Tensor& directions, const FeatureInputs& inputs);

/// Pairs of edges with one centre, each once; `centres` are sorted and below `nodes`. Waits for the device.
std::pair<at::Tensor, at::Tensor> triplets(const at::Tensor& centres, int64_t nodes);

/// As of csrc/snnp/basis.h; `before` coefficients of a spline of phi lie on a line.
at::Tensor snnp_basis(int64_t before, const FeatureInputs& inputs);
std::tuple<at::Tensor, at::Tensor, at::Tensor> snnp_basis_rows(const at::Tensor& neighbours,
                                                               const at::Tensor& structures, int64_t before,
                                                               const FeatureInputs& inputs);
/// Throws c10::Error unless the banks fit together.
void check_basis(const FeatureInputs& inputs, int64_t before);

} // namespace ase_mlip::composed
