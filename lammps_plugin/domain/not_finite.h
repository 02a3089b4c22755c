#pragma once
// What to say of an energy or a force that is no finite number.

#include "atom.h"

#include <string>

namespace mlip {

/// As LAMMPS' user knows an atom, or a ghost atom.
inline std::string name_of(const LAMMPS_NS::Atom& atoms, int i) {
    return "atom " + std::to_string(atoms.tag_enable ? atoms.tag[i] : i);
}

inline std::string not_finite(const std::string& what) {
    return what + " is not a finite number; the structure is far from what the model was trained on: look at "
                  "its distances, or reduce the timestep";
}

} // namespace mlip
