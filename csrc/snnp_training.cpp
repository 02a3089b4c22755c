// The operators torch.ops.ase_mlip.snnp_features, snnp_features_backward and snnp_features_parameters, from
// which ase_mlip/architectures/snnp_training.py makes functions that autograd knows.

#include "snnp_training.h"
#include "parallel.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <torch/library.h>

namespace ase_mlip {
namespace {

using at::Tensor;
using snnp::training::Arrays;
using snnp::training::Bank;
using snnp::training::Centres;
using snnp::training::Graph;
using snnp::training::Neighbour;
using snnp::training::Pass;
using snnp::training::Tables;

// Sums over centres are made in so many parts, whatever the number of threads: results do not depend on it.
constexpr int64_t kParts = 16;

Tensor checked(const Tensor& x, const char* name, at::ScalarType dtype, at::IntArrayRef shape) {
    TORCH_CHECK(x.scalar_type() == dtype && x.sizes() == shape, "`", name, "` must have dtype ", dtype,
                " and shape ", shape, ", got ", x.scalar_type(), " and ", x.sizes());
    return x.contiguous();
}

/// Holds the tensors that the plain tables point into.
struct Problem {
    std::vector<Tensor> held;
    Tables tables;
    Graph graph;
    int64_t nodes, edges, most = 0;

    const Tensor& hold(const Tensor& x) { return held.emplace_back(x); }

