#pragma once
// What an engine gives to an s-NNP and gets from it: own and ghost atoms with a list of pairs, and where
// results are added. No libtorch in here.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace ase_mlip::snnp {

/// Own and ghost atoms with LAMMPS' list of pairs.
struct Domain {
    int n_centres = 0, n_all = 0;
    const int* centres = nullptr;      // [n_centres] atoms
    const int* counts = nullptr;       // [n_all] pairs of an atom that is a centre
    const int* const* first = nullptr; // [n_all] their other atoms, masked with `mask`
    int mask = 0;
    const double* positions = nullptr; // [n_all, 3], Å
    const int* kinds = nullptr;        // [n_all], see Kinds
};

template <typename T> struct Arrangement;

/// Something else that is computed from the neighbours of each centre, such as a leverage. The kernel passes
/// on what it has found, so that the list of pairs is gone through once.
struct Visitor {
    virtual ~Visitor() = default;
    /// `neighbours`: those within the cutoff of atom `centre`, in the precision of the kernel. The thread
    /// that evaluates the centre makes this call.
    virtual void see(int thread, int centre, const Arrangement<float>& neighbours) = 0;
    virtual void see(int thread, int centre, const Arrangement<double>& neighbours) = 0;
};

/// Where results are added, in units of `unit` eV; null for what is not wanted. What belongs to a ghost atom
/// is added there.
struct Targets {
    double unit = 1.0;
    double* forces = nullptr;           // [n_all, 3]
    double* energies = nullptr;         // [n_all]
    double* virials = nullptr;          // [n_all, 9], half of an edge's at either end
    double* centroid_virials = nullptr; // [n_all, 9], -r (x) dE/dr at the neighbour
    int64_t* extrapolating = nullptr;   // [n_all], see coverage.h
    bool virial = false;                // whether the sum is wanted
    Visitor* visitor = nullptr;
};

struct Sums {
    double energy = 0.0, virial[9] = {0}; // eV, LAMMPS' sign, row-major
    int64_t n_edges = 0;
    double shortest = INFINITY;             // distance of a pair, Å
    int bad_position = -1, bad_result = -1; // an atom whose position, or result, is not finite

    void add(const Sums& other) {
        energy += other.energy;
        n_edges += other.n_edges;
        shortest = std::min(shortest, other.shortest);
        bad_position = std::max(bad_position, other.bad_position);
        bad_result = bad_result < 0 ? other.bad_result : bad_result;
        for (int k = 0; k < 9; ++k) {
            virial[k] += other.virial[k];
        }
    }
};

/// What the kinds of atoms of an engine are to the model.
struct Kinds {
    std::vector<int64_t> type;         // the model's, -1 for atoms that are not ours
    std::vector<double> reference;     // eV
    std::vector<double> square_cutoff; // [kinds, kinds], Å^2

    size_t count() const { return type.size(); }
};

/// The edges of a centre: calls found(other, vector, type) for the pairs that are within the cutoff and of
/// kinds that are the model's. The smallest square of a distance among its pairs, Å^2; infinite without any.
template <typename Found>
double edges_within(const Domain& domain, const Kinds& kinds, int centre, const Found& found) {
    const double* from = domain.positions + 3 * static_cast<int64_t>(centre);
    const double* limits = kinds.square_cutoff.data() + kinds.count() * domain.kinds[centre];
    double smallest = INFINITY;
    for (int k = 0; k < domain.counts[centre]; ++k) {
        const int other = domain.first[centre][k] & domain.mask;
        const int64_t type = kinds.type[domain.kinds[other]];
        if (type < 0) {
            continue;
        }
        const double* at = domain.positions + 3 * static_cast<int64_t>(other);
        const double vector[3] = {at[0] - from[0], at[1] - from[1], at[2] - from[2]};
        const double squared = vector[0] * vector[0] + vector[1] * vector[1] + vector[2] * vector[2];
        smallest = std::min(smallest, squared);
        if (squared <= limits[domain.kinds[other]]) {
            found(other, vector, type);
        }
    }
    return smallest;
}

} // namespace ase_mlip::snnp
