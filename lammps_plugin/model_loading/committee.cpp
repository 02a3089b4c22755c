#include "committee.h"

#include "../both_sides/elements.h"

#include <algorithm>
#include <iterator>
#include <stdexcept>

namespace mlip {
namespace {

/// values += factor * added
void accumulate(std::vector<double>& values, const double* added, double factor) {
    for (size_t k = 0; k < values.size(); ++k) {
        values[k] += factor * added[k];
    }
}

std::vector<int> in_both(std::vector<int> first, std::vector<int> second) {
    std::sort(first.begin(), first.end());
    std::sort(second.begin(), second.end());
    std::vector<int> both;
    std::set_intersection(first.begin(), first.end(), second.begin(), second.end(), std::back_inserter(both));
    return both;
}

} // namespace

Committee::Committee(std::vector<EvaluatorHandle> members) : members_(std::move(members)) {
    describe();
    weights_.assign(members_.size(), 1.0 / static_cast<double>(members_.size()));
}

void Committee::describe() {
    description_ = members_[0]->description();
    int hops = 1;
    std::string names, paths;
    for (const EvaluatorHandle& member : members_) {
        const Description& model = member->description();
        names += (names.empty() ? "" : ", ") + model.name;
        paths += (paths.empty() ? "" : ", ") + model.path;
        hops = std::max(hops, model.hops());
        description_.species = in_both(description_.species, model.species);
        description_.cutoff = std::max(description_.cutoff, model.cutoff);
        description_.layers = std::max(description_.layers, model.layers);
        description_.direct_forces = description_.direct_forces && model.direct_forces;
        if (model.direct_virials != description_.direct_virials ||
            model.direct_stresses != description_.direct_stresses) { // a sum and a mean do not add up
            description_.direct_virials = description_.direct_stresses = false;
        }
        if (&member != &members_[0]) {
            description_.operations.insert(description_.operations.end(), model.operations.begin(),
                                           model.operations.end());
        }
    }
    if (description_.species.empty()) {
        throw std::runtime_error("a committee's models must know the same elements, and these have none in "
                                 "common: " +
                                 known_elements());
    }
    description_.name = "committee of " + std::to_string(members_.size()) + ": " + names;
    description_.path = paths;
    description_.interaction_range = hops * description_.cutoff;
    description_.leverage = std::any_of(members_.begin(), members_.end(), [](const EvaluatorHandle& member) {
        return member->description().leverage;
    });
    description_.pair_cutoffs.clear(); // every member applies its own
    description_.rotations = 0;
    description_.members = static_cast<int>(members_.size());
}

/// "`a.pt` knows Si, O; `b.pt` knows Ge"
std::string Committee::known_elements() const {
    std::string text;
    for (const EvaluatorHandle& member : members_) {
        const Description& model = member->description();
        text += (text.empty() ? "`" : "; `") + model.path + "` knows ";
        for (size_t k = 0; k < model.species.size(); ++k) {
            text += (k == 0 ? "" : ", ") + element_symbol(model.species[k]);
        }
    }
    return text;
}

void Committee::set_topology(const Topology& topology) {
    n_nodes_ = static_cast<int64_t>(topology.species.size());
    n_owned_ = topology.n_owned;
    for (const EvaluatorHandle& member : members_) {
        member->set_topology(topology);
    }
}

const Results& Committee::evaluate(const double* positions, const Request& request) {
    Request plain = request;
    plain.spread = false;
    const bool has_virials =
        request.direct ? description_.direct_virials || description_.direct_stresses : request.virials;
    results_ = Results();
    energies_.assign(n_nodes_, 0.0);
    forces_.assign(3 * n_nodes_, 0.0);
    virials_.assign(has_virials ? 9 * n_nodes_ : 0, 0.0);
    centroid_virials_.assign(request.centroid_virials ? 9 * n_nodes_ : 0, 0.0);
    forces_by_member_.resize(request.spread ? 3 * n_nodes_ * members_.size() : 0);
    leverages_.assign(request.leverage ? n_nodes_ : 0, 0.0);
    energy_by_member_.assign(members_.size(), 0.0);
    virial_by_member_.assign(9 * members_.size(), 0.0);
    for (size_t m = 0; m < members_.size(); ++m) {
        add_member(members_[m]->evaluate(positions, plain), request, m);
    }
    point_results_to_means(request, has_virials);
    return results_;
}

void Committee::add_member(const Results& results, const Request& request, size_t member) {
    const double weight = weights_[member];
    results_.energy += weight * results.energy;
    for (int k = 0; k < 9; ++k) {
        results_.virial[k] += weight * results.virial[k];
        virial_by_member_[9 * member + k] = results.virial[k];
    }
    results_.n_edges = std::max(results_.n_edges, results.n_edges);
    results_.seconds_model += results.seconds_model;
    accumulate(energies_, results.energies, weight);
    accumulate(forces_, results.forces, weight);
    accumulate(virials_, results.virials, weight);
    accumulate(centroid_virials_, results.centroid_virials, weight);
    for (size_t node = 0; results.leverage != nullptr && node < leverages_.size(); ++node) {
        leverages_[node] = std::max(leverages_[node], results.leverage[node]);
    }
    if (!request.spread) {
        return;
    }
    energy_by_member_[member] = results.energy;
    for (int64_t node = 0; node < n_nodes_; ++node) {
        std::copy_n(results.forces + 3 * node, 3,
                    forces_by_member_.begin() +
                        static_cast<ptrdiff_t>(3 * (node * static_cast<int64_t>(members_.size()) + member)));
    }
    if (request.direct && !virials_.empty()) {
        for (int64_t node = 0; node < n_owned_; ++node) {
            for (int k = 0; k < 9; ++k) {
                virial_by_member_[9 * member + k] += results.virials[9 * node + k];
            }
        }
    }
}

void Committee::point_results_to_means(const Request& request, bool has_virials) {
    results_.energies = energies_.data();
    results_.forces = forces_.data();
    results_.virials = has_virials ? virials_.data() : nullptr;
    results_.leverage = request.leverage ? leverages_.data() : nullptr;
    results_.centroid_virials = request.centroid_virials ? centroid_virials_.data() : nullptr;
    if (!request.spread) {
        return;
    }
    results_.samples = description_.members;
    results_.forces_by_sample = forces_by_member_.data();
    results_.energy_by_sample = energy_by_member_.data();
    results_.virial_by_sample = request.direct && !has_virials ? nullptr : virial_by_member_.data();
    results_.sample_weights = weights_.data();
}

EvaluatorHandle as_one(std::vector<EvaluatorHandle> members) {
    if (members.size() == 1) {
        return std::move(members[0]);
    }
    const DeleteEvaluator remove = [](Evaluator* evaluator) { delete evaluator; };
    return {new Committee(std::move(members)), EvaluatorDeleter{remove}};
}

} // namespace mlip
