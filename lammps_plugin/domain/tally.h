#pragma once
// Where a step adds energy and virials, in LAMMPS' order of the components of a tensor.

#include "../../csrc/common/voigt.h"

namespace mlip {

/// In LAMMPS' unit of energy, of own atoms; null for what LAMMPS does not ask for.
struct Tally {
    double* energy = nullptr;            // [1]
    double* energies = nullptr;          // [atoms]
    double* virial = nullptr;            // [6]
    double** virials = nullptr;          // [atoms][6]
    double** centroid_virials = nullptr; // [atoms][9]

    bool wants_virials() const {
        return virial != nullptr || virials != nullptr || centroid_virials != nullptr;
    }
};

/// Component k, in LAMMPS' order, of the symmetric part of a row-major tensor [3, 3].
inline double symmetric(const double* tensor, int k) {
    const auto& [row, column] = ase_mlip::kLammpsOrder[k];
    return 0.5 * (tensor[3 * row + column] + tensor[3 * column + row]);
}

inline void add_symmetric(double* six, const double* tensor, double factor) {
    for (int k = 0; k < 6; ++k) {
        six[k] += factor * symmetric(tensor, k);
    }
}

inline void add_tensor(double* nine, const double* tensor, double factor) {
    for (int k = 0; k < 9; ++k) {
        const auto& [row, column] = ase_mlip::kLammpsOrder[k];
        nine[k] += factor * tensor[3 * row + column];
    }
}

} // namespace mlip
