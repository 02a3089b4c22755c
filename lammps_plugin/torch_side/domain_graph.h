#pragma once
// From a topology and positions to the graph of one step. The topology has pairs out to cutoff + skin, and is
// kept until LAMMPS makes new lists; a pair that is within the cutoff now and can reach an owned node is an
// edge.

#include "scripted_model.h"

#include <utility>
#include <vector>

namespace mlip {

class DomainGraph {
  public:
    DomainGraph(const Description& model, at::Device device);

    /// Throws std::runtime_error when the topology contradicts itself.
    void set_topology(const Topology& topology);
    /// positions [n_all, 3] in Å. Throws std::runtime_error when they are not finite, or atoms coincide.
    Graph build(const double* positions) const;

    int64_t n_nodes() const { return static_cast<int64_t>(topology_.species.size()); }
    int64_t n_owned() const { return topology_.n_owned; }

    // What build() chooses from by device: loops are faster on a CPU. Both give the same graph.
    Graph build_with_loops(const double* positions) const;
    Graph build_with_tensors(const double* positions) const; // after copy_to_device()
    void copy_to_device();

  private:
    // flags of the pairs, [n_pairs]
    std::vector<unsigned char> flag_near_pairs(const double* positions) const;
    std::vector<unsigned char> flag_edges(const std::vector<unsigned char>& near) const;
    std::pair<std::vector<int64_t>, int64_t> number_edges(const std::vector<unsigned char>& kept) const;
    at::Tensor flag_edges(const at::Tensor& near) const;
    bool has_ghosts() const { return n_nodes() > n_owned(); }

    at::Device device_;
    double cutoff_;
    int hops_; // edges in a row over which an atom can reach an owned one
    std::vector<PairCutoff> pair_cutoffs_;

    Topology topology_;
    std::vector<double> squared_cutoffs_; // [n_pairs] with pair cutoffs, else [1]
    Graph nodes_;                         // its node tensors
    // for build_with_tensors, on the device: int64 [2, n_pairs] twice, [n_pairs]; float64 [n_pairs] or [1]
    at::Tensor pairs_, atoms_, reverse_, limits_;
};

} // namespace mlip
