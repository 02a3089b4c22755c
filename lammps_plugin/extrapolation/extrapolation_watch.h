#pragma once
// Where the atoms have neighbours or angles of which an s-NNP's training data say nothing: one warning, and
// numbers for fix pair. Whatever evaluates the model, the neighbour list is enough for it.

#include "../domain/atom_values.h"
#include "../model_loading/model_in_use.h"
#include "snnp_extrapolation.h"

#include "pointers.h"

#include <cstdint>
#include <vector>

namespace mlip {

class ExtrapolationWatch : protected LAMMPS_NS::Pointers {
  public:
    ExtrapolationWatch(LAMMPS_NS::LAMMPS* lmp, const ModelInUse& model) : Pointers(lmp), model_(model) {}

    /// The model is a new one.
    void begin();
    /// At the steps that fix pair asks for, and until the warning is given whenever there is a new list.
    bool is_wanted() const;
    /// Counts from the neighbour list; of a committee, for each atom the largest number of a member.
    /// Collective.
    void count(const NativeDomain& domain);
    /// Zeros [n_all] into which the native kernel counts before tally(); null at steps that do not want it.
    int64_t* counts_of(const NativeDomain& domain);
    /// From these counts and the shortest distance of a pair, Å. Collective.
    void tally(double shortest);

    int* flag() { return of_atoms_.flag(); }
    /// [atoms], which fix pair asks for before the first step; ends the run where nothing is known.
    double* array();

  private:
    const ModelInUse& model_;
    std::vector<SnnpExtrapolation> watched_; // of each model that knows its training data
    std::vector<int64_t> counts_;            // [n_all] neighbours and angles where there are no training data
    AtomValues of_atoms_;                    // the same, on request of fix pair
    bool warned_ = false;
};

} // namespace mlip
