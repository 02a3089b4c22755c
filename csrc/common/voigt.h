#pragma once
// The order in which programs write the components of a tensor [3, 3]: each table has row and column of the
// k-th.

namespace ase_mlip {

/// Voigt's order of a symmetric tensor, as ASE has it: xx, yy, zz, yz, xz, xy.
inline constexpr int kVoigt[6][2] = {{0, 0}, {1, 1}, {2, 2}, {1, 2}, {0, 2}, {0, 1}};

/// LAMMPS' order: xx, yy, zz, xy, xz, yz, which are the six of a symmetric tensor, and then yx, zx, zy.
inline constexpr int kLammpsOrder[9][2] = {{0, 0}, {1, 1}, {2, 2}, {0, 1}, {0, 2},
                                           {1, 2}, {1, 0}, {2, 0}, {2, 1}};

} // namespace ase_mlip
