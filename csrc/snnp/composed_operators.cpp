// torch.ops.ase_mlip_composed.snnp*: the composed operators under the names and with the arguments of the
// kernels' on any device, for tests and comparisons; and those that have no CUDA kernel as the CUDA version
// of torch.ops.ase_mlip.*.

#include "composed.h"

#include <torch/library.h>

namespace ase_mlip {
namespace {

using at::Tensor;
using at::TensorList;
using composed::FeatureInputs;

FeatureInputs feature_inputs(const Tensor& vectors, const Tensor& starts, const Tensor& types,
                             const Tensor& neighbour_types, TensorList coefficients, TensorList grids,
                             TensorList cases, double cutoff, double angular_cutoff) {
    return {vectors,     starts,      types,  neighbour_types, coefficients.vec(),
            grids.vec(), cases.vec(), cutoff, angular_cutoff};
}

Tensor snnp_features(const Tensor& vectors, const Tensor& starts, const Tensor& types,
                     const Tensor& neighbour_types, TensorList coefficients, TensorList grids,
                     TensorList cases, double cutoff, double angular_cutoff) {
    return composed::snnp_features(feature_inputs(vectors, starts, types, neighbour_types, coefficients,
                                                  grids, cases, cutoff, angular_cutoff));
}

Tensor snnp_features_backward(const Tensor& slopes, const Tensor& vectors, const Tensor& starts,
                              const Tensor& types, const Tensor& neighbour_types, TensorList coefficients,
                              TensorList grids, TensorList cases, double cutoff, double angular_cutoff) {
    return composed::snnp_features_backward(slopes, feature_inputs(vectors, starts, types, neighbour_types,
                                                                   coefficients, grids, cases, cutoff,
                                                                   angular_cutoff));
}

std::vector<Tensor> snnp_features_parameters(const Tensor& values, const Tensor& slopes,
                                             const Tensor& directions, const Tensor& vectors,
                                             const Tensor& starts, const Tensor& types,
                                             const Tensor& neighbour_types, TensorList coefficients,
                                             TensorList grids, TensorList cases, double cutoff,
                                             double angular_cutoff) {
    return composed::snnp_features_parameters(values, slopes, directions,
                                              feature_inputs(vectors, starts, types, neighbour_types,
                                                             coefficients, grids, cases, cutoff,
                                                             angular_cutoff));
}

Tensor snnp_basis(int64_t before, const Tensor& vectors, const Tensor& starts, const Tensor& types,
                  const Tensor& neighbour_types, TensorList coefficients, TensorList grids, TensorList cases,
                  double cutoff, double angular_cutoff) {
    return composed::snnp_basis(before, feature_inputs(vectors, starts, types, neighbour_types, coefficients,
                                                       grids, cases, cutoff, angular_cutoff));
}

std::tuple<Tensor, Tensor, Tensor> snnp_basis_rows(const Tensor& neighbours, const Tensor& structures,
                                                   int64_t before, const Tensor& vectors,
                                                   const Tensor& starts, const Tensor& types,
                                                   const Tensor& neighbour_types, TensorList coefficients,
                                                   TensorList grids, TensorList cases, double cutoff,
                                                   double angular_cutoff) {
    return composed::snnp_basis_rows(neighbours, structures, before,
                                     feature_inputs(vectors, starts, types, neighbour_types, coefficients,
                                                    grids, cases, cutoff, angular_cutoff));
}

std::tuple<Tensor, Tensor> evaluate(const Tensor& edge_vectors, const Tensor& starts, const Tensor& types,
                                    const Tensor& neighbour_types, const Tensor& node_weights,
                                    TensorList coefficients, TensorList grids, TensorList cases,
                                    const Tensor& skip, TensorList layers, const Tensor& scale, double cutoff,
                                    double angular_cutoff) {
    const cpu::SnnpInputs inputs{edge_vectors, starts, types, neighbour_types,
                                 node_weights.to(edge_vectors.dtype())};
    const cpu::SnnpWeights weights{coefficients.vec(), grids.vec(), cases.vec(), skip,
                                   layers.vec(),       1.0,         cutoff,      angular_cutoff};
    return composed::snnp(inputs, weights, scale);
}

} // namespace

TORCH_LIBRARY_FRAGMENT(ase_mlip_composed, library) {
    library.def("snnp", evaluate);
    library.def("snnp_features", snnp_features);
    library.def("snnp_features_backward", snnp_features_backward);
    library.def("snnp_features_parameters", snnp_features_parameters);
    library.def("snnp_basis", snnp_basis);
    library.def("snnp_basis_rows", snnp_basis_rows);
}

TORCH_LIBRARY_IMPL(ase_mlip, CUDA, library) {
    library.impl("snnp_features", snnp_features);
    library.impl("snnp_features_backward", snnp_features_backward);
    library.impl("snnp_features_parameters", snnp_features_parameters);
    library.impl("snnp_basis", snnp_basis);
    library.impl("snnp_basis_rows", snnp_basis_rows);
}

} // namespace ase_mlip
