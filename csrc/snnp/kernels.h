#pragma once
// The s-NNP on a CPU, between tensors and the kernel.

#include "model.h"

#include <ATen/core/Tensor.h>

#include <tuple>
#include <vector>

namespace ase_mlip::cpu {

struct SnnpInputs {
    at::Tensor edge_vectors;    // [E, 3], sorted by centre
    at::Tensor starts;          // int64 [N + 1], first edge of each node; the last is E
    at::Tensor types;           // int64 [N]
    at::Tensor neighbour_types; // int64 [E]
    at::Tensor node_weights;    // [N]
};

/// All in float64.
struct SnnpWeights {
    std::vector<at::Tensor> coefficients; // phi, rho, f, g, U: [M, C, n + 3], C = 0 where there is none
    std::vector<at::Tensor> grids;        // the same banks: [M, 3] first knot, distance of knots, intervals
    std::vector<at::Tensor> cases;        // int64: of phi [S, S], rho and f [S, S], g [S, S, S], networks [S]
    at::Tensor skip;                      // [networks, features]
    std::vector<at::Tensor> layers;       // weight [networks, in, out], bias [networks, out], ...; or nothing
    double scale, cutoff, angular_cutoff;
};

/// Throws c10::Error unless the shapes fit together.
void check_weights(const SnnpWeights& weights);

/// Points into the tensors.
snnp::ModelData model_data(const SnnpWeights& weights);

/// Energies [N] and the gradient of their weighted sum by the edge vectors, [E, 3]. Nodes of weight zero are
/// left out: their energies are zero.
std::tuple<at::Tensor, at::Tensor> snnp(const SnnpInputs& inputs, const SnnpWeights& weights);

} // namespace ase_mlip::cpu

namespace ase_mlip::cuda {

/// The same on a GPU, without waiting for it; `scale` float64 [] takes the place of the weights'.
std::tuple<at::Tensor, at::Tensor> snnp(const cpu::SnnpInputs& inputs, const cpu::SnnpWeights& weights,
                                        const at::Tensor& scale);

} // namespace ase_mlip::cuda
