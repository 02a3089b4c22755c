// Where the atoms have neighbours or angles of which an s-NNP's training data say nothing: one warning, and
// numbers for fix pair. Whatever evaluates the model, the neighbour list is enough for it.

#include "pair_mlip.h"

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "neighbor.h"

#include <mpi.h>

#include <algorithm>
#include <cmath>

using namespace LAMMPS_NS;

/// The models whose files say what their training data visited: this one, or the members of a committee.
void PairMLIP::watch_extrapolation() {
    watched_.clear();
    warned_extrapolating_ = false;
    for (int k = 0; k < evaluator_->description().members; ++k) {
        const mlip::Evaluator& model = evaluator_->member(k);
        const mlip::SnnpTables* tables = model.snnp_tables();
        if (tables != nullptr && tables->coverage.species > 0) {
            watched_.emplace_back(*tables, model.description(), species_of_type_);
        }
    }
}

/// What fix pair reads, which asks before the first step.
void* PairMLIP::extrapolating_array() {
    if (watched_.empty()) {
        error->all(
            FLERR,
            "pair_style mlip: fix pair asks for `extrapolating`, but `{}` does not say which distances "
            "and angles its training data hold; expected an s-NNP that `ase-mlip train` has exported",
            evaluator_->description().path);
    }
    extrapolating_.resize(std::max<size_t>({extrapolating_.size(), static_cast<size_t>(atom->nmax), 1}));
    return extrapolating_.data();
}

/// At the steps that fix pair asks for, and until the warning is given whenever there is a new list.
bool PairMLIP::wants_extrapolating() const {
    const bool watches = !warned_extrapolating_ && neighbor->ago == 0;
    return !watched_.empty() && (extrapolating_flag_ != 0 || watches);
}

/// The general path's; of a committee, for each atom the largest number of a member.
void PairMLIP::count_extrapolating() {
    if (!wants_extrapolating()) {
        return;
    }
    const mlip::NativeDomain domain = native_domain();
    counts_.assign(static_cast<size_t>(domain.n_places) + 1, 0);
    double shortest = INFINITY;
    for (mlip::Extrapolation& watched : watched_) {
        shortest = std::min(shortest, watched.count(domain, counts_));
    }
    tally_extrapolating(shortest);
}

/// From counts_, of this step.
void PairMLIP::tally_extrapolating(double shortest) {
    if (counts_.empty()) {
        return;
    }
    if (extrapolating_flag_ != 0) {
        extrapolating_.assign(std::max(atom->nmax, 1), 0.0);
        std::copy_n(counts_.begin(), atom->nlocal, extrapolating_.begin());
    }
    bigint atoms = atom->nlocal - std::count(counts_.begin(), counts_.begin() + atom->nlocal, 0);
    MPI_Allreduce(MPI_IN_PLACE, &atoms, 1, MPI_LMP_BIGINT, MPI_SUM, world);
    MPI_Allreduce(MPI_IN_PLACE, &shortest, 1, MPI_DOUBLE, MPI_MIN, world);
    if (atoms == 0 || warned_extrapolating_) {
        return;
    }
    warned_extrapolating_ = true;
    if (comm->me == 0) {
        error->warning(
            FLERR,
            "pair_style mlip: {} atoms have neighbours or angles where `{}` has no training data "
            "(the shortest distance is {:.2f} Angstrom): energy and forces are extrapolated. "
            "`fix ID all pair 1 mlip extrapolating 1` counts them for each atom; this is said once",
            atoms, evaluator_->description().name, shortest);
    }
}
