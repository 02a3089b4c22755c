#pragma once
// Forces of a direct head, without their net force.

#include "../domain/topology.h"

#include "pointers.h"

#include <vector>

namespace mlip {

class DirectForces : protected LAMMPS_NS::Pointers {
  public:
    explicit DirectForces(LAMMPS_NS::LAMMPS* lmp) : Pointers(lmp) {}

    /// From the forces of the owned nodes, eV/Å. Collective.
    void take(const DomainTopology& nodes, const double* forces);
    /// Adds `factor` times what was taken last to LAMMPS' forces.
    void add(const DomainTopology& nodes, double factor) const;

  private:
    std::vector<double> forces_; // [n_owned, 3]
};

} // namespace mlip
