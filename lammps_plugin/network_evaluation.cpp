// A step: atoms and neighbour list to a graph, evaluation, forces and virials back to LAMMPS' arrays.

#include "pair_mlip.h"

#include "atom.h"
#include "comm.h"
#include "domain.h"
#include "error.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "update.h"

#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <stdexcept>

using namespace LAMMPS_NS;

namespace {
// LAMMPS' order xx, yy, zz, xy, xz, yz
constexpr int kRow[6] = {0, 1, 2, 0, 0, 1}, kColumn[6] = {0, 1, 2, 1, 2, 2};

double symmetric(const double* tensor, int k) {
    return 0.5 * (tensor[3 * kRow[k] + kColumn[k]] + tensor[3 * kColumn[k] + kRow[k]]);
}

double seconds_now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

} // namespace

void PairMLIP::compute(int eflag, int vflag) {
    const double start = seconds_now();
    ev_init(eflag, vflag);
    update_excluded();
    if (native_) {
        compute_native();
    } else {
        update_topology();
        const mlip::Results& results = evaluate(direct_, vflag_atom != 0, cvflag_atom != 0);
        add_forces(results, direct_, 1.0);
        tally(results, direct_);
        find_spread(results, direct_);
        tally_leverage(results);
        count_extrapolating();
    }
    seconds_total_ += seconds_now() - start;
}

void PairMLIP::compute_inner() {
    const double start = seconds_now();
    if (direct_ || !evaluator_->description().direct_forces) {
        error->all(
            FLERR,
            "pair_style mlip with `run_style respa ... inner`: the innermost level takes direct forces, "
            "and {}; expected {}, or use `run_style verlet`",
            direct_ ? "`forces direct` leaves none for the outermost to add"
                    : fmt::format("`{}` has none", evaluator_->description().path),
            direct_ ? "`forces conservative`" : "a model with a head for forces");
    }
    update_excluded();
    update_topology();
    add_forces(evaluate(true, false, false), true, 1.0);
    inner_positions_.assign(positions_begin(), positions_begin() + 3 * atom->nlocal);
    seconds_total_ += seconds_now() - start;
}

void PairMLIP::compute_outer(int eflag, int vflag) {
    const double start = seconds_now();
    ev_init(eflag, vflag);
    update_excluded();
    update_topology();
    if (inner_forces_are_current()) {
        apply_direct_forces(-1.0);
    } else {
        add_forces(evaluate(true, false, false), true, -1.0);
    }
    const mlip::Results& results = evaluate(false, vflag_atom != 0, cvflag_atom != 0);
    add_forces(results, false, 1.0);
    tally(results, false);
    find_spread(results, false);
    tally_leverage(results);
    seconds_total_ += seconds_now() - start;
}

const double* PairMLIP::positions_begin() const { return atom->nlocal > 0 ? atom->x[0] : nullptr; }

/// The outer level follows an inner one at the same positions, unless atoms were exchanged in between.
bool PairMLIP::inner_forces_are_current() const {
    const size_t count = 3 * static_cast<size_t>(atom->nlocal);
    const bool same = inner_positions_.size() == count &&
                      std::equal(inner_positions_.begin(), inner_positions_.end(), positions_begin());
    int current = same ? 1 : 0;
    MPI_Allreduce(MPI_IN_PLACE, &current, 1, MPI_INT, MPI_MIN, world); // their evaluation is collective
    return current == 1;
}

// ---- graph ---------------------------------------------------------------------------------------------

/// A list made in this step is new to us, although `rerun` sets their count back for every snapshot. Types
/// may change between rebuilds (fix atom/swap does), and with them which atoms are ours.
bool PairMLIP::topology_is_old() const {
    const int n_places = atom->nlocal + atom->nghost;
    return neighbor->ago == 0 || topology_call_ != neighbor->ncalls || topology_owned_ != atom->nlocal ||
           static_cast<int>(types_.size()) != n_places ||
           !std::equal(types_.begin(), types_.end(), atom->type);
}

void PairMLIP::update_topology() {
    // Gathering is collective, so all ranks have to agree although types may have changed on one only.
    int old = topology_is_old() ? 1 : 0;
    MPI_Allreduce(MPI_IN_PLACE, &old, 1, MPI_INT, MPI_MAX, world);
    if (old == 0) {
        return;
    }
    mlip::Places places;
    gather_places(places);
    mlip::Neighbours neighbours;
    neighbours.count.assign(places.n_places, 0);
    for (int k = 0; k < list->inum + list->gnum; ++k) {
        neighbours.count[list->ilist[k]] = list->numneigh[list->ilist[k]];
    }
    neighbours.first = list->firstneigh;
    neighbours.mask = NEIGHMASK;
    together([&] {
        const double reach = evaluator_->description().cutoff + neighbor->skin;
        candidates_ = mlip::build_candidates(places, neighbours, reach, hops_);
        evaluator_->set_topology(candidates_.topology);
    });
    inner_positions_.clear(); // direct forces of another graph
    topology_call_ = neighbor->ncalls;
    topology_owned_ = atom->nlocal;
    types_.assign(atom->type, atom->type + places.n_places);
}

