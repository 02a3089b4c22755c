// The jobs that a GPU works through, one index after another on the host, as operators for the tests:
// torch.ops.ase_mlip_test.snnp_in_stages has the arguments of torch.ops.ase_mlip.snnp, virials_in_runs and
// virial_in_runs those of virials_from_gradients and virial_from_gradients and the length of a run.

#include "graph/formulas.h"
#include "graph/runs.h"
#include "snnp/staged.h"

#include <ATen/Dispatch.h>
#include <ATen/ops/sort.h>
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

template <End end, typename T, typename Term>
void add_runs(const Term& term, const Tensor& row_of, const int64_t* order, int64_t length, Tensor& rows) {
    const RunsJob<T, Term, end> job{term,
                                    row_of.const_data_ptr<int64_t>(),
                                    order,
                                    row_of.numel(),
                                    rows.size(0),
                                    length,
                                    rows.data_ptr<T>()};
    Loop{}(job.count(), job);
}

/// As csrc/graph/cuda.cu does.
Tensor virials_in_runs(const Tensor& gradients, const Tensor& vectors, const Tensor& edge_index,
                       int64_t n_nodes, int64_t length) {
    Tensor virials = at::zeros({n_nodes, 3, 3}, gradients.options());
    const auto sorted = at::sort(edge_index[1]);
    const Tensor neighbours = std::get<0>(sorted), order = std::get<1>(sorted);
    AT_DISPATCH_FLOATING_TYPES(gradients.scalar_type(), "virials_in_runs", [&] {
        const AtomVirialTerm<scalar_t> term{gradients.const_data_ptr<scalar_t>(),
                                            vectors.const_data_ptr<scalar_t>()};
        add_runs<End::centre, scalar_t>(term, edge_index[0], nullptr, length, virials);
        add_runs<End::neighbour, scalar_t>(term, neighbours, order.const_data_ptr<int64_t>(), length,
                                           virials);
    });
    return virials;
}

Tensor virial_in_runs(const Tensor& gradients, const Tensor& vectors, const Tensor& edge_structure,
                      int64_t n_structures, int64_t length) {
    Tensor virials = at::zeros({n_structures, 3, 3}, gradients.options());
    AT_DISPATCH_FLOATING_TYPES(gradients.scalar_type(), "virial_in_runs", [&] {
        const StructureVirialTerm<scalar_t> term{gradients.const_data_ptr<scalar_t>(),
                                                 vectors.const_data_ptr<scalar_t>()};
        add_runs<End::centre, scalar_t>(term, edge_structure, nullptr, length, virials);
    });
    return virials;
}

} // namespace

TORCH_LIBRARY(ase_mlip_test, library) {
    library.def("virials_in_runs", virials_in_runs);
    library.def("virial_in_runs", virial_in_runs);
    library.def("snnp_in_stages(Tensor edge_vectors, Tensor starts, Tensor types, Tensor neighbour_types, "
                "Tensor node_weights, Tensor[] coefficients, Tensor[] grids, Tensor[] cases, Tensor skip, "
                "Tensor[] layers, Tensor scale, float cutoff, float angular_cutoff) -> (Tensor, Tensor)",
                evaluate);
}
