// The operators torch.ops.ase_mlip.snnp_features, snnp_features_backward and snnp_features_parameters, from
// which ase_mlip/networks/snnp/training.py makes functions that autograd knows.

#include "../common/parallel.h"
#include "problem.h"

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
using snnp::training::Neighbour;
using snnp::training::Pass;

// Sums over centres are made in so many parts, whatever the number of threads: results do not depend on it.
constexpr int64_t kParts = 16;

/// With the passes over its centres.
struct Problem : SnnpProblem {
    using SnnpProblem::SnnpProblem;

    template <Pass pass> void run(int64_t begin, int64_t end, const Arrays& arrays) const {
        std::vector<Neighbour> neighbours(most);
        std::vector<double> numbers(4 * most * snnp::training::kMostLanes);
        simd::run(Centres<pass>{{tables, graph, arrays, begin, end, neighbours, numbers}});
    }
    template <Pass pass> void run_all(const Arrays& arrays) const {
        parallel_for(nodes, 64, [&](int64_t begin, int64_t end) { run<pass>(begin, end, arrays); });
    }
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
