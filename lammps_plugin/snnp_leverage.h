#pragma once
// How far the atoms of an s-NNP are from its training data, from the neighbour list alone: the least-squares
// basis of csrc/snnp_basis.h for each atom, whitened. Knows neither libtorch nor a LAMMPS class.

#include "native_snnp.h"
#include "threads.h"

#include "../csrc/snnp_basis.h"

#include <cstdint>
#include <memory>
#include <vector>

namespace mlip {

/// A lower triangular matrix whose rows are mostly the diagonal alone: what is more lies densely.
struct Whitening {
    std::vector<int64_t> dense; // columns of phi, ascending
    std::vector<double> rows;   // of these, each up to its diagonal, filled up with zeros to whole vectors
    std::vector<int64_t> lone;  // columns that no other row or column has to do with
    std::vector<double> lone_weights;
};

/// The neighbours of a centre within the cutoff of the angles, component by component.
struct NearNeighbours {
    std::vector<double> directions[3], lengths, f, others; // f [n, lanes]; others: sums, as of the Workspace
    std::vector<int64_t> types;

    /// For `most` neighbours and a whole vector more, and sums of `width` numbers.
    void make_room(int64_t most, int64_t width) {
        constexpr int64_t lanes = ase_mlip::snnp::basis::L;
        for (std::vector<double>& component : directions) {
            component.assign(most + lanes, 0.0);
        }
        lengths.assign(most + lanes, 1.0);
        types.assign(most + lanes, 0);
        f.assign((most + lanes) * lanes, 0.0);
        others.assign(width, 0.0);
    }
};

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
        std::vector<double> vectors, values; // [E, 3], [centres, P]
        std::vector<int64_t> starts, types, neighbour_types;
        std::vector<double> dense; // phi of one centre, with room for a whole vector more
        std::unique_ptr<ase_mlip::snnp::basis::Workspace> room;
        NearNeighbours near;
        int64_t most = -1;
    };

    void work(const NativeDomain& domain, double* leverages, int64_t begin, int64_t end,
              Worker& worker) const;
    void gather(const NativeDomain& domain, int place, Worker& worker) const;
    double leverage(const Whitening& whitening, const double* values, Worker& worker) const;

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
