#include "network_evaluation.h"

#include "../communication/together.h"
#include "../domain/box.h"
#include "../domain/not_finite.h"

#include "atom.h"
#include "comm.h"
#include "domain.h"
#include "error.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "pair.h"
#include "update.h"

#include <mpi.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

using namespace LAMMPS_NS;

namespace mlip {

NetworkEvaluation::NetworkEvaluation(LAMMPS* lmp, Pair& pair, const ModelInUse& model,
                                     const PairSettings& settings, GhostSums& ghosts)
    : Pointers(lmp), pair_(pair), model_(model), settings_(settings), ghosts_(ghosts) {}

// ---- graph ---------------------------------------------------------------------------------------------

/// A list made in this step is new to us, although `rerun` sets their count back for every snapshot. Types
/// may change between rebuilds (fix atom/swap does), and with them which atoms are ours.
bool NetworkEvaluation::topology_is_old() const {
    const int n_all = atom->nlocal + atom->nghost;
    return neighbor->ago == 0 || topology_call_ != neighbor->ncalls || topology_owned_ != atom->nlocal ||
           static_cast<int>(types_.size()) != n_all || !std::equal(types_.begin(), types_.end(), atom->type);
}

bool NetworkEvaluation::update_topology(const NeighList& list, const int* types) {
    // Gathering is collective, so all ranks have to agree although types may have changed on one only.
    int old = topology_is_old() ? 1 : 0;
    MPI_Allreduce(MPI_IN_PLACE, &old, 1, MPI_INT, MPI_MAX, world);
    if (old == 0) {
        return false;
    }
    DomainAtoms atoms;
    gather(atoms, types);
    Neighbours neighbours;
    neighbours.count.assign(atoms.n_all, 0);
    for (int k = 0; k < list.inum + list.gnum; ++k) {
        neighbours.count[list.ilist[k]] = list.numneigh[list.ilist[k]];
    }
    neighbours.first = list.firstneigh;
    neighbours.mask = NEIGHMASK;
    together(lmp, [&] {
        const Description& description = model_.description();
        nodes_ = build_topology(atoms, neighbours, description.cutoff + neighbor->skin, description.hops());
        model_.evaluator->set_topology(nodes_.topology);
    });
    topology_call_ = neighbor->ncalls;
    topology_owned_ = atom->nlocal;
    types_.assign(atom->type, atom->type + atoms.n_all);
    return true;
}

void NetworkEvaluation::gather(DomainAtoms& atoms, const int* types) {
    atoms.n_owned = atom->nlocal;
    atoms.n_all = atom->nlocal + atom->nghost;
    atoms.positions = atoms.n_all > 0 ? atom->x[0] : nullptr;
    owner_.assign(atoms.n_all, -1);
    for (int i = 0; i < atom->nlocal; ++i) {
        owner_[i] = (static_cast<int64_t>(comm->me) << 32) | i;
    }
    comm->forward_comm(&pair_);
    atoms.owner = owner_;
    atoms.species.resize(atoms.n_all);
    for (int i = 0; i < atoms.n_all; ++i) {
        atoms.species[i] = model_.species_of_type[types[i]];
    }
}

int NetworkEvaluation::pack_owners(int n, const int* list, double* buffer) const {
    for (int k = 0; k < n; ++k) {
        buffer[k] = ubuf(static_cast<int64_t>(owner_[list[k]])).d;
    }
    return n;
}

void NetworkEvaluation::unpack_owners(int n, int first, const double* buffer) {
    for (int k = 0; k < n; ++k) {
        owner_[first + k] = ubuf(buffer[k]).i;
    }
}

// ---- evaluation ----------------------------------------------------------------------------------------

const Results& NetworkEvaluation::evaluate(Request request) {
    choose_rotation();
    request.virials = request.virials || request.direct; // a direct virial is known per atom only
    request.rotation = is_rotated_ ? rotation_.data() : nullptr;
    const double* positions = nodes_.topology.n_all > 0 ? atom->x[0] : nullptr;
    const Results* results = nullptr;
    together(lmp, [&] {
        results = &model_.evaluator->evaluate(positions, request);
        check_finite(*results, request.direct);
    });
    return *results;
}

/// An unconstrained model's energy depends on the frame: it is the user's, or a random one at every step.
void NetworkEvaluation::choose_rotation() {
    is_rotated_ = settings_.random || domain->triclinic_general != 0;
    rotation_ = {1, 0, 0, 0, 1, 0, 0, 0, 1};
    for (int k = 0; domain->triclinic_general && k < 9; ++k) {
        rotation_[k] = domain->rotate_r2g[k / 3][k % 3];
    }
    if (settings_.random) {
        rotation_ = product(random_rotation(settings_.random_seed, update->ntimestep), rotation_);
    }
}

/// Also of the ghosts' shares, which go to their owners.
void NetworkEvaluation::check_finite(const Results& results, bool direct) const {
    bool finite = std::isfinite(results.energy);
    int64_t worst = -1;
    const auto n_nodes = static_cast<int64_t>(nodes_.atom_of_node.size());
    for (int64_t node = 0; node < (direct ? nodes_.topology.n_owned : n_nodes); ++node) {
        const double* force = results.forces + 3 * node;
        if (!std::isfinite(force[0] + force[1] + force[2])) {
            finite = false;
            worst = node;
        }
    }
    if (!finite) {
        throw std::runtime_error(not_finite(
            worst < 0 ? "the energy" : "the force on " + name_of(*atom, nodes_.atom_of_node[worst])));
    }
}

// ---- what LAMMPS gets ----------------------------------------------------------------------------------

void NetworkEvaluation::add_forces(const Results& results) {
    double** f = atom->f;
    for (int64_t node = 0; node < nodes_.topology.n_owned; ++node) {
        for (int k = 0; k < 3; ++k) {
            f[nodes_.atom_of_node[node]][k] += model_.energy_unit * results.forces[3 * node + k];
        }
    }
    const double* of_ghosts = ghosts_.of_nodes(nodes_, results.forces, 3);
    for (int i = 0; of_ghosts != nullptr && i < atom->nlocal; ++i) {
        for (int k = 0; k < 3; ++k) {
            f[i][k] += model_.energy_unit * of_ghosts[3 * static_cast<size_t>(i) + k];
        }
    }
}

void NetworkEvaluation::add_to(const Tally& tally, const Results& results, bool direct) {
    const double unit = model_.energy_unit;
    if (tally.energy != nullptr) {
        *tally.energy += unit * results.energy;
    }
    for (int64_t node = 0; tally.energies != nullptr && node < nodes_.topology.n_owned; ++node) {
        tally.energies[nodes_.atom_of_node[node]] += unit * results.energies[node];
    }
    if (direct) {
        add_direct_virials(tally, results);
        return;
    }
    if (tally.virial != nullptr) {
        add_symmetric(tally.virial, results.virial, unit);
    }
    if (tally.virials != nullptr) {
        add_to_atoms(results.virials,
                     [&](int i, const double* virial) { add_symmetric(tally.virials[i], virial, unit); });
    }
    if (tally.centroid_virials != nullptr) {
        add_to_atoms(results.centroid_virials, [&](int i, const double* virial) {
            add_tensor(tally.centroid_virials[i], virial, unit);
        });
    }
}

/// Tensors [n_nodes, 3, 3], those of ghost nodes to the atoms that own them.
template <typename Add> void NetworkEvaluation::add_to_atoms(const double* virials, const Add& add) {
    for (int64_t node = 0; node < nodes_.topology.n_owned; ++node) {
        add(nodes_.atom_of_node[node], virials + 9 * node);
    }
    const double* of_ghosts = ghosts_.of_nodes(nodes_, virials, 9);
    for (int i = 0; of_ghosts != nullptr && i < atom->nlocal; ++i) {
        add(i, of_ghosts + 9 * static_cast<size_t>(i));
    }
}

void NetworkEvaluation::add_direct_virials(const Tally& tally, const Results& results) {
    if (!tally.wants_virials()) {
        return;
    }
    if (results.virials == nullptr) {
        if (tally.virials != nullptr) {
            error->all(FLERR,
                       "pair_style mlip forces direct: per-atom virials were asked for, but the model has no "
                       "direct virial or stress; use `forces conservative`");
        }
        if (!warned_no_virial_ && comm->me == 0) {
            error->warning(FLERR,
                           "pair_style mlip forces direct: the model has no direct virial or stress, so "
                           "pressures lack its part");
        }
        warned_no_virial_ = true;
        return;
    }
    // A head that predicts the stress as a mean over atoms is turned into a virial by the box's volume.
    double factor = model_.energy_unit;
    if (model_.description().direct_stresses) {
        bigint n_atoms = nodes_.topology.n_owned;
        MPI_Allreduce(MPI_IN_PLACE, &n_atoms, 1, MPI_LMP_BIGINT, MPI_SUM, world);
        factor *= -volume_of(*domain) / static_cast<double>(n_atoms);
    }
    for (int64_t node = 0; node < nodes_.topology.n_owned; ++node) {
        if (tally.virial != nullptr) {
            add_symmetric(tally.virial, results.virials + 9 * node, factor);
        }
        if (tally.virials != nullptr) {
            add_symmetric(tally.virials[nodes_.atom_of_node[node]], results.virials + 9 * node, factor);
        }
    }
}

double NetworkEvaluation::memory() const {
    return 5.0 * static_cast<double>(nodes_.topology.centre.capacity() * sizeof(int64_t)) +
           static_cast<double>(owner_.capacity() * sizeof(int64_t));
}

} // namespace mlip
