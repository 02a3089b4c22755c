#pragma once
// Neighbours and angles of LAMMPS' atoms where an s-NNP has no training data, from the neighbour list alone:
// for whatever evaluates the model. The native kernel counts on its way (csrc/snnp/atoms.h).

#include "../snnp_atoms/native_domain.h"

#include <cstdint>
#include <vector>

namespace mlip {

class SnnpExtrapolation {
  public:
    /// `species_of_type`: atomic number by LAMMPS' type, 0 for atoms that are not ours.
    SnnpExtrapolation(const SnnpTables& tables, const Description& model,
                      const std::vector<int>& species_of_type);

    /// Raises `counts` [n_all] to those of this model; the shortest distance of a pair, Å.
    double count(const NativeDomain& domain, std::vector<int64_t>& counts);

  private:
    ase_mlip::snnp::Kinds kinds_;
    ase_mlip::snnp::Coverage coverage_;
    std::vector<double> vectors_, scratch_; // [n, 3] of the neighbours
    std::vector<int64_t> types_;            // [n]
};

} // namespace mlip
