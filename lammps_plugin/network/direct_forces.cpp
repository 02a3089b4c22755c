#include "direct_forces.h"

#include "atom.h"

#include <mpi.h>

namespace mlip {

void DirectForces::take(const DomainTopology& nodes, const double* forces) {
    const int64_t n_owned = nodes.topology.n_owned;
    double sums[4] = {0.0, 0.0, 0.0, static_cast<double>(n_owned)};
    for (int64_t node = 0; node < n_owned; ++node) {
        for (int k = 0; k < 3; ++k) {
            sums[k] += forces[3 * node + k];
        }
    }
    MPI_Allreduce(MPI_IN_PLACE, sums, 4, MPI_DOUBLE, MPI_SUM, world);
    forces_.resize(3 * n_owned);
    for (int64_t k = 0; k < 3 * n_owned; ++k) {
        forces_[k] = forces[k] - sums[k % 3] / sums[3];
    }
}

void DirectForces::add(const DomainTopology& nodes, double factor) const {
    for (int64_t node = 0; node < nodes.topology.n_owned; ++node) {
        for (int k = 0; k < 3; ++k) {
            atom->f[nodes.atom_of_node[node]][k] += factor * forces_[3 * node + k];
        }
    }
}

} // namespace mlip
