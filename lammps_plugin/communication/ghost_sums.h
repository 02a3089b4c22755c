#pragma once
// Values that belong to ghost atoms, added to those of the atoms that own them: one reverse communication of
// the pair style. In a buffer of our own, because LAMMPS' arrays are added up with `newton on` only.

#include "../domain/topology.h"

#include "pointers.h"

#include <vector>

namespace LAMMPS_NS {
class Pair;
}

namespace mlip {

class GhostSums : protected LAMMPS_NS::Pointers {
  public:
    GhostSums(LAMMPS_NS::LAMMPS* lmp, LAMMPS_NS::Pair& pair) : Pointers(lmp), pair_(pair) {}

    std::vector<double> values; // [n_all, width], of own and ghost atoms

    /// Adds the values of ghost atoms to those of their owners, also on this rank. Collective.
    void add_to_owners(int width);
    /// What the ghost nodes of all ranks have for the own atoms of this one, [nlocal, width], from numbers
    /// [n_nodes, width]; null if there are no ghost nodes because there is one rank. Collective.
    const double* of_nodes(const DomainTopology& nodes, const double* numbers, int width);

    // Pair's communication
    int pack(int n, int first, double* buffer) const;
    void unpack(int n, const int* list, const double* buffer);

    double memory() const { return static_cast<double>(values.capacity() * sizeof(double)); } // bytes

  private:
    LAMMPS_NS::Pair& pair_;
    int width_ = 0;
};

} // namespace mlip
