#pragma once
// Whether respa's outermost level finds the positions at which the innermost one had the direct forces: then
// it takes these back without another evaluation.

#include "pointers.h"

#include <vector>

namespace mlip {

class RespaLevels : protected LAMMPS_NS::Pointers {
  public:
    explicit RespaLevels(LAMMPS_NS::LAMMPS* lmp) : Pointers(lmp) {}

    void remember_inner();
    void forget_inner() { positions_.clear(); }
    /// The outer level follows an inner one at the same positions, unless atoms were exchanged in between.
    /// Collective.
    bool inner_is_current() const;

  private:
    const double* positions_now() const;

    std::vector<double> positions_; // [nlocal, 3]
};

} // namespace mlip
