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

class SnnpLeverage : public ase_mlip::snnp::Visitor {
  public:
    /// `species_of_type`: atomic number by LAMMPS' type, 0 for atoms that are not ours. Throws
    /// std::runtime_error where the leverage is of another basis.
    SnnpLeverage(const SnnpTables& tables, const Description& model, const std::vector<int>& species_of_type);

    /// Raises `leverages` [n_places] of the centres to those of this model.
    void raise(const NativeDomain& domain, double* leverages);

    /// The same with what the native kernel finds: it calls `see` for each centre, from as many threads as
    /// the model has, in between.
    void begin(const NativeDomain& domain, double* leverages);
    void see(int thread, int centre, int64_t count, const int* neighbours) override;
    void finish();

  private:
    /// Centres of one block of the whitening, until there are enough for a product.
    struct Waiting {
        std::vector<int> places;
        Numbers dense; // [places, width] phi as the whitening takes it
        std::vector<double> lone_squares;
    };
    /// Of one thread.
    struct Worker {
        std::vector<Waiting> waiting; // by block
        std::vector<int> within;      // neighbours of a centre
        Numbers values;               // of a centre
        Numbers squares;              // [places, lanes]
        BasisRoom room;
    };
    struct Row;

    Whitening whitening_of(int64_t block) const;
    void see_all(int thread);
    void whiten_all(Worker& worker);
    void whiten(const Whitening& whitening, Waiting& waiting, Worker& worker);
    Threads& threads();

    SnnpTables held_; // what the tables point into
    ase_mlip::snnp::Kinds kinds_;
    ase_mlip::snnp::training::Tables tables_;
    ase_mlip::snnp::basis::Columns columns_;
    std::vector<ase_mlip::snnp::basis::Cases> cases_;
    int64_t width_ = 0; // numbers of one centre
    std::vector<Whitening> blocks_;
    std::vector<int64_t> block_of_kind_;
    double scale_;
    int threads_wanted_;
    std::unique_ptr<Threads> threads_; // made when first needed
    std::vector<Worker> workers_;
    NativeDomain domain_;
    double* leverages_ = nullptr;
};

} // namespace mlip
