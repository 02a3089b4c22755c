#include "mass_check.h"

#include "../both_sides/elements.h"

#include "atom.h"
#include "comm.h"
#include "error.h"

#include <mpi.h>

namespace mlip {

void MassCheck::check() {
    const std::vector<double> masses = masses_of_types();
    const std::vector<int>& species = model_.species_of_type;
    std::string found;
    for (int type = 1; type <= atom->ntypes; ++type) {
        const int number = species[type];
        const int other = number > 0 ? element_of_mass(masses[type], species) : 0;
        if (other != 0 && other != number) {
            found +=
                fmt::format("{}type {} is {}, but its mass {:g} is that of {}", found.empty() ? "" : "; ",
                            type, element_symbol(number), masses[type], element_symbol(other));
        }
    }
    if (found.empty() || warned_) {
        return;
    }
    warned_ = true;
    if (comm->me == 0) {
        error->warning(FLERR,
                       "pair_style mlip: {}. Expected pair_coeff to name the elements in the order of the "
                       "types",
                       found);
    }
}

/// Of each type, in u; the mean of its atoms where each has a mass of its own.
std::vector<double> MassCheck::masses_of_types() const {
    const int n_types = atom->ntypes;
    if (atom->rmass == nullptr) {
        std::vector<double> masses(n_types + 1, 0.0);
        for (int type = 1; type <= n_types; ++type) { // LAMMPS complains of missing ones later
            masses[type] = atom->mass_setflag[type] != 0 ? atom->mass[type] : 0.0;
        }
        return masses;
    }
    std::vector<double> sums(2 * (n_types + 1), 0.0);
    for (int i = 0; i < atom->nlocal; ++i) {
        sums[2 * atom->type[i]] += atom->rmass[i];
        sums[2 * atom->type[i] + 1] += 1.0;
    }
    MPI_Allreduce(MPI_IN_PLACE, sums.data(), static_cast<int>(sums.size()), MPI_DOUBLE, MPI_SUM, world);
    std::vector<double> masses(n_types + 1, 0.0);
    for (int type = 1; type <= n_types; ++type) {
        masses[type] = sums[2 * type + 1] > 0.0 ? sums[2 * type] / sums[2 * type + 1] : 0.0;
    }
    return masses;
}

} // namespace mlip
