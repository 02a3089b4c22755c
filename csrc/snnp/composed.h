#pragma once
// The s-NNP composed of torch's own operators, as in graph/composed.h.

#include "kernels.h"

#include <tuple>
#include <utility>
#include <vector>

namespace ase_mlip::composed {

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
