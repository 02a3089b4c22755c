#pragma once
// Atoms that LAMMPS has taken out of all interactions. `fix gcmc` does so to try what the removal of an atom
// costs: the atom loses its neighbours, and for a model its lone-atom energy has to go with them.

#include "pointers.h"

#include <vector>

namespace mlip {

class ExcludedAtoms : protected LAMMPS_NS::Pointers {
  public:
    explicit ExcludedAtoms(LAMMPS_NS::LAMMPS* lmp) : Pointers(lmp) {}

    /// At every step, once there is a neighbour list.
    void update();
    /// LAMMPS' types of own and ghost atoms, [n_all], and 0 for atoms that do not exist for the model.
    const int* visible_types();

  private:
    void find_types();
    bool is_excluded(int i) const;

    std::vector<unsigned char> excluded_;       // [n_all] of the list in use; empty if there are none
    std::vector<unsigned char> excluded_types_; // [ntypes + 1]
    std::vector<int> visible_types_;            // [n_all]
    LAMMPS_NS::bigint call_ = -1;               // neighbor->ncalls of these
};

} // namespace mlip
