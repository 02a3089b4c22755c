// Operators on edges, composed of torch's own: see composed.h.

#include "composed.h"

#include <ATen/ATen.h>
#include <torch/library.h>

#include <cmath>
#include <limits>

namespace ase_mlip::composed {
namespace {

using at::Tensor;

/// Whether each row of [n, k] differs from the one before; the first does not.
Tensor differs_from_before(const Tensor& rows) {
    const int64_t n = rows.size(0);
    const Tensor changes = (rows.narrow(0, 1, n - 1) != rows.narrow(0, 0, n - 1)).any(1);
    return at::cat({at::zeros({1}, changes.options()), changes});
}

/// The permutation that sorts rows [n, k] by their columns, the first one first.
Tensor sorted_rows(const Tensor& rows) {
    Tensor order = at::arange(rows.size(0), rows.options());
    for (int64_t column = rows.size(1) - 1; column >= 0; --column) {
        const Tensor values = rows.select(1, column).index_select(0, order);
        order = order.index_select(0, std::get<1>(at::sort(values, /*stable=*/true, 0, false)));
    }
    return order;
}

/// r (x) g of each edge, with LAMMPS' sign: [E, 3, 3]
Tensor products(const Tensor& gradients, const Tensor& edge_vectors) {
    return -edge_vectors.unsqueeze(2) * gradients.unsqueeze(1);
}

} // namespace

/// Edges (i, j, S) and, behind them, their reverses (j, i, -S) are sorted together: equal rows become
/// neighbours, of which the first edge is the answer to the reverses.
Tensor reverse_edges(const Tensor& edge_index, const Tensor& shifts) {
    const int64_t count = edge_index.size(1);
    if (count == 0) {
        return at::empty({0}, edge_index.options());
    }
    const Tensor rows =
        at::cat({at::cat({edge_index.t(), shifts}, 1), at::cat({edge_index.flip(0).t(), -shifts}, 1)});
    const Tensor order = sorted_rows(rows);
    const Tensor group_of_sorted = differs_from_before(rows.index_select(0, order)).cumsum(0);
    const Tensor group = at::empty_like(group_of_sorted).scatter(0, order, group_of_sorted);
    const Tensor nobody = at::full({2 * count}, count, edge_index.options());
    const Tensor edges = at::arange(count, edge_index.options());
    const Tensor first = nobody.scatter_reduce(0, group.narrow(0, 0, count), edges, "amin");
    const Tensor found = first.index_select(0, group.narrow(0, count, count));
    return at::where(found < count, found, at::full_like(found, -1));
}

Tensor forces(const Tensor& gradients, const Tensor& edge_index, int64_t n_nodes) {
    return at::zeros({n_nodes, 3}, gradients.options())
        .index_add(0, edge_index[0], gradients)
        .index_add(0, edge_index[1], -gradients);
}

Tensor atom_virials(const Tensor& gradients, const Tensor& edge_vectors, const Tensor& edge_index,
                    int64_t n_nodes) {
    const Tensor halves = 0.5 * products(gradients, edge_vectors);
    return at::zeros({n_nodes, 3, 3}, gradients.options())
        .index_add(0, edge_index[0], halves)
        .index_add(0, edge_index[1], halves);
}

Tensor structure_virials(const Tensor& gradients, const Tensor& edge_vectors, const Tensor& edge_structure,
                         int64_t n_structures) {
    return at::zeros({n_structures, 3, 3}, gradients.options())
        .index_add(0, edge_structure, products(gradients, edge_vectors));
}

std::tuple<Tensor, Tensor, Tensor, Tensor, double> near_edges(const Tensor& positions,
                                                              const Tensor& edge_index, const Tensor& offsets,
                                                              const Tensor& reverse, const Tensor& shifts,
                                                              const Tensor& squared_cutoffs) {
    // Element by element and in this order, so that r_ij and r_ji are each other's negative to the last bit:
    // otherwise one of the two could be cut off without the other.
    const Tensor vectors =
        positions.index_select(0, edge_index[1]).sub_(positions.index_select(0, edge_index[0])).add_(offsets);
    const Tensor x = vectors.select(1, 0), y = vectors.select(1, 1), z = vectors.select(1, 2);
    const Tensor squares = x * x + y * y + z * z;
    const Tensor keep = squares <= squared_cutoffs;
    const Tensor kept = keep.nonzero().squeeze(1);
    // of an edge that is kept; the last entry is that of "no reverse edge", -1
    const Tensor number = at::where(keep, keep.cumsum(0) - 1, at::full_like(edge_index[0], -1));
    const Tensor numbers = at::cat({number, at::full({1}, -1, number.options())});
    const Tensor wanted = reverse.index_select(0, kept);
    const Tensor entry = at::where(wanted >= 0, wanted, at::full_like(wanted, reverse.size(0)));
    const double shortest = squares.numel() == 0 ? std::numeric_limits<double>::infinity()
                                                 : std::sqrt(squares.min().item<double>());
    return {edge_index.index_select(1, kept), vectors.index_select(0, kept), numbers.index_select(0, entry),
            shifts.index_select(0, kept), shortest};
}

} // namespace ase_mlip::composed

TORCH_LIBRARY(ase_mlip_composed, library) {
    using namespace ase_mlip;
    library.def("reverse_edges", composed::reverse_edges);
    library.def("forces_from_gradients", composed::forces);
    library.def("virials_from_gradients", composed::atom_virials);
    library.def("virial_from_gradients", composed::structure_virials);
    library.def("near_edges", composed::near_edges);
}

TORCH_LIBRARY_IMPL(ase_mlip, CUDA, library) { // there is no kernel
    library.impl("near_edges", ase_mlip::composed::near_edges);
}
