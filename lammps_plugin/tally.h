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

/// Component k (xx, yy, zz, xy, xz, yz) of the symmetric part of a tensor [3, 3].
inline double symmetric(const double* tensor, int k) {
    constexpr int row[6] = {0, 1, 2, 0, 0, 1}, column[6] = {0, 1, 2, 1, 2, 2};
    return 0.5 * (tensor[3 * row[k] + column[k]] + tensor[3 * column[k] + row[k]]);
}

inline void add_symmetric(double* six, const double* tensor, double factor) {
    for (int k = 0; k < 6; ++k) {
        six[k] += factor * symmetric(tensor, k);
    }
}

/// In the order xx, yy, zz, xy, xz, yz, yx, zx, zy.
inline void add_tensor(double* nine, const double* tensor, double factor) {
    constexpr int order[9] = {0, 4, 8, 1, 2, 5, 3, 6, 7};
    for (int k = 0; k < 9; ++k) {
        nine[k] += factor * tensor[order[k]];
    }
}

} // namespace mlip
