// The operator torch.ops.ase_mlip.snnp: energies and gradients of an s-NNP. It has no derivative of its own:
// training takes snnp_features and its derivatives on a CPU (training.cpp), and elsewhere the
// differentiable form in ase_mlip/networks/snnp/snnp.py. Numbers on a GPU are not checked: that would mean
// waiting for them.

#include "../common/cuda_build.h"
#include "../common/index_check.h"
#include "../common/tensor_check.h"
#include "composed.h"
#include "kernels.h"

#include <ATen/core/grad_mode.h>
#include <torch/library.h>

#include <algorithm>
#include <initializer_list>
#include <utility>

namespace ase_mlip {
namespace {

using at::Tensor;

using Named = std::pair<const char*, at::TensorList>;

/// Kernels take plain pointers: one to the host's memory would end a GPU's.
void check_devices(at::Device device, std::initializer_list<Named> all) {
    TORCH_CHECK(device.is_cpu() || device.is_cuda(), "`edge_vectors` must be on a CPU or a CUDA device, got ",
                device);
    for (const auto& [name, tensors] : all) {
        for (const Tensor& tensor : tensors) {
            TORCH_CHECK(tensor.device() == device, "`", name, "` must be on the device of `edge_vectors`, ",
                        device, ", got ", tensor.device(),
                        "; move the network and the structure to one device");
        }
    }
}

void check_numbers(const Tensor& numbers, const char* name, int64_t limit) {
    if (numbers.is_cpu()) {
        check_indices(numbers.const_data_ptr<int64_t>(), numbers.numel(), 0, limit, name,
                      "; does the potential know all species?");
    }
}

void check_inputs(const cpu::SnnpInputs& inputs, int64_t species) {
    const int64_t n = inputs.types.size(0), edges = inputs.edge_vectors.size(0);
    const at::ScalarType dtype = inputs.edge_vectors.scalar_type();
    check_tensor(inputs.edge_vectors, "edge_vectors", {edges, 3}, dtype);
    check_tensor(inputs.types, "types", {n}, at::kLong);
    check_tensor(inputs.neighbour_types, "neighbour_types", {edges}, at::kLong);
    check_tensor(inputs.node_weights, "node_weights", {n}, dtype);
    check_numbers(inputs.types, "types", species);
    check_numbers(inputs.neighbour_types, "neighbour_types", species);
    check_tensor(inputs.starts, "starts", {n + 1}, at::kLong);
    if (inputs.starts.is_cpu()) {
        const int64_t* first = inputs.starts.const_data_ptr<int64_t>();
        TORCH_CHECK(std::is_sorted(first, first + n + 1) && first[0] == 0 && first[n] == edges,
                    "`starts` must rise from 0 to the number of edges, ", edges);
    }
}

void check_banks(const cpu::SnnpWeights& weights) {
    TORCH_CHECK(weights.coefficients.size() == 5 && weights.grids.size() == 5 && weights.cases.size() == 4,
                "expected 5 banks of splines with their grids and 4 tables of cases");
    const int64_t species = weights.cases[3].size(0);
    for (size_t k = 0; k < 5; ++k) {
        const Tensor &c = weights.coefficients[k], &grid = weights.grids[k];
        TORCH_CHECK(c.dim() == 3, "`coefficients` must have shape [M, C, n + 3], got ", c.sizes());
        check_tensor(c, "coefficients", c.sizes(), at::kDouble);
        check_tensor(grid, "grids", {c.size(0), 3}, at::kDouble);
        for (int64_t m = 0; grid.is_cpu() && m < c.size(0); ++m) {
            const double* row = grid.const_data_ptr<double>() + 3 * m;
            TORCH_CHECK(row[1] > 0.0 && row[2] >= 1.0 && row[2] + 3.0 <= double(c.size(2)),
                        "`grids` must have positive distances of knots and at most as many intervals as the "
                        "coefficients allow, got ",
                        row[1], " and ", row[2]);
        }
    }
    const int64_t s = species, features = weights.coefficients[1].size(1) + weights.coefficients[3].size(1);
    const std::vector<std::vector<int64_t>> shapes{{s, s}, {s, s}, {s, s, s}, {s}};
    const int64_t limits[4] = {weights.coefficients[0].size(0), weights.coefficients[1].size(0),
                               weights.coefficients[3].size(0), weights.skip.size(0)};
    for (size_t k = 0; k < 4; ++k) {
        check_tensor(weights.cases[k], "cases", shapes[k], at::kLong);
        check_numbers(weights.cases[k], "cases", limits[k]);
    }
    TORCH_CHECK(weights.coefficients[2].size(0) == limits[1] &&
                    weights.coefficients[2].size(1) == weights.coefficients[3].size(1) &&
                    weights.coefficients[0].size(1) <= 1 && weights.coefficients[4].size(1) <= 1 &&
                    weights.coefficients[4].size(0) == s,
                "`coefficients`: f must have the cases of rho and the channels of g, phi and U one channel");
    check_tensor(weights.skip, "skip", {weights.skip.size(0), features}, at::kDouble);
}

void check_layers(const cpu::SnnpWeights& weights) {
    const int64_t count = weights.skip.size(0);
    int64_t enter = weights.skip.size(1);
    TORCH_CHECK(weights.layers.empty() || (weights.layers.size() % 2 == 0 && weights.layers.size() >= 4),
                "`layers` must hold weight and bias of at least two layers, or nothing");
    for (size_t k = 0; k < weights.layers.size(); k += 2) {
        const Tensor& weight = weights.layers[k];
        const bool last = k + 2 == weights.layers.size();
        TORCH_CHECK(weight.dim() == 3, "`layers`: a weight must have shape [networks, in, out], got ",
                    weight.sizes());
        const int64_t leave = last ? 1 : weight.size(2);
        check_tensor(weight, "layers", {count, enter, leave}, at::kDouble);
        check_tensor(weights.layers[k + 1], "layers", {count, leave}, at::kDouble);
        enter = leave;
    }
}

std::vector<Tensor> as_double(const at::TensorList& tensors) {
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
    const at::NoGradGuard no_gradients;
    check_devices(edge_vectors.device(), {{"starts", starts},
                                          {"types", types},
                                          {"neighbour_types", neighbour_types},
                                          {"node_weights", node_weights},
                                          {"coefficients", coefficients},
                                          {"grids", grids},
                                          {"cases", cases},
                                          {"skip", skip},
                                          {"layers", layers},
                                          {"scale", scale}});
    const Tensor vectors = edge_vectors.detach().contiguous();
    const cpu::SnnpInputs inputs{vectors, starts.contiguous(), types.contiguous(),
                                 neighbour_types.contiguous(),
                                 node_weights.to(vectors.scalar_type()).contiguous()};
    cpu::SnnpWeights weights{
        as_double(coefficients), as_double(grids), {}, as_double({skip})[0], as_double(layers), 1.0, cutoff,
        angular_cutoff};
    for (const Tensor& table : cases) {
        weights.cases.push_back(table.contiguous());
    }
    check_weights(weights);
    check_inputs(inputs, weights.cases[3].size(0));
    if (vectors.is_cuda() && !cuda::fits(vectors.get_device())) {
        return composed::snnp(inputs, weights, scale.detach().to(at::kDouble));
    }
    if (vectors.is_cuda()) {
        return cuda::snnp(inputs, weights, scale.detach().to(at::kDouble));
    }
    weights.scale = scale.item<double>();
    return cpu::snnp(inputs, weights);
}

} // namespace

void cpu::check_weights(const SnnpWeights& weights) {
    check_banks(weights);
    check_layers(weights);
}

TORCH_LIBRARY_FRAGMENT(ase_mlip, library) {
    library.def("snnp(Tensor edge_vectors, Tensor starts, Tensor types, Tensor neighbour_types, "
                "Tensor node_weights, Tensor[] coefficients, Tensor[] grids, Tensor[] cases, Tensor skip, "
                "Tensor[] layers, Tensor scale, float cutoff, float angular_cutoff) -> (Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(ase_mlip, CPU, library) { library.impl("snnp", evaluate); }
TORCH_LIBRARY_IMPL(ase_mlip, CUDA, library) { library.impl("snnp", evaluate); }
TORCH_LIBRARY_IMPL(ase_mlip, Meta, library) { library.impl("snnp", evaluate); } // which says what is amiss

} // namespace ase_mlip
