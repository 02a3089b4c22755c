#include "excluded_atoms.h"

#include "atom.h"
#include "group.h"
#include "neighbor.h"

#include <algorithm>

namespace mlip {

/// As the neighbour list in use was made, so that between two lists nothing but types changes.
void ExcludedAtoms::update() {
    const auto n_all = static_cast<size_t>(atom->nlocal + atom->nghost);
    const bool same_list = neighbor->ago > 0 && call_ == neighbor->ncalls;
    if (same_list && (excluded_.empty() || excluded_.size() == n_all)) {
        return;
    }
    call_ = neighbor->ncalls;
    excluded_.clear();
    if (neighbor->exclude == 0 && neighbor->includegroup == 0) {
        return;
    }
    find_types();
    excluded_.resize(n_all);
    for (size_t i = 0; i < n_all; ++i) {
        excluded_[i] = is_excluded(static_cast<int>(i)) ? 1 : 0;
    }
}

/// A rule that parts an atom from the group `all`, `neigh_modify include` without it, or a type that is
/// parted from every type.
bool ExcludedAtoms::is_excluded(int i) const {
    constexpr int kAll = 0; // LAMMPS' number of the group
    const int mask = atom->mask[i];
    if (neighbor->includegroup != 0 && (mask & group->bitmask[neighbor->includegroup]) == 0) {
        return true;
    }
    for (int rule = 0; rule < neighbor->nex_group; ++rule) {
        const int first = neighbor->ex1_group[rule], second = neighbor->ex2_group[rule];
        if ((second == kAll && (mask & group->bitmask[first]) != 0) ||
            (first == kAll && (mask & group->bitmask[second]) != 0)) {
            return true;
        }
    }
    return excluded_types_[atom->type[i]] != 0;
}

void ExcludedAtoms::find_types() {
    const int n_types = atom->ntypes;
    excluded_types_.assign(n_types + 1, neighbor->nex_type > 0 ? 1 : 0);
    for (int i = 1; neighbor->nex_type > 0 && i <= n_types; ++i) {
        const int* const row = neighbor->ex_type[i];
        excluded_types_[i] = std::all_of(row + 1, row + n_types + 1, [](int flag) { return flag != 0; });
    }
}

const int* ExcludedAtoms::visible_types() {
    if (excluded_.empty()) {
        return atom->type;
    }
    visible_types_.assign(atom->type, atom->type + excluded_.size());
    for (size_t i = 0; i < excluded_.size(); ++i) {
        visible_types_[i] *= excluded_[i] != 0 ? 0 : 1;
    }
    return visible_types_.data();
}

} // namespace mlip