    Problem(const Tensor& vectors, const Tensor& starts, const Tensor& types, const Tensor& neighbour_types,
            at::TensorList coefficients, at::TensorList grids, at::TensorList cases, double cutoff,
            double angular_cutoff)
        : nodes(types.size(0)), edges(vectors.size(0)) {
        TORCH_CHECK(coefficients.size() == 4 && grids.size() == 4 && cases.size() >= 3,
                    "expected 4 banks of splines with their grids and 3 tables of cases");
        const int64_t s = cases[0].size(0);
        tables.species = s;
        tables.cutoff = cutoff;
        tables.angular_cutoff = angular_cutoff;
        held.reserve(16);
        tables.pair_cases = integers(cases[0], "cases", {s, s}, coefficients[0].size(0));
        tables.radial_cases = integers(cases[1], "cases", {s, s}, coefficients[1].size(0));
        tables.angle_cases = integers(cases[2], "cases", {s, s, s}, coefficients[3].size(0));
        for (int k = 0; k < 4; ++k) {
            const Tensor& c = coefficients[k];
            TORCH_CHECK(c.dim() == 3, "`coefficients` must have shape [M, C, n + 3], got ", c.sizes());
            const Tensor& kept = hold(checked(c, "coefficients", at::kDouble, c.sizes()));
            const Tensor& grid = hold(checked(grids[k], "grids", at::kDouble, {c.size(0), 3}));
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

    const int64_t* integers(const Tensor& x, const char* name, at::IntArrayRef shape, int64_t limit) {
        const int64_t* from = hold(checked(x, name, at::kLong, shape)).const_data_ptr<int64_t>();
        for (int64_t k = 0; k < x.numel(); ++k) {
            TORCH_CHECK(from[k] >= 0 && from[k] < limit, "`", name, "` must lie in [0, ", limit, "), got ",
                        from[k]);
        }
        return from;
    }

    template <Pass pass> void run(int64_t begin, int64_t end, const Arrays& arrays) const {
        std::vector<Neighbour> neighbours(most);
        std::vector<double> numbers(4 * most * snnp::training::L);
        simd::run(Centres<pass>{tables, graph, arrays, begin, end, neighbours, numbers});
    }
    template <Pass pass> void run_all(const Arrays& arrays) const {
        parallel_for(nodes, 64, [&](int64_t begin, int64_t end) { run<pass>(begin, end, arrays); });
    }
    at::TensorOptions options() const { return held[0].options().dtype(at::kDouble); }
};

Tensor features(const Tensor& vectors, const Tensor& starts, const Tensor& types,
                const Tensor& neighbour_types, at::TensorList coefficients, at::TensorList grids,
                at::TensorList cases, double cutoff, double angular_cutoff) {
    const at::NoGradGuard no_gradients;
    const Problem problem(vectors, starts, types, neighbour_types, coefficients, grids, cases, cutoff,
                          angular_cutoff);
    Tensor found = at::zeros({problem.nodes, problem.tables.features()}, problem.options());
    Arrays arrays;
    arrays.features = found.data_ptr<double>();
    problem.run_all<Pass::features>(arrays);
    return found;
}

Tensor features_backward(const Tensor& slopes, const Tensor& vectors, const Tensor& starts,
                         const Tensor& types, const Tensor& neighbour_types, at::TensorList coefficients,
                         at::TensorList grids, at::TensorList cases, double cutoff, double angular_cutoff) {
    const at::NoGradGuard no_gradients;
    const Problem problem(vectors, starts, types, neighbour_types, coefficients, grids, cases, cutoff,
                          angular_cutoff);
    const Tensor given = checked(slopes, "slopes", at::kDouble, {problem.nodes, problem.tables.features()});
    Tensor found = at::zeros({problem.edges, 3}, problem.options());
    Arrays arrays;
    arrays.slopes = given.const_data_ptr<double>();
    arrays.by_vectors = found.data_ptr<double>();
    problem.run_all<Pass::backward>(arrays);
    return found;
}

/// [M, K, C padded] summed over parts, to [M, C, K].
Tensor collected(const Bank& bank, const std::vector<std::vector<double>>& parts,
                 const at::TensorOptions& options) {
    Tensor found = at::zeros({bank.cases, bank.channels, bank.size}, options);
    double* to = found.data_ptr<double>();
    for (const std::vector<double>& part : parts) {
        for (int64_t m = 0; m < bank.cases; ++m) {
            for (int64_t c = 0; c < bank.channels; ++c) {
                for (int64_t k = 0; k < bank.size; ++k) {
                    to[(m * bank.channels + c) * bank.size + k] += part[bank.row(m, k) + c];
                }
            }
        }
    }
    return found;
}

std::vector<Tensor> features_parameters(const Tensor& values, const Tensor& slopes, const Tensor& directions,
                                        const Tensor& vectors, const Tensor& starts, const Tensor& types,
                                        const Tensor& neighbour_types, at::TensorList coefficients,
                                        at::TensorList grids, at::TensorList cases, double cutoff,
                                        double angular_cutoff) {
    const at::NoGradGuard no_gradients;
    const Problem problem(vectors, starts, types, neighbour_types, coefficients, grids, cases, cutoff,
                          angular_cutoff);
    const std::vector<int64_t> shape{problem.nodes, problem.tables.features()};
    const Tensor v = checked(values, "values", at::kDouble, shape);
    const Tensor w = checked(slopes, "slopes", at::kDouble, shape);
    const Tensor d = checked(directions, "directions", at::kDouble, {problem.edges, 3});
    std::vector<Tensor> found{at::zeros(shape, problem.options())};
    std::vector<std::vector<double>> parts[4];
    for (int b = 0; b < 4; ++b) {
        const size_t size = problem.tables.banks[b].coefficients.size();
        parts[b].assign(kParts, std::vector<double>(size, 0.0));
    }
    parallel_for(kParts, 1, [&](int64_t first, int64_t last) {
        for (int64_t part = first; part < last; ++part) {
            Arrays arrays;
            arrays.values = v.const_data_ptr<double>();
            arrays.slopes = w.const_data_ptr<double>();
            arrays.directions = d.const_data_ptr<double>();
            arrays.features = found[0].data_ptr<double>();
            for (int b = 0; b < 4; ++b) {
                arrays.by_coefficients[b] = parts[b][part].data();
            }
            problem.run<Pass::parameters>(problem.nodes * part / kParts, problem.nodes * (part + 1) / kParts,
                                          arrays);
        }
    });
    for (int b = 0; b < 4; ++b) {
        found.push_back(collected(problem.tables.banks[b], parts[b], problem.options()));
    }
    return found;
}

} // namespace

TORCH_LIBRARY_FRAGMENT(ase_mlip, library) {
#define GRAPH                                                                                                \
    "Tensor vectors, Tensor starts, Tensor types, Tensor neighbour_types, Tensor[] coefficients, "           \
    "Tensor[] grids, Tensor[] cases, float cutoff, float angular_cutoff) -> "
    library.def("snnp_features(" GRAPH "Tensor");
    library.def("snnp_features_backward(Tensor slopes, " GRAPH "Tensor");
    library.def("snnp_features_parameters(Tensor values, Tensor slopes, Tensor directions, " GRAPH
                "Tensor[]");
#undef GRAPH
}

TORCH_LIBRARY_IMPL(ase_mlip, CPU, library) {
    library.impl("snnp_features", features);
    library.impl("snnp_features_backward", features_backward);
    library.impl("snnp_features_parameters", features_parameters);
}

} // namespace ase_mlip
