#include "extrapolation_watch.h"

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "neighbor.h"

#include <mpi.h>

#include <algorithm>
#include <cmath>

using namespace LAMMPS_NS;

namespace mlip {

/// The models whose files say what their training data visited: this one, or the members of a committee.
void ExtrapolationWatch::begin() {
    watched_.clear();
    warned_ = false;
    for (int k = 0; k < model_.description().members; ++k) {
        const Evaluator& member = model_.evaluator->member(k);
        const SnnpTables* tables = member.snnp_tables();
        if (tables != nullptr && tables->coverage.species > 0) {
            watched_.emplace_back(*tables, member.description(), model_.species_of_type);
        }
    }
}

double* ExtrapolationWatch::array() {
    if (watched_.empty()) {
        error->all(
            FLERR,
            "pair_style mlip: fix pair asks for `extrapolating`, but `{}` does not say which distances "
            "and angles its training data hold; expected an s-NNP that `ase-mlip train` has exported",
            model_.description().path);
    }
    return of_atoms_.array(*atom);
}

bool ExtrapolationWatch::is_wanted() const {
    const bool watches = !warned_ && neighbor->ago == 0;
    return !watched_.empty() && (of_atoms_.are_wanted() || watches);
}

void ExtrapolationWatch::count(const NativeDomain& domain) {
    if (!is_wanted()) {
        return;
    }
    counts_.assign(static_cast<size_t>(domain.n_all) + 1, 0);
    double shortest = INFINITY;
    for (SnnpExtrapolation& watched : watched_) {
        shortest = std::min(shortest, watched.count(domain, counts_));
    }
    tally(shortest);
}

int64_t* ExtrapolationWatch::counts_of(const NativeDomain& domain) {
    counts_.assign(is_wanted() ? static_cast<size_t>(domain.n_all) + 1 : 0, 0);
    return counts_.empty() ? nullptr : counts_.data();
}

void ExtrapolationWatch::tally(double shortest) {
    if (counts_.empty()) {
        return;
    }
    if (of_atoms_.are_wanted()) {
        std::copy_n(counts_.begin(), atom->nlocal, of_atoms_.array(*atom));
    }
    bigint atoms = atom->nlocal - std::count(counts_.begin(), counts_.begin() + atom->nlocal, 0);
    MPI_Allreduce(MPI_IN_PLACE, &atoms, 1, MPI_LMP_BIGINT, MPI_SUM, world);
    MPI_Allreduce(MPI_IN_PLACE, &shortest, 1, MPI_DOUBLE, MPI_MIN, world);
    if (atoms == 0 || warned_) {
        return;
    }
    warned_ = true;
    if (comm->me == 0) {
        error->warning(
            FLERR,
            "pair_style mlip: {} atoms have neighbours or angles where `{}` has no training data "
            "(the shortest distance is {:.2f} Angstrom): energy and forces are extrapolated. "
            "`fix ID all pair 1 mlip extrapolating 1` counts them for each atom; this is said once",
            atoms, model_.description().name, shortest);
    }
}

} // namespace mlip
