#pragma once
// Several models as one: the mean of their energies, forces and virials, and what each of them gave.

#include "../both_sides/evaluator.h"
#include "torch_library.h"

#include <vector>

namespace mlip {

/// A committee behaves as one model that knows the elements all members know and reaches as far as the
/// farthest of them. Samples are its members; members that are averaged over rotations give their averages.
class Committee : public Evaluator {
  public:
    /// At least two members.
    explicit Committee(std::vector<EvaluatorHandle> members);

    const Description& description() const override { return description_; }
    void set_topology(const Topology& topology) override;
    const Results& evaluate(const double* positions, const Request& request) override;
    const Evaluator& member(int which) const override { return *members_[which]; }

  private:
    void describe();
    std::string known_elements() const;
    void add_member(const Results& results, const Request& request, size_t member);
    void point_results_to_means(const Request& request, bool has_virials);

    std::vector<EvaluatorHandle> members_;
    Description description_;
    int64_t n_nodes_ = 0, n_owned_ = 0;
    std::vector<double> energies_, forces_, virials_, centroid_virials_; // means
    std::vector<double> leverages_;                                      // the largest
    std::vector<double> forces_by_member_, energy_by_member_, virial_by_member_, weights_;
    Results results_;
};

/// One member as it is, several as a committee.
EvaluatorHandle as_one(std::vector<EvaluatorHandle> members);

} // namespace mlip
