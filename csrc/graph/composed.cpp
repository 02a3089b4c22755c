// Operators on edges and tokens, composed of torch's own: see common/composed.h.

#include "../common/composed.h"

#include <ATen/ATen.h>

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

Tensor normed(const Tensor& x, const cpu::BlockWeights& weights) {
    return x * at::rsqrt((x * x).mean(-1, true) + weights.eps) * weights.norm;
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
    const Tensor place = at::where(wanted >= 0, wanted, at::full_like(wanted, reverse.size(0)));
    const double shortest = squares.numel() == 0 ? std::numeric_limits<double>::infinity()
                                                 : std::sqrt(squares.min().item<double>());
    return {edge_index.index_select(1, kept), vectors.index_select(0, kept), numbers.index_select(0, place),
            shifts.index_select(0, kept), shortest};
}

std::tuple<Tensor, Tensor> attention(const cpu::AttentionInputs& inputs, const cpu::BlockWeights& weights) {
    const int64_t nodes = inputs.nodes.size(0), edges = inputs.edges.size(0), size = inputs.nodes.size(1);
    if (nodes == 0) {
        return {inputs.nodes, inputs.edges};
    }
    const Tensor counts = inputs.starts.diff();
    const int64_t width = counts.max().item<int64_t>() + 1, heads = inputs.heads;
    const Tensor numbers = at::arange(nodes, inputs.starts.options());
    const Tensor centres = at::repeat_interleave(numbers, counts, 0, edges);
    const Tensor rank =
        at::arange(edges, inputs.starts.options()) - inputs.starts.index_select(0, centres) + 1;
    const Tensor slots = at::cat({numbers * width, centres * width + rank});
    const Tensor tokens = normed(at::cat({inputs.nodes, inputs.edges}), weights);
    const Tensor projected = at::linear(tokens, weights.enter_weight, weights.enter_bias);
    const Tensor table = at::zeros({nodes * width, 3 * size}, projected.options())
                             .index_copy(0, slots, projected)
                             .view({nodes, width, 3, heads, size / heads})
                             .permute({2, 0, 3, 1, 4}); // [3, nodes, heads, width, size / heads]
    const double nothing = -std::numeric_limits<double>::infinity();
    const Tensor own = at::zeros({nodes}, inputs.log_weights.options());
    const Tensor bias = at::full({nodes * width}, nothing, inputs.log_weights.options())
                            .index_copy(0, slots, at::cat({own, inputs.log_weights}))
                            .view({nodes, 1, 1, width});
    const Tensor scores = at::matmul(table[0], table[1].transpose(-1, -2)) * inputs.scale + bias;
    const Tensor mixed =
        at::matmul(at::softmax(scores, -1), table[2]).transpose(1, 2).reshape({nodes * width, size});
    const Tensor left = at::linear(mixed.index_select(0, slots), weights.leave_weight, weights.leave_bias);
    return {left.narrow(0, 0, nodes), inputs.edges + left.narrow(0, nodes, edges)};
}

Tensor feedforward(const Tensor& x, const cpu::BlockWeights& weights) {
    const Tensor entered = at::linear(normed(x, weights), weights.enter_weight, weights.enter_bias);
    return x + at::linear(at::glu(entered, -1), weights.leave_weight, weights.leave_bias);
}

} // namespace ase_mlip::composed
