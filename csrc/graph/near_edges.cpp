// torch.ops.ase_mlip.near_edges: the edges of a stored neighbour list that are within the cutoff now, on a
// CPU. For ase_mlip/graph/neighbors.py; model files do not call it.

#include "../common/index_check.h"
#include "../common/tensor_check.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

namespace ase_mlip {
namespace {

using at::Tensor;

constexpr int64_t kEdgesPerTask = 8192;

struct List {
    const double *positions, *offsets, *squared_cutoffs;
    const int64_t *centres, *neighbours, *reverse, *shifts;
    int64_t count, nodes, stride; // stride: 1 with a cutoff for each edge, else 0

    /// Element by element and in this order, so that r_ij and r_ji are each other's negative to the last bit:
    /// otherwise one of the two could be cut off without the other.
    double vector(int64_t edge, double* r) const {
        for (int k = 0; k < 3; ++k) {
            const double difference = positions[3 * neighbours[edge] + k] - positions[3 * centres[edge] + k];
            r[k] = difference + offsets[3 * edge + k];
        }
        return r[0] * r[0] + r[1] * r[1] + r[2] * r[2];
    }
};

/// For every pair of the list its vector and, by task, its number among the kept ones of the task, or -1.
struct Selection {
    std::unique_ptr<double[]> vectors; // [E, 3]
    std::unique_ptr<int64_t[]> number; // [E]
    std::vector<int64_t> first;        // [tasks + 1]
    double smallest = INFINITY;        // squared

    explicit Selection(const List& list)
        : vectors(std::make_unique_for_overwrite<double[]>(3 * list.count)),
          number(std::make_unique_for_overwrite<int64_t[]>(list.count)),
          first(chunks_of(list.count, kEdgesPerTask) + 1) {
        const auto tasks = static_cast<int64_t>(first.size()) - 1;
        std::vector<double> shortest(tasks, INFINITY);
        parallel_for(tasks, 1, [&](int64_t begin, int64_t end) {
            for (int64_t task = begin; task < end; ++task) {
                first[task + 1] = select(list, task, shortest[task]);
            }
        });
        for (int64_t task = 0; task < tasks; ++task) {
            first[task + 1] += first[task];
            smallest = std::min(smallest, shortest[task]);
        }
    }

    int64_t number_of(int64_t edge) const {
        return edge < 0 || number[edge] < 0 ? -1 : first[edge / kEdgesPerTask] + number[edge];
    }

  private:
    int64_t select(const List& list, int64_t task, double& shortest) {
        int64_t kept = 0;
        const int64_t end = std::min(list.count, (task + 1) * kEdgesPerTask);
        for (int64_t edge = task * kEdgesPerTask; edge < end; ++edge) {
            const double squared = list.vector(edge, vectors.get() + 3 * edge);
            const bool keep = squared <= list.squared_cutoffs[list.stride * edge];
            number[edge] = keep ? kept : -1;
            kept += keep ? 1 : 0;
            shortest = std::min(shortest, squared);
        }
        return kept;
    }
};

/// edge_index [2, K], edge_vectors [K, 3], reverse [K], shifts [K, 3] of the K kept edges in order, and the
/// shortest distance of all pairs.
std::tuple<Tensor, Tensor, Tensor, Tensor, double> near_edges(const Tensor& positions,
                                                              const Tensor& edge_index, const Tensor& offsets,
                                                              const Tensor& reverse, const Tensor& shifts,
                                                              const Tensor& squared_cutoffs) {
    const int64_t count = edge_index.size(-1), nodes = positions.size(0);
    check_contiguous(positions, "positions", {nodes, 3}, at::kDouble);
    check_contiguous(edge_index, "edge_index", {2, count}, at::kLong);
    check_contiguous(offsets, "offsets", {count, 3}, at::kDouble);
    check_contiguous(reverse, "reverse", {count}, at::kLong);
    check_contiguous(shifts, "shifts", {count, 3}, at::kLong);
    const int64_t limits = squared_cutoffs.size(0);
    TORCH_CHECK(limits == 1 || limits == count, "`squared_cutoffs` must hold 1 or ", count, " numbers, got ",
                limits);
    check_contiguous(squared_cutoffs, "squared_cutoffs", {limits}, at::kDouble);
    const int64_t* index = edge_index.const_data_ptr<int64_t>();
    const List list{positions.const_data_ptr<double>(),
                    offsets.const_data_ptr<double>(),
                    squared_cutoffs.const_data_ptr<double>(),
                    index,
                    index + count,
                    reverse.const_data_ptr<int64_t>(),
                    shifts.const_data_ptr<int64_t>(),
                    count,
                    nodes,
                    limits == 1 ? 0 : 1};
    check_indices(index, 2 * count, 0, nodes, "edge_index");
    check_indices(list.reverse, count, -1, count, "reverse");
    const Selection selection(list);
    const int64_t kept = selection.first.back();
    Tensor new_index = at::empty({2, kept}, edge_index.options());
    Tensor new_vectors = at::empty({kept, 3}, offsets.options());
    Tensor new_reverse = at::empty({kept}, edge_index.options());
    Tensor new_shifts = at::empty({kept, 3}, edge_index.options());
    int64_t *centres = new_index.data_ptr<int64_t>(), *to_reverse = new_reverse.data_ptr<int64_t>(),
            *to_shifts = new_shifts.data_ptr<int64_t>();
    double* vectors = new_vectors.data_ptr<double>();
    parallel_for(count, kEdgesPerTask, [&](int64_t begin, int64_t end) {
        for (int64_t edge = begin; edge < end; ++edge) {
            if (selection.number[edge] < 0) {
                continue;
            }
            const int64_t to = selection.number_of(edge);
            centres[to] = list.centres[edge];
            centres[kept + to] = list.neighbours[edge];
            to_reverse[to] = selection.number_of(list.reverse[edge]);
            for (int k = 0; k < 3; ++k) {
                vectors[3 * to + k] = selection.vectors[3 * edge + k];
                to_shifts[3 * to + k] = list.shifts[3 * edge + k];
            }
        }
    });
    return {new_index, new_vectors, new_reverse, new_shifts, std::sqrt(selection.smallest)};
}

} // namespace

TORCH_LIBRARY_FRAGMENT(ase_mlip, library) {
    library.def(
        "near_edges(Tensor positions, Tensor edge_index, Tensor offsets, Tensor reverse, Tensor shifts, "
        "Tensor squared_cutoffs) -> (Tensor, Tensor, Tensor, Tensor, float)");
}

TORCH_LIBRARY_IMPL(ase_mlip, CPU, library) { library.impl("near_edges", near_edges); }

} // namespace ase_mlip
