// Atoms that LAMMPS has taken out of all interactions. `fix gcmc` does so to try what the removal of an atom
// costs: the atom loses its neighbours, and for a model its lone-atom energy has to go with them.

#include "pair_mlip.h"

#include "atom.h"
#include "group.h"
#include "neighbor.h"

#include <algorithm>

using namespace LAMMPS_NS;

/// As the neighbour list in use was made, so that between two lists nothing but types changes.
void PairMLIP::update_excluded() {
    const auto n_places = static_cast<size_t>(atom->nlocal + atom->nghost);
    const bool same_list = neighbor->ago > 0 && excluded_call_ == neighbor->ncalls;
    if (same_list && (excluded_.empty() || excluded_.size() == n_places)) {
        return;
    }
    excluded_call_ = neighbor->ncalls;
    excluded_.clear();
    if (neighbor->exclude == 0 && neighbor->includegroup == 0) {
        return;
    }
    find_excluded_types();
    excluded_.resize(n_places);
    for (size_t place = 0; place < n_places; ++place) {
        excluded_[place] = is_excluded(static_cast<int>(place)) ? 1 : 0;
    }
}

/// A rule that parts an atom from the group `all`, `neigh_modify include` without it, or a type that is
/// parted from every type.
bool PairMLIP::is_excluded(int place) const {
    constexpr int kAll = 0; // LAMMPS' number of the group
    const int mask = atom->mask[place];
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
    return excluded_types_[atom->type[place]] != 0;
}

void PairMLIP::find_excluded_types() {
    const int n_types = atom->ntypes;
    excluded_types_.assign(n_types + 1, neighbor->nex_type > 0 ? 1 : 0);
    for (int i = 1; neighbor->nex_type > 0 && i <= n_types; ++i) {
        const int* const row = neighbor->ex_type[i];
        excluded_types_[i] = std::all_of(row + 1, row + n_types + 1, [](int flag) { return flag != 0; });
    }
}

/// LAMMPS' types, [n_places], and 0 for atoms that do not exist for the model.
const int* PairMLIP::visible_types() {
    if (excluded_.empty()) {
        return atom->type;
    }
    visible_types_.assign(atom->type, atom->type + excluded_.size());
    for (size_t place = 0; place < excluded_.size(); ++place) {
        visible_types_[place] *= excluded_[place] != 0 ? 0 : 1;
    }
    return visible_types_.data();
}
