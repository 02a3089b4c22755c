#pragma once
// Voigt's order of the six components of a symmetric tensor, xx, yy, zz, yz, xz, xy, as ASE has it. That of
// LAMMPS is another: lammps_plugin/domain/tally.h.

namespace ase_mlip {

inline constexpr int kVoigt[6][2] = {{0, 0}, {1, 1}, {2, 2}, {1, 2}, {0, 2}, {0, 1}}; // row and column

} // namespace ase_mlip
