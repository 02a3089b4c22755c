#pragma once
// Where a step adds energy and virials, and LAMMPS' order of the components of a tensor.

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

/// LAMMPS' order of the entries of a row-major tensor [3, 3]: xx, yy, zz, xy, xz, yz, and then yx, zx, zy.
/// That of ASE is another: csrc/common/voigt.h.
inline constexpr int kLammpsOrder[9] = {0, 4, 8, 1, 2, 5, 3, 6, 7};

/// Component k of the six of the symmetric part of a tensor [3, 3].
inline double symmetric(const double* tensor, int k) {
    const int row = kLammpsOrder[k] / 3, column = kLammpsOrder[k] % 3;
    return 0.5 * (tensor[3 * row + column] + tensor[3 * column + row]);
}

inline void add_symmetric(double* six, const double* tensor, double factor) {
    for (int k = 0; k < 6; ++k) {
        six[k] += factor * symmetric(tensor, k);
    }
}

inline void add_tensor(double* nine, const double* tensor, double factor) {
    for (int k = 0; k < 9; ++k) {
        nine[k] += factor * tensor[kLammpsOrder[k]];
    }
}

} // namespace mlip
