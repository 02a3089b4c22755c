#pragma once
// The file of `symmetrize file FILE`, which `ase-mlip rotations` writes; ase_mlip/rotations/rotation_file.py
// says how.

#include "../both_sides/rotations.h"

#include <string>

namespace mlip {

/// Throws std::runtime_error for a file that cannot be read, or does not hold orthogonal matrices.
Averaging read_rotations(const std::string& path);

} // namespace mlip
