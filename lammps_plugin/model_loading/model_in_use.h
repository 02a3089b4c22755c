#pragma once
// The model of a pair_coeff command, which all parts of the pair style share.

#include "torch_library.h"

#include <vector>

namespace mlip {

struct ModelInUse {
    EvaluatorHandle evaluator;        // null before pair_coeff
    std::vector<int> species_of_type; // atomic number by LAMMPS' type, 0 for NULL
    double energy_unit = 1.0;         // 1 eV in LAMMPS' unit of energy

    const Description& description() const { return evaluator->description(); }
};

} // namespace mlip