void PairMLIP::gather_places(mlip::Places& places) {
    places.n_owned = atom->nlocal;
    places.n_places = atom->nlocal + atom->nghost;
    places.positions = places.n_places > 0 ? atom->x[0] : nullptr;
    owner_.assign(places.n_places, -1);
    for (int i = 0; i < atom->nlocal; ++i) {
        owner_[i] = (static_cast<int64_t>(comm->me) << 32) | i;
    }
    comm->forward_comm(this);
    places.owner = owner_;
    places.species.resize(places.n_places);
    const int* const types = visible_types();
    for (int i = 0; i < places.n_places; ++i) {
        places.species[i] = species_of_type_[types[i]];
    }
}

int PairMLIP::pack_forward_comm(int n, int* list, double* buf, int, int*) {
    for (int k = 0; k < n; ++k) {
        buf[k] = ubuf(static_cast<int64_t>(owner_[list[k]])).d;
    }
    return n;
}

void PairMLIP::unpack_forward_comm(int n, int first, double* buf) {
    for (int k = 0; k < n; ++k) {
        owner_[first + k] = ubuf(buf[k]).i;
    }
}

// ---- evaluation ----------------------------------------------------------------------------------------

const mlip::Results& PairMLIP::evaluate(bool direct, bool virials, bool centroid_virials) {
    mlip::Request request;
    request.direct = direct;
    request.virials = virials || direct; // a direct virial is known per atom only
    request.centroid_virials = centroid_virials;
    request.leverage = leverage_flag_ != 0 && direct == direct_; // not of respa's inner level
    request.spread = wants_spread();
    choose_rotation();
    request.rotation = is_rotated_ ? rotation_.data() : nullptr;
    const double* positions = topology().n_places > 0 ? atom->x[0] : nullptr;
    const mlip::Results* results = nullptr;
    together([&] {
        results = &evaluator_->evaluate(positions, request);
        check_finite(*results, direct);
    });
    seconds_model_ += results->seconds_model;
    n_edges_ = results->n_edges;
    return *results;
}

/// An unconstrained model's energy depends on the frame: it is the user's, or a random one at every step.
void PairMLIP::choose_rotation() {
    is_rotated_ = random_ || domain->triclinic_general != 0;
    rotation_ = {1, 0, 0, 0, 1, 0, 0, 0, 1};
    for (int k = 0; domain->triclinic_general && k < 9; ++k) {
        rotation_[k] = domain->rotate_r2g[k / 3][k % 3];
    }
    if (random_) {
        rotation_ = mlip::product(mlip::random_rotation(random_seed_, update->ntimestep), rotation_);
    }
}

/// Also of the ghosts' shares, which go to their owners.
void PairMLIP::check_finite(const mlip::Results& results, bool direct) {
    bool finite = std::isfinite(results.energy);
    int64_t worst = -1;
    const auto n_nodes = static_cast<int64_t>(candidates_.place_of_node.size());
    for (int64_t node = 0; node < (direct ? topology().n_owned : n_nodes); ++node) {
        const double* force = results.forces + 3 * node;
        if (!std::isfinite(force[0] + force[1] + force[2])) {
            finite = false;
            worst = node;
        }
    }
    if (!finite) {
        throw std::runtime_error(not_finite(
            worst < 0 ? "the energy" : "the force on " + name_of(candidates_.place_of_node[worst])));
    }
}

std::string PairMLIP::name_of(int place) const {
    return "atom " + std::to_string(atom->tag_enable ? atom->tag[place] : place);
}

std::string PairMLIP::not_finite(const std::string& what) {
    return what + " is not a finite number; the structure is far from what the model was trained on: look at "
                  "its distances, or reduce the timestep";
}

// ---- forces --------------------------------------------------------------------------------------------

void PairMLIP::add_forces(const mlip::Results& results, bool direct, double sign) {
    if (direct) {
        add_direct_forces(results, sign);
        return;
    }
    double** f = atom->f;
    for (int64_t node = 0; node < topology().n_owned; ++node) {
        for (int k = 0; k < 3; ++k) {
            f[candidates_.place_of_node[node]][k] += sign * energy_unit_ * results.forces[3 * node + k];
        }
    }
    send_home(results.forces, 3);
    if (home_.empty()) {
        return;
    }
    for (int i = 0; i < atom->nlocal; ++i) {
        for (int k = 0; k < 3; ++k) {
            f[i][k] += sign * energy_unit_ * home_[3 * static_cast<size_t>(i) + k];
        }
    }
}

