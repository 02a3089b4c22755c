#pragma once
// Types whose masses say another element than pair_coeff does: the elements were given in a wrong order.

#include "../model_loading/model_in_use.h"

#include "pointers.h"

#include <vector>

namespace mlip {

class MassCheck : protected LAMMPS_NS::Pointers {
  public:
    MassCheck(LAMMPS_NS::LAMMPS* lmp, const ModelInUse& model) : Pointers(lmp), model_(model) {}

    /// The elements are new ones, of which may be warned.
    void begin() { warned_ = false; }
    /// One warning for a pair_coeff. Isotopes and masses of nobody else's element say nothing. Collective.
    void check();

  private:
    std::vector<double> masses_of_types() const;

    const ModelInUse& model_;
    bool warned_ = false;
};

} // namespace mlip
