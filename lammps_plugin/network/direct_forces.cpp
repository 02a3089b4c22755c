#include "direct_forces.h"

#include "../communication/net_force.h"

#include "atom.h"

namespace mlip {

void DirectForces::take(const DomainTopology& nodes, const double* forces) {
    const int64_t n_owned = nodes.topology.n_owned;
    forces_.assign(forces, forces + 3 * n_owned);
    remove_net_force(forces_, 3, n_owned, [](int64_t node) { return node; }, world);
}

void DirectForces::add(const DomainTopology& nodes, double factor) const {
    for (int64_t node = 0; node < nodes.topology.n_owned; ++node) {
        for (int k = 0; k < 3; ++k) {
            atom->f[nodes.atom_of_node[node]][k] += factor * forces_[3 * node + k];
        }
    }
}

} // namespace mlip