/// The net force is of all ranks' atoms; without its removal the centre of mass would accelerate.
void PairMLIP::add_direct_forces(const mlip::Results& results, double sign) {
    double sums[4] = {0.0, 0.0, 0.0, static_cast<double>(topology().n_owned)};
    for (int64_t node = 0; node < topology().n_owned; ++node) {
        for (int k = 0; k < 3; ++k) {
            sums[k] += results.forces[3 * node + k];
        }
    }
    MPI_Allreduce(MPI_IN_PLACE, sums, 4, MPI_DOUBLE, MPI_SUM, world);
    direct_forces_.resize(3 * topology().n_owned);
    for (int64_t k = 0; k < 3 * topology().n_owned; ++k) {
        direct_forces_[k] = results.forces[k] - sums[k % 3] / sums[3];
    }
    apply_direct_forces(sign);
}

void PairMLIP::apply_direct_forces(double sign) {
    for (int64_t node = 0; node < topology().n_owned; ++node) {
        for (int k = 0; k < 3; ++k) {
            atom->f[candidates_.place_of_node[node]][k] += sign * energy_unit_ * direct_forces_[3 * node + k];
        }
    }
}

/// Values [n_nodes, width] of ghosts, summed over their ranks in home_ [n_owned atoms, width]; empty if there
/// are no ghosts of other ranks. Our own buffer, because LAMMPS' arrays come home with `newton on` only.
void PairMLIP::send_home(const double* values, int width) {
    home_.clear();
    if (comm->nprocs == 1) {
        return;
    }
    home_width_ = width;
    home_.assign(static_cast<size_t>(width) * (atom->nlocal + atom->nghost), 0.0);
    const auto n_nodes = static_cast<int64_t>(candidates_.place_of_node.size());
    for (int64_t node = topology().n_owned; node < n_nodes; ++node) {
        const size_t place = candidates_.place_of_node[node];
        std::copy_n(values + width * node, width, home_.begin() + static_cast<ptrdiff_t>(width * place));
    }
    comm->reverse_comm(this, width);
}

int PairMLIP::pack_reverse_comm(int n, int first, double* buf) {
    const size_t count = static_cast<size_t>(n) * home_width_;
    std::copy_n(home_.begin() + static_cast<ptrdiff_t>(first) * home_width_, count, buf);
    return static_cast<int>(count);
}

void PairMLIP::unpack_reverse_comm(int n, int* list, double* buf) {
    for (int k = 0; k < n; ++k) {
        for (int w = 0; w < home_width_; ++w) {
            home_[static_cast<size_t>(list[k]) * home_width_ + w] += *buf++;
        }
    }
}

// ---- energies and virials ------------------------------------------------------------------------------

void PairMLIP::tally(const mlip::Results& results, bool direct) {
    if (eflag_global) {
        eng_vdwl += energy_unit_ * results.energy;
    }
    if (eflag_atom) {
        for (int64_t node = 0; node < topology().n_owned; ++node) {
            eatom[candidates_.place_of_node[node]] += energy_unit_ * results.energies[node];
        }
    }
    if (vflag_either) {
        tally_virial(results, direct);
    }
}

void PairMLIP::tally_virial(const mlip::Results& results, bool direct) {
    const auto& model = evaluator_->description();
    if (!direct) {
        for (int k = 0; vflag_global && k < 6; ++k) {
            virial[k] += energy_unit_ * symmetric(results.virial, k);
        }
        if (vflag_atom) {
            tally_atom_virials(results.virials, vatom, false);
        }
        if (cvflag_atom) {
            tally_atom_virials(results.centroid_virials, cvatom, true);
        }
        return;
    }
    if (results.virials == nullptr) {
        if (vflag_atom) {
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
    double factor = energy_unit_;
    if (model.direct_stresses) {
        bigint n_atoms = topology().n_owned;
        MPI_Allreduce(MPI_IN_PLACE, &n_atoms, 1, MPI_LMP_BIGINT, MPI_SUM, world);
        factor *= -domain->xprd * domain->yprd * domain->zprd / static_cast<double>(n_atoms);
    }
    for (int64_t node = 0; node < topology().n_owned; ++node) {
        for (int k = 0; k < 6; ++k) {
            const double value = factor * symmetric(results.virials + 9 * node, k);
            virial[k] += vflag_global ? value : 0.0;
            if (vflag_atom) {
                vatom[candidates_.place_of_node[node]][k] += value;
            }
        }
    }
}

/// Tensors [n_nodes, 3, 3] to LAMMPS' order: six components, or nine (xx, yy, zz, xy, xz, yz, yx, zx, zy).
void PairMLIP::tally_atom_virials(const double* virials, double** target, bool nine) {
    constexpr int kNine[9] = {0, 4, 8, 1, 2, 5, 3, 6, 7};
    const auto add = [&](int i, const double* tensor) {
        for (int k = 0; k < (nine ? 9 : 6); ++k) {
            target[i][k] += energy_unit_ * (nine ? tensor[kNine[k]] : symmetric(tensor, k));
        }
    };
    for (int64_t node = 0; node < topology().n_owned; ++node) {
        add(candidates_.place_of_node[node], virials + 9 * node);
    }
    send_home(virials, 9);
    for (int i = 0; !home_.empty() && i < atom->nlocal; ++i) {
        add(i, home_.data() + 9 * static_cast<size_t>(i));
    }
}
