#include "../common/launch.cuh"
#include "formulas.h"
#include "kernels.h"
#include "runs.h"

#include <ATen/Dispatch.h>
#include <ATen/ops/sort.h>
#include <c10/cuda/CUDAGuard.h>

namespace ase_mlip::cuda {
namespace {

// Edges of a thread. A centre has its edges in a row; neighbours come in any order unless they are sorted.
constexpr int64_t kAlone = 1, kOfAtom = 16, kOfStructure = 64;

struct ReverseEdgesJob {
    SortedEdges edges;
    int64_t* found;
    __device__ void operator()(int64_t edge) const {
        CUDA_KERNEL_ASSERT(edge == 0 || edges.centres[edge - 1] <= edges.centres[edge]);
        found[edge] = find_reverse(edges, edge, first_edge_of(edges, edges.neighbours[edge]));
    }
};

template <End end, typename T, typename Term>
void add_runs(const Term& term, const at::Tensor& row_of, const at::Tensor* order, int64_t length,
              at::Tensor& rows) {
    const RunsJob<T, Term, end> job{term,
                                    row_of.const_data_ptr<int64_t>(),
                                    order == nullptr ? nullptr : order->const_data_ptr<int64_t>(),
                                    row_of.numel(),
                                    rows.size(0),
                                    length,
                                    rows.data_ptr<T>()};
    Launch{256}(job.count(), job);
}

} // namespace

void reverse_edges(const at::Tensor& edge_index, const at::Tensor& shifts, at::Tensor& reverse) {
    const int64_t count = edge_index.size(1);
    const c10::cuda::CUDAGuard guard(edge_index.device());
    const int64_t* centres = edge_index.const_data_ptr<int64_t>();
    const SortedEdges edges{centres, centres + count, shifts.const_data_ptr<int64_t>(), count};
    Launch{256}(count, ReverseEdgesJob{edges, reverse.data_ptr<int64_t>()});
}

void forces(const at::Tensor& gradients, const at::Tensor& edge_index, at::Tensor& forces) {
    const c10::cuda::CUDAGuard guard(gradients.device());
    AT_DISPATCH_FLOATING_TYPES(gradients.scalar_type(), "forces_from_gradients", [&] {
        const ForceTerm<scalar_t> term{gradients.const_data_ptr<scalar_t>()};
        add_runs<End::centre, scalar_t>(term, edge_index[0], nullptr, kOfAtom, forces);
        add_runs<End::neighbour, scalar_t>(term, edge_index[1], nullptr, kAlone, forces);
    });
}

/// Nine numbers for each edge: sorting the neighbours costs less than adding all of them atomically.
void atom_virials(const at::Tensor& gradients, const at::Tensor& edge_vectors, const at::Tensor& edge_index,
                  at::Tensor& virials) {
    const c10::cuda::CUDAGuard guard(gradients.device());
    const auto [neighbours, order] = at::sort(edge_index[1]);
    const at::Tensor& sorted = order; // a structured binding cannot be captured
    AT_DISPATCH_FLOATING_TYPES(gradients.scalar_type(), "virials_from_gradients", [&, &to = neighbours] {
        const AtomVirialTerm<scalar_t> term{gradients.const_data_ptr<scalar_t>(),
                                            edge_vectors.const_data_ptr<scalar_t>()};
        add_runs<End::centre, scalar_t>(term, edge_index[0], nullptr, kOfAtom, virials);
        add_runs<End::neighbour, scalar_t>(term, to, &sorted, kOfAtom, virials);
    });
}

void structure_virials(const at::Tensor& gradients, const at::Tensor& edge_vectors,
                       const at::Tensor& edge_structure, at::Tensor& virials) {
    const c10::cuda::CUDAGuard guard(gradients.device());
    AT_DISPATCH_FLOATING_TYPES(gradients.scalar_type(), "virial_from_gradients", [&] {
        const StructureVirialTerm<scalar_t> term{gradients.const_data_ptr<scalar_t>(),
                                                 edge_vectors.const_data_ptr<scalar_t>()};
        add_runs<End::centre, scalar_t>(term, edge_structure, nullptr, kOfStructure, virials);
    });
}

} // namespace ase_mlip::cuda
