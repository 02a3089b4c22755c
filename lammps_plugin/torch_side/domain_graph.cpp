#include "domain_graph.h"

#include "../../csrc/common/parallel.h"
#include "../both_sides/elements.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/nonzero.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <numeric>
#include <stdexcept>
#include <utility>

namespace mlip {
namespace {

constexpr int64_t kPairsPerTask = 8192;

using ase_mlip::chunks_of, ase_mlip::parallel_chunks, ase_mlip::parallel_for;
using Flags = std::vector<unsigned char>;

unsigned char read(unsigned char& flag) {
    return std::atomic_ref<unsigned char>(flag).load(std::memory_order_relaxed);
}
void write(unsigned char& flag, unsigned char value) {
    std::atomic_ref<unsigned char>(flag).store(value, std::memory_order_relaxed);
}

void check_range(const std::vector<int64_t>& values, int64_t low, int64_t high, const char* name) {
    for (const int64_t value : values) {
        if (value < low || value >= high) {
            throw std::runtime_error(std::string("topology: `") + name + "` must lie in [" +
                                     std::to_string(low) + ", " + std::to_string(high) + "), got " +
                                     std::to_string(value));
        }
    }
}

void check(const Topology& topology) {
    const auto n_nodes = static_cast<int64_t>(topology.species.size());
    const auto n_pairs = static_cast<int64_t>(topology.centre.size());
    check_range(topology.species, 1, kMaxAtomicNumber + 1, "species");
    check_range({topology.n_owned}, 0, n_nodes + 1, "n_owned");
    check_range(topology.centre, 0, n_nodes, "centre");
    check_range(topology.neighbour, 0, n_nodes, "neighbour");
    check_range(topology.centre_atom, 0, topology.n_all, "centre_atom");
    check_range(topology.neighbour_atom, 0, topology.n_all, "neighbour_atom");
    check_range(topology.reverse, -1, n_pairs, "reverse");
    for (const auto* list :
         {&topology.neighbour, &topology.centre_atom, &topology.neighbour_atom, &topology.reverse}) {
        if (static_cast<int64_t>(list->size()) != n_pairs) {
            throw std::runtime_error("topology: all lists of pairs must have the length of `centre`, " +
                                     std::to_string(n_pairs) + ", got " + std::to_string(list->size()));
        }
    }
    if (!std::is_sorted(topology.centre.begin(), topology.centre.end())) {
        throw std::runtime_error("topology: pairs must be sorted by `centre`");
    }
}

void check_positions(const double* positions, int64_t n_all) {
    parallel_for(3 * n_all, kPairsPerTask, [&](int64_t begin, int64_t end) {
        for (int64_t k = begin; k < end; ++k) {
            if (!std::isfinite(positions[k])) {
                throw std::runtime_error("positions: expected finite numbers, got " +
                                         std::to_string(positions[k]) +
                                         "; check the input, or reduce the timestep that led here");
            }
        }
    });
}

void check_smallest(double squared_distance) {
    if (squared_distance < kSmallestDistance * kSmallestDistance) {
        throw std::runtime_error("positions: expected distances of at least 0.001 Å, got " +
                                 std::to_string(std::sqrt(squared_distance)) +
                                 " Å between two atoms; remove duplicates, or reduce the timestep");
    }
}

at::Tensor integers(std::vector<int64_t>& values) {
    return at::from_blob(values.data(), {static_cast<int64_t>(values.size())}, at::kLong);
}

} // namespace

DomainGraph::DomainGraph(const Description& model, at::Device device)
    : device_(device), cutoff_(model.cutoff), hops_(model.hops()), pair_cutoffs_(model.pair_cutoffs) {}

void DomainGraph::set_topology(const Topology& topology) {
    check(topology);
    topology_ = topology;
    squared_cutoffs_.assign(1, cutoff_ * cutoff_);
    if (!pair_cutoffs_.empty()) {
        constexpr int size = kMaxAtomicNumber + 1;
        std::vector<double> table(size * size, cutoff_);
        for (const PairCutoff& pair : pair_cutoffs_) {
            table[pair.first * size + pair.second] = pair.cutoff;
            table[pair.second * size + pair.first] = pair.cutoff;
        }
        squared_cutoffs_.clear();
        for (size_t e = 0; e < topology.centre.size(); ++e) {
            const double cutoff =
                table[topology.species[topology.centre[e]] * size + topology.species[topology.neighbour[e]]];
            squared_cutoffs_.push_back(cutoff * cutoff);
        }
    }
    nodes_.species =
        integers(topology_.species).to(device_, at::kLong, /*non_blocking=*/false, /*copy=*/true);
    nodes_.node_structure = at::zeros_like(nodes_.species);
    nodes_.node_weights = at::zeros({n_nodes()}, at::TensorOptions(at::kDouble).device(device_));
    nodes_.node_weights.narrow(0, 0, n_owned()).fill_(1.0);
    if (!device_.is_cpu()) {
        copy_to_device();
    }
}

void DomainGraph::copy_to_device() {
    pairs_ = at::stack({integers(topology_.centre), integers(topology_.neighbour)}).to(device_);
    atoms_ = at::stack({integers(topology_.centre_atom), integers(topology_.neighbour_atom)}).to(device_);
    reverse_ = integers(topology_.reverse).clone().to(device_);
    limits_ = at::tensor(squared_cutoffs_, at::kDouble).to(device_);
}

Graph DomainGraph::build(const double* positions) const {
    return device_.is_cpu() ? build_with_loops(positions) : build_with_tensors(positions);
}

// ---- plain loops --------------------------------------------------------------------------------------

/// Which pairs are within the cutoff. A pair and its reverse may differ by rounding of the positions they are
/// measured between; one without the other would be wrong. That is why the operator `near_edges`, whose list
/// has one position for each node, does not serve here; and csrc/snnp/atoms.h has no nodes and needs no
/// reverse.
Flags DomainGraph::flag_near_pairs(const double* positions) const {
    const auto n_pairs = static_cast<int64_t>(topology_.centre.size());
    const int64_t stride = squared_cutoffs_.size() > 1 ? 1 : 0;
    Flags near(n_pairs), both(n_pairs);
    std::vector<double> smallest(chunks_of(n_pairs, kPairsPerTask), INFINITY);
    parallel_chunks(n_pairs, kPairsPerTask, [&](int64_t chunk, int64_t begin, int64_t end) {
        double least = INFINITY;
        for (int64_t e = begin; e < end; ++e) {
            const double* const from = positions + 3 * topology_.centre_atom[e];
            const double* const to = positions + 3 * topology_.neighbour_atom[e];
            const double x = to[0] - from[0], y = to[1] - from[1], z = to[2] - from[2];
            const double squared = x * x + y * y + z * z;
            least = std::min(least, squared);
            near[e] = squared <= squared_cutoffs_[stride * e];
        }
        smallest[chunk] = least;
    });
    check_smallest(smallest.empty() ? INFINITY : *std::min_element(smallest.begin(), smallest.end()));
    parallel_for(n_pairs, kPairsPerTask, [&](int64_t begin, int64_t end) {
        for (int64_t e = begin; e < end; ++e) {
            const int64_t reverse = topology_.reverse[e];
            both[e] = near[e] && (reverse < 0 || near[reverse]);
        }
    });
    return both;
}

/// The near pairs that become edges of the graph: an owned node reaches their centre over at most hops - 1
/// others. The rest of the halo cannot change an owned energy.
Flags DomainGraph::flag_edges(const Flags& near) const {
    if (!has_ghosts()) {
        return near;
    }
    const auto n_pairs = static_cast<int64_t>(near.size());
    Flags reached(n_nodes(), 0); // 1 + the number of edges from an owned node, or 0
    std::fill_n(reached.begin(), n_owned(), 1);
    for (int hop = 1; hop < hops_; ++hop) {
        const auto next =
            static_cast<unsigned char>(hop + 1); // several threads may find a node: all say this
        parallel_for(n_pairs, kPairsPerTask, [&](int64_t begin, int64_t end) {
            for (int64_t e = begin; e < end; ++e) {
                if (near[e] && read(reached[topology_.centre[e]]) == hop &&
                    read(reached[topology_.neighbour[e]]) == 0) {
                    write(reached[topology_.neighbour[e]], next);
                }
            }
        });
    }
    Flags kept(near.size());
    parallel_for(n_pairs, kPairsPerTask, [&](int64_t begin, int64_t end) {
        for (int64_t e = begin; e < end; ++e) {
            kept[e] = near[e] && reached[topology_.centre[e]] != 0;
        }
    });
    return kept;
}

/// The number of each kept edge among them, -1 for the others, and how many there are.
std::pair<std::vector<int64_t>, int64_t> DomainGraph::number_edges(const Flags& kept) const {
    const auto n_pairs = static_cast<int64_t>(kept.size());
    std::vector<int64_t> numbers(n_pairs), first(chunks_of(n_pairs, kPairsPerTask) + 1, 0);
    parallel_chunks(n_pairs, kPairsPerTask, [&](int64_t chunk, int64_t begin, int64_t end) {
        first[chunk + 1] = std::count(kept.begin() + begin, kept.begin() + end, 1);
    });
    std::partial_sum(first.begin(), first.end(), first.begin());
    parallel_chunks(n_pairs, kPairsPerTask, [&](int64_t chunk, int64_t begin, int64_t end) {
        int64_t next = first[chunk];
        for (int64_t e = begin; e < end; ++e) {
            numbers[e] = kept[e] ? next++ : -1;
        }
    });
    return {std::move(numbers), first.back()};
}

Graph DomainGraph::build_with_loops(const double* positions) const {
    check_positions(positions, topology_.n_all);
    const auto [numbers, n_kept] = number_edges(flag_edges(flag_near_pairs(positions)));
    Graph graph = nodes_;
    graph.edge_index = at::empty({2, n_kept}, at::kLong);
    graph.reverse_edges = at::empty({n_kept}, at::kLong);
    graph.edge_vectors = at::empty({n_kept, 3}, at::kDouble);
    auto* const centres = graph.edge_index.data_ptr<int64_t>();
    auto* const neighbours = centres + n_kept;
    auto* const reverses = graph.reverse_edges.data_ptr<int64_t>();
    auto* const vectors = graph.edge_vectors.data_ptr<double>();
    parallel_for(static_cast<int64_t>(numbers.size()), kPairsPerTask, [&](int64_t begin, int64_t end) {
        for (int64_t e = begin; e < end; ++e) {
            const int64_t number = numbers[e];
            if (number < 0) {
                continue;
            }
            centres[number] = topology_.centre[e];
            neighbours[number] = topology_.neighbour[e];
            reverses[number] = topology_.reverse[e] < 0 ? -1 : numbers[topology_.reverse[e]];
            const double* const from = positions + 3 * topology_.centre_atom[e];
            const double* const to = positions + 3 * topology_.neighbour_atom[e];
            for (int k = 0; k < 3; ++k) {
                vectors[3 * number + k] = to[k] - from[k];
            }
        }
    });
    return graph;
}

// ---- tensors ------------------------------------------------------------------------------------------

at::Tensor DomainGraph::flag_edges(const at::Tensor& near) const {
    if (!has_ghosts()) {
        return near;
    }
    at::Tensor reached = nodes_.node_weights > 0.0;
    const at::Tensor& centres = pairs_[0];
    for (int hop = 1; hop < hops_; ++hop) {
        const at::Tensor from = near.logical_and(reached.index_select(0, centres));
        const at::Tensor found =
            at::zeros({n_nodes()}, nodes_.species.options()).index_add(0, pairs_[1], from.to(at::kLong));
        reached = reached.logical_or(found > 0);
    }
    return near.logical_and(reached.index_select(0, centres));
}

Graph DomainGraph::build_with_tensors(const double* positions) const {
    check_positions(positions, topology_.n_all);
    const at::Tensor x =
        at::from_blob(const_cast<double*>(positions), {topology_.n_all, 3}, at::kDouble).to(device_);
    const at::Tensor vectors = x.index_select(0, atoms_[1]) - x.index_select(0, atoms_[0]);
    const at::Tensor squared = (vectors * vectors).sum(1);
    at::Tensor near = squared <= limits_;
    const at::Tensor opposite = reverse_.clamp_min(0), has_none = reverse_ < 0;
    near = near.logical_and(near.index_select(0, opposite).logical_or(has_none));
    const at::Tensor kept = flag_edges(near);
    const at::Tensor indices = at::nonzero(kept).squeeze(1);
    const at::Tensor renumbered = at::where(kept, kept.cumsum(0) - 1, -1);
    if (squared.numel() > 0) {
        check_smallest(squared.min().item<double>());
    }
    Graph graph = nodes_;
    graph.edge_index = pairs_.index_select(1, indices);
    graph.edge_vectors = vectors.index_select(0, indices);
    graph.reverse_edges =
        at::where(has_none, -1, renumbered.index_select(0, opposite)).index_select(0, indices);
    return graph;
}

} // namespace mlip
