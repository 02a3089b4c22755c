#pragma once
// Graph and splines of an s-NNP between tensors and the passes over centres of csrc/snnp/training.h and
// csrc/snnp/basis.h.

#include "../common/tensor_check.h"
#include "training.h"

#include <ATen/core/Tensor.h>

namespace ase_mlip {

inline at::Tensor checked(const at::Tensor& x, const char* name, at::ScalarType dtype,
                          at::IntArrayRef shape) {
    check_tensor(x, name, shape, dtype);
    return x.contiguous();
}

/// Holds the tensors that the plain tables point into.
struct SnnpProblem {
    std::vector<at::Tensor> held;
    snnp::training::Tables tables;
    snnp::training::Graph graph;
    int64_t nodes, edges, most = 0;

    const at::Tensor& hold(const at::Tensor& x) { return held.emplace_back(x); }

    SnnpProblem(const at::Tensor& vectors, const at::Tensor& starts, const at::Tensor& types,
                const at::Tensor& neighbour_types, at::TensorList coefficients, at::TensorList grids,
                at::TensorList cases, double cutoff, double angular_cutoff)
        : nodes(types.size(0)), edges(vectors.size(0)) {
        TORCH_CHECK(coefficients.size() == 4 && grids.size() == 4 && cases.size() >= 3,
                    "expected 4 banks of splines with their grids and 3 tables of cases");
        const int64_t s = cases[0].size(0);
        tables.species = s;
        tables.cutoff = cutoff;
        tables.angular_cutoff = angular_cutoff;
        held.reserve(24);
        tables.pair_cases = integers(cases[0], "cases", {s, s}, coefficients[0].size(0));
        tables.radial_cases = integers(cases[1], "cases", {s, s}, coefficients[1].size(0));
        tables.angle_cases = integers(cases[2], "cases", {s, s, s}, coefficients[3].size(0));
        for (int k = 0; k < 4; ++k) {
            const at::Tensor& c = coefficients[k];
            TORCH_CHECK(c.dim() == 3, "`coefficients` must have shape [M, C, n + 3], got ", c.sizes());
            const at::Tensor& kept = hold(checked(c, "coefficients", at::kDouble, c.sizes()));
            const at::Tensor& grid = hold(checked(grids[k], "grids", at::kDouble, {c.size(0), 3}));
            tables.banks[k] =
                snnp::training::make_bank(kept.const_data_ptr<double>(), grid.const_data_ptr<double>(),
                                          c.size(0), c.size(1), c.size(2));
        }
        graph.vectors = hold(checked(vectors, "vectors", at::kDouble, {edges, 3})).const_data_ptr<double>();
        graph.types = integers(types, "types", {nodes}, s);
        graph.neighbour_types = integers(neighbour_types, "neighbour_types", {edges}, s);
        graph.starts = integers(starts, "starts", {nodes + 1}, edges + 1);
        for (int64_t i = 0; i < nodes; ++i) {
            TORCH_CHECK(graph.starts[i] <= graph.starts[i + 1], "`starts` must not decrease");
            most = std::max(most, graph.starts[i + 1] - graph.starts[i]);
        }
    }

    const int64_t* integers(const at::Tensor& x, const char* name, at::IntArrayRef shape, int64_t limit) {
        const int64_t* from = hold(checked(x, name, at::kLong, shape)).const_data_ptr<int64_t>();
        for (int64_t k = 0; k < x.numel(); ++k) {
            TORCH_CHECK(from[k] >= 0 && from[k] < limit, "`", name, "` must lie in [0, ", limit, "), got ",
                        from[k]);
        }
        return from;
    }

    at::TensorOptions options() const { return held[0].options().dtype(at::kDouble); }
};

} // namespace ase_mlip
