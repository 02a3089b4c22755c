#pragma once
// An s-NNP on LAMMPS' own arrays and neighbour list, by csrc/snnp/atoms.h and without libtorch: no graph is
// made. Knows no LAMMPS class.

#include "../snnp_atoms/native_domain.h"

#include <exception>
#include <memory>
#include <string>

namespace mlip {

using NativeTargets = ase_mlip::snnp::Targets;
using NativeSums = ase_mlip::snnp::Sums;

/// An own or ghost atom whose energy or force is not finite.
struct NotFinite : std::exception {
    explicit NotFinite(int which) : atom(which) {}
    const char* what() const noexcept override { return "not a finite number"; }
    int atom;
};

class NativeSnnp {
  public:
    virtual ~NativeSnnp() = default;
    /// Throws NotFinite, and std::runtime_error for positions that are not finite or coincide.
    virtual NativeSums evaluate(const NativeDomain& domain, const NativeTargets& targets) = 0;
    virtual double memory() const = 0; // bytes
};

/// `species_of_type` as of `kinds_of`.
std::unique_ptr<NativeSnnp> make_native_snnp(const SnnpTables& tables, const Description& model,
                                             const std::vector<int>& species_of_type);

/// Empty, or what is wrong with the numbers that the native kernel gives for the model's self-test, and what
/// to do.
std::string native_self_test(const SnnpTables& tables, const Description& model);

} // namespace mlip
