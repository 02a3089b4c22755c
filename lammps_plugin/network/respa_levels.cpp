#include "respa_levels.h"

#include "atom.h"

#include <mpi.h>

#include <algorithm>

namespace mlip {

const double* RespaLevels::positions_now() const { return atom->nlocal > 0 ? atom->x[0] : nullptr; }

void RespaLevels::remember_inner() {
    const double* const begin = positions_now();
    positions_.assign(begin, begin + 3 * static_cast<ptrdiff_t>(atom->nlocal));
}

bool RespaLevels::inner_is_current() const {
    const size_t count = 3 * static_cast<size_t>(atom->nlocal);
    const bool same =
        positions_.size() == count && std::equal(positions_.begin(), positions_.end(), positions_now());
    int current = same ? 1 : 0;
    MPI_Allreduce(MPI_IN_PLACE, &current, 1, MPI_INT, MPI_MIN, world); // another evaluation is collective
    return current == 1;
}

} // namespace mlip
