// The operators torch.ops.ase_mlip.snnp_basis and snnp_basis_rows: what ase_mlip/optimal_design/
// linear_basis.py makes rows of.

#include "basis.h"
#include "../common/parallel.h"
#include "composed.h"
#include "problem.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

namespace ase_mlip {
namespace {

using at::Tensor;
using snnp::basis::Cases;
using snnp::basis::Centres;
using snnp::basis::Columns;
using snnp::basis::Sums;
using snnp::basis::Workspace;

struct BasisProblem : SnnpProblem {
    Columns columns;
    std::vector<Cases> cases;

    BasisProblem(const composed::FeatureInputs& in, int64_t before)
        : SnnpProblem(in.vectors, in.starts, in.types, in.neighbour_types, in.coefficients, in.grids,
                      in.cases, in.cutoff, in.angular_cutoff) {
        composed::check_basis(in, before);
        check_grids();
        columns = snnp::basis::columns_of(tables, before);
        cases = snnp::basis::cases_of(tables);
    }

    /// The B-splines that an argument meets must be among the coefficients.
    void check_grids() const {
        for (const snnp::training::Bank& bank : tables.banks) {
            for (int64_t m = 0; m < bank.cases; ++m) {
                const double* row = bank.grid + 3 * m;
                TORCH_CHECK(row[1] > 0.0 && row[2] >= 1.0 && row[2] + 3.0 <= double(bank.size),
                            "`grids` must have positive distances of knots and at most as many intervals as "
                            "the coefficients allow, got ",
                            row[1], " and ", row[2]);
            }
        }
    }

    template <bool rows> void run(int64_t begin, int64_t end, const Sums& sums) const {
        Workspace room(tables, cases, most, rows);
        simd::run(Centres<rows>{{tables, columns, cases, graph, sums, begin, end, room}});
    }
};

/// The first node of each structure and the end, and that edges stay within their structure: they are worked
/// through side by side.
const int64_t* checked_structures(BasisProblem& problem, const Tensor& structures, const int64_t* others) {
    const int64_t count = structures.size(0) - 1;
    TORCH_CHECK(count >= 0,
                "`structures` must hold the first node of each structure and the number of nodes");
    const int64_t* first = problem.integers(structures, "structures", {count + 1}, problem.nodes + 1);
    TORCH_CHECK(first[0] == 0 && first[count] == problem.nodes, "`structures` must rise from 0 to ",
                problem.nodes, ", the number of nodes");
    for (int64_t b = 0; b < count; ++b) {
        TORCH_CHECK(first[b] <= first[b + 1], "`structures` must not decrease");
        for (int64_t e = problem.graph.starts[first[b]]; e < problem.graph.starts[first[b + 1]]; ++e) {
            TORCH_CHECK(others[e] >= first[b] && others[e] < first[b + 1],
                        "`neighbours` must be nodes of the structure of their centre, got ", others[e],
                        " in structure ", b);
        }
    }
    return first;
}

Tensor basis(int64_t before, const Tensor& vectors, const Tensor& starts, const Tensor& types,
             const Tensor& neighbour_types, at::TensorList coefficients, at::TensorList grids,
             at::TensorList cases, double cutoff, double angular_cutoff) {
    const at::NoGradGuard no_gradients;
    const BasisProblem problem({vectors, starts, types, neighbour_types, coefficients.vec(), grids.vec(),
                                cases.vec(), cutoff, angular_cutoff},
                               before);
    Tensor values = at::zeros({problem.nodes, problem.columns.count}, problem.options());
    Sums sums;
    sums.values = values.data_ptr<double>();
    parallel_for(problem.nodes, 16,
                 [&](int64_t begin, int64_t end) { problem.run<false>(begin, end, sums); });
    return values;
}

std::tuple<Tensor, Tensor, Tensor> basis_rows(const Tensor& neighbours, const Tensor& structures,
                                              int64_t before, const Tensor& vectors, const Tensor& starts,
                                              const Tensor& types, const Tensor& neighbour_types,
                                              at::TensorList coefficients, at::TensorList grids,
                                              at::TensorList cases, double cutoff, double angular_cutoff) {
    const at::NoGradGuard no_gradients;
    BasisProblem problem({vectors, starts, types, neighbour_types, coefficients.vec(), grids.vec(),
                          cases.vec(), cutoff, angular_cutoff},
                         before);
    const int64_t *others = problem.integers(neighbours, "neighbours", {problem.edges}, problem.nodes),
                  *first = checked_structures(problem, structures, others);
    const int64_t count = structures.size(0) - 1, p = problem.columns.count;
    Tensor values = at::zeros({problem.nodes, p}, problem.options());
    Tensor forces = at::zeros({problem.nodes, 3, p}, problem.options());
    Tensor strains = at::zeros({count, 6, p}, problem.options());
    parallel_for(count, 1, [&](int64_t begin, int64_t end) {
        for (int64_t b = begin; b < end; ++b) {
            Sums sums{values.data_ptr<double>(), forces.data_ptr<double>(),
                      strains.data_ptr<double>() + 6 * p * b, others};
            problem.run<true>(first[b], first[b + 1], sums);
        }
    });
    return {values, forces, strains};
}

} // namespace

TORCH_LIBRARY_FRAGMENT(ase_mlip, library) {
#define GRAPH                                                                                                \
    "int before, Tensor vectors, Tensor starts, Tensor types, Tensor neighbour_types, "                      \
    "Tensor[] coefficients, Tensor[] grids, Tensor[] cases, float cutoff, float angular_cutoff) -> "
    library.def("snnp_basis(" GRAPH "Tensor");
    library.def("snnp_basis_rows(Tensor neighbours, Tensor structures, " GRAPH "(Tensor, Tensor, Tensor)");
#undef GRAPH
}

TORCH_LIBRARY_IMPL(ase_mlip, CPU, library) {
    library.impl("snnp_basis", basis);
    library.impl("snnp_basis_rows", basis_rows);
}

} // namespace ase_mlip
