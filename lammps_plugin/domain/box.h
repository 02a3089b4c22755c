#pragma once
// The simulation box of all ranks.

#include "domain.h"

namespace mlip {

/// In the cube of LAMMPS' unit of length; also of a triclinic box.
inline double volume_of(const LAMMPS_NS::Domain& box) { return box.xprd * box.yprd * box.zprd; }

} // namespace mlip
