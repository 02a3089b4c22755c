// The stages that a GPU works through, one index after another on the host, as an operator for the tests:
// torch.ops.ase_mlip_test.snnp_in_stages has the arguments of torch.ops.ase_mlip.snnp.

#include "snnp_staged.h"

#include <ATen/Dispatch.h>
#include <torch/library.h>

namespace {

using at::Tensor;
using namespace ase_mlip;

struct Loop {
    template <typename Job> void operator()(int64_t count, const Job& job) const {
        for (int64_t index = 0; index < count; ++index) {
            job(index);
        }
    }
};

std::vector<Tensor> as_double(at::TensorList tensors) {
    std::vector<Tensor> cast;
    for (const Tensor& tensor : tensors) {
        cast.push_back(tensor.detach().to(at::kDouble).contiguous());
    }
    return cast;
}

std::tuple<Tensor, Tensor> evaluate(const Tensor& edge_vectors, const Tensor& starts, const Tensor& types,
                                    const Tensor& neighbour_types, const Tensor& node_weights,
                                    at::TensorList coefficients, at::TensorList grids, at::TensorList cases,
                                    const Tensor& skip, at::TensorList layers, const Tensor& scale,
                                    double cutoff, double angular_cutoff) {
    const cpu::SnnpInputs inputs{edge_vectors.detach().contiguous(), starts, types, neighbour_types,
                                 node_weights.to(edge_vectors.scalar_type()).contiguous()};
    const cpu::SnnpWeights weights{
        as_double(coefficients), as_double(grids), cases.vec(), as_double({skip})[0],
        as_double(layers),       /*scale=*/0.0,    cutoff,      angular_cutoff};
    std::tuple<Tensor, Tensor> found;
    AT_DISPATCH_FLOATING_TYPES(edge_vectors.scalar_type(), "snnp_in_stages", [&] {
        found = snnp::in_stages<scalar_t>(inputs, weights, scale.detach().to(at::kDouble), Loop{});
    });
    return found;
}

} // namespace

TORCH_LIBRARY(ase_mlip_test, library) {
    library.def("snnp_in_stages(Tensor edge_vectors, Tensor starts, Tensor types, Tensor neighbour_types, "
                "Tensor node_weights, Tensor[] coefficients, Tensor[] grids, Tensor[] cases, Tensor skip, "
                "Tensor[] layers, Tensor scale, float cutoff, float angular_cutoff) -> (Tensor, Tensor)",
                evaluate);
}
