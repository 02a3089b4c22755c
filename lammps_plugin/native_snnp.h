#pragma once
// An s-NNP on LAMMPS' own arrays and neighbour list, by the kernel in csrc/snnp_kernel.h and without
// libtorch: no graph is made. Knows no LAMMPS class.

#include "evaluator.h"

#include <memory>
#include <string>

namespace mlip {

/// A domain as LAMMPS has it. A place is an atom or a ghost.
struct NativeDomain {
    int n_centres = 0, n_places = 0;
    const int* centres = nullptr;      // [n_centres] places
    const int* counts = nullptr;       // by place
    const int* const* first = nullptr; // by place; entries masked with `mask`
    int mask = 0;
    const double* positions = nullptr; // [n_places, 3], Å
    const int* types = nullptr;        // [n_places] LAMMPS' types
};

/// Where results are added, all by place, in units of `unit` eV; null for what is not wanted. A ghost's
/// share stands at the ghost.
struct NativeTargets {
    double unit = 1.0;
    double* forces = nullptr;           // [n_places, 3]
    double* energies = nullptr;         // [n_places]
    double* virials = nullptr;          // [n_places, 9], half of an edge's at either end
    double* centroid_virials = nullptr; // [n_places, 9], -r (x) dE/dr at the neighbour
    bool virial = false;                // whether the sum is wanted
};

struct NativeSums {
    double energy = 0.0, virial[9] = {0}; // eV, LAMMPS' sign, row-major
    int64_t n_edges = 0;
};

/// A place whose energy or force is not finite.
struct NotFinite : std::exception {
    explicit NotFinite(int where) : place(where) {}
    const char* what() const noexcept override { return "not a finite number"; }
    int place;
};

class NativeSnnp {
  public:
    virtual ~NativeSnnp() = default;
    /// Throws NotFinite, and std::runtime_error for positions that are not finite or coincide.
    virtual NativeSums evaluate(const NativeDomain& domain, const NativeTargets& targets) = 0;
    virtual double memory() const = 0; // bytes
};

/// `species_of_type`: atomic number by LAMMPS' type, 0 for atoms that are not ours.
std::unique_ptr<NativeSnnp> make_native_snnp(const SnnpTables& tables, const Description& model,
                                             const std::vector<int>& species_of_type);

} // namespace mlip
