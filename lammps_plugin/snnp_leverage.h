#pragma once
// How far the atoms of an s-NNP are from its training data, from the neighbour list alone: the least-squares
// basis of csrc/snnp_basis.h for each atom, whitened. Knows neither libtorch nor a LAMMPS class.

#include "basis_sums.h"
#include "native_snnp.h"
#include "threads.h"
#include "whitening.h"

#include <cstdint>
#include <memory>
#include <vector>

namespace mlip {

class SnnpLeverage {
  public:
    /// `species_of_type`: atomic number by LAMMPS' type, 0 for atoms that are not ours. Throws
    /// std::runtime_error where the leverage is of another basis.
    SnnpLeverage(const SnnpTables& tables, const Description& model, const std::vector<int>& species_of_type);

    /// Raises `leverages` [n_places] of the centres to those of this model.
    void raise(const NativeDomain& domain, double* leverages);

  private:
    /// Some centres at a time, of one thread.
    struct Worker {
        std::vector<int> places;
        std::vector<double> values; // [places, P]
        std::vector<size_t> own;    // numbers of the places whose elements belong to a block
        std::vector<double> dense;  // their phi, as the block's whitening takes it
        Numbers squares;
        BasisRoom room;
    };
    struct Sums;

    void work(const NativeDomain& domain, double* leverages, int64_t begin, int64_t end,
              Worker& worker) const;
    void whiten(const NativeDomain& domain, double* leverages, int64_t block, Worker& worker) const;

    SnnpTables held_; // what the tables point into
    ase_mlip::snnp::Kinds kinds_;
    ase_mlip::snnp::training::Tables tables_;
    ase_mlip::snnp::basis::Columns columns_;
    std::vector<ase_mlip::snnp::basis::Cases> cases_;
    std::vector<Whitening> blocks_;
    std::vector<int64_t> block_of_kind_;
    double scale_;
    int threads_wanted_;
    std::unique_ptr<Threads> threads_; // made when first needed
    std::vector<Worker> workers_;
};

} // namespace mlip
