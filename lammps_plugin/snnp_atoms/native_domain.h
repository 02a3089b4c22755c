#pragma once
// LAMMPS' own arrays and neighbour list as csrc/snnp takes them, for all that looks at the atoms of an s-NNP.
// Knows no LAMMPS class.

#include "../both_sides/evaluator.h"

#include "../../csrc/snnp/atoms.h"

#include <vector>

namespace mlip {

using NativeDomain = ase_mlip::snnp::Domain; // `kinds` are LAMMPS' types

/// What LAMMPS' types are to the model. `species_of_type`: atomic number by type, 0 for atoms that are not
/// ours.
ase_mlip::snnp::Kinds kinds_of(const SnnpTables& tables, const Description& model,
                               const std::vector<int>& species_of_type);

} // namespace mlip
