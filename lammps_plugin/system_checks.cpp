// What is asked for and checked before a run.

#include "pair_mlip.h"

#include "atom.h"
#include "comm.h"
#include "compute.h"
#include "domain.h"
#include "error.h"
#include "fix.h"
#include "force.h"
#include "modify.h"
#include "neighbor.h"
#include "update.h"
#include "utils.h"

#include <algorithm>
#include <cmath>
#include <cstring>

using namespace LAMMPS_NS;

namespace {
constexpr double kElectronVoltInKcal = 23.060549; // per mol, as LAMMPS converts metal to real
}

void PairMLIP::init_style() {
    if (!evaluator_) {
        error->all(FLERR, "pair_style mlip needs a pair_coeff command: pair_coeff * * model.pt Si O");
    }
    check_system();
    check_special_bonds();
    check_masses();
    check_virial_consumers();
    check_random();
    check_lattice();
    has_compute_pair_ = !modify->get_compute_by_style("^pair$").empty();
    // at most a virial of a ghost, or its forces of all samples; the same without newton
    const auto& model = evaluator_->description();
    comm_reverse = comm_reverse_off = std::max({9, 3 * model.rotations, 3 * model.members});
    raise_communication_cutoff();
    const bool needs_ghost_centres = comm->nprocs > 1 && hops_ > 1;
    neighbor->add_request(this, needs_ghost_centres ? NeighConst::REQ_FULL | NeighConst::REQ_GHOST
                                                    : NeighConst::REQ_FULL);
    topology_call_ = -1;
}

double PairMLIP::init_one(int i, int j) {
    if (setflag[i][j] == 0) {
        error->all(FLERR, "pair_style mlip: no pair_coeff for the types {} and {}", i, j);
    }
    cutghost[i][j] = cutghost[j][i] = evaluator_->description().cutoff;
    return cutghost[i][j];
}

void PairMLIP::check_system() {
    if (strcmp(update->unit_style, "metal") == 0) {
        energy_unit_ = 1.0;
    } else if (strcmp(update->unit_style, "real") == 0) {
        energy_unit_ = kElectronVoltInKcal;
    } else {
        error->all(FLERR, "pair_style mlip: expected `units metal` or `units real`, got `units {}`",
                   update->unit_style);
    }
    if (domain->dimension != 3) {
        error->all(FLERR, "pair_style mlip: expected `dimension 3`, got {}", domain->dimension);
    }
    if (hops_ > 1 && !modify->get_compute_by_style("^heat/flux").empty()) {
        error->all(
            FLERR,
            "pair_style mlip: compute heat/flux needs per-atom virials that say which atom's energy a "
            "force comes from; for a model that reaches {} cutoffs far they do not exist. Use a one-layer "
            "model "
            "(without an adaptive cutoff) with compute centroid/stress/atom, or another method (approach to "
            "equilibrium, rnemd)",
            hops_);
    }
}

/// LAMMPS leaves pairs out of neighbour lists when both their factors are zero; to us they are pairs as any.
void PairMLIP::check_special_bonds() {
    if (atom->molecular == Atom::ATOMIC) {
        return;
    }
    for (int k = 1; k <= 3; ++k) {
        if (force->special_lj[k] == 0.0 && force->special_coul[k] == 0.0) {
            error->all(
                FLERR,
                "pair_style mlip: `special_bonds` removes bonded pairs from the neighbour list, but the "
                "model needs them; add the line: special_bonds lj/coul 1.0 1.0 1.0 (or factors of "
                "1.0e-50 for other pair styles that are to see none)");
        }
    }
}

/// A rotation that is new at every step makes another energy surface of every evaluation.
void PairMLIP::check_random() {
    if (!random_) {
        return;
    }
    const char* what = update->whichflag == 2 ? "a minimisation" : nullptr;
    if (utils::strmatch(update->integrate_style, "^respa")) {
        what = "run_style respa";
    }
    if (what != nullptr) {
        error->all(FLERR,
                   "pair_style mlip symmetrize random: {} needs one energy surface, expected the same "
                   "rotation at every step; use `symmetrize octahedral` or `icosahedral`",
                   what);
    }
}

/// A model averaged over a crystal's group has that symmetry only in boxes that the group keeps: R maps the
/// vectors h of the box onto integer combinations of them, as ase_mlip/rotations/averaging.py checks.
void PairMLIP::check_lattice() {
    const std::vector<double>& operations = evaluator_->description().operations;
    const bool is_periodic = domain->xperiodic || domain->yperiodic || domain->zperiodic;
    if (!check_lattice_ || operations.empty() || !is_periodic) {
        return;
    }
    constexpr double tolerance = 1e-3; // of fractional coordinates
    const mlip::Matrix box = {domain->xprd, domain->xy, domain->xz, 0,           domain->yprd,
                              domain->yz,   0,          0,          domain->zprd}; // columns are vectors
    const double* h = domain->h_inv;                                               // xx, yy, zz, yz, xz, xy
    const mlip::Matrix inverse = {h[0], h[5], h[4], 0, h[1], h[3], 0, 0, h[2]};
    mlip::Matrix to_box = {1, 0, 0, 0, 1, 0, 0, 0, 1};
    for (int k = 0; domain->triclinic_general && k < 9; ++k) {
        to_box[k] = domain->rotate_g2r[k / 3][k % 3];
    }
    const mlip::Matrix to_user = {to_box[0], to_box[3], to_box[6], to_box[1], to_box[4],
                                  to_box[7], to_box[2], to_box[5], to_box[8]};
    int broken = 0;
    double worst = 0.0;
    for (size_t start = 0; start < operations.size(); start += 9) {
        mlip::Matrix operation{};
        std::copy_n(operations.begin() + static_cast<ptrdiff_t>(start), 9, operation.begin());
        const mlip::Matrix in_box = mlip::product(to_box, mlip::product(operation, to_user));
        double error = 0.0;
        for (const double value : mlip::product(inverse, mlip::product(in_box, box))) {
            error = std::max(error, std::abs(value - std::round(value)));
        }
        broken += error > tolerance ? 1 : 0;
        worst = std::max(worst, error);
    }
    if (broken > 0) {
        error->all(
            FLERR,
            "pair_style mlip: the model is averaged over the {} operations of a crystal, {} of which do "
            "not map this box onto itself (by {:.2g} of its vectors); expected a supercell that keeps "
            "the lattice, in the crystal's orientation; allow it with `check_lattice no`",
            operations.size() / 9, broken, worst);
    }
}

/// Direct forces without a direct virial or stress leave LAMMPS without a virial.
void PairMLIP::check_virial_consumers() {
    const auto& model = evaluator_->description();
    if (!direct_ || model.direct_virials || model.direct_stresses) {
        return;
    }
    for (const Fix* fix : modify->get_fix_list()) {
        refuse_without_virial("fix", fix->style, {"^np[th]", "^press/", "^box/relax"});
    }
    for (const Compute* compute : modify->get_compute_list()) {
        refuse_without_virial("compute", compute->style, {"stress/", "^heat/flux"});
    }
}

/// `patterns` are LAMMPS' own simple expressions, which know no alternatives.
void PairMLIP::refuse_without_virial(const char* kind, const std::string& style,
                                     const std::vector<std::string>& patterns) {
    for (const std::string& pattern : patterns) {
        if (utils::strmatch(style, pattern)) {
            error->all(FLERR,
                       "pair_style mlip forces direct: {} {} needs a virial, but `{}` has no direct "
                       "virial or stress; use `forces conservative`",
                       kind, style, evaluator_->description().path);
        }
    }
}

/// Candidate edges reach `hops_` times cutoff + skin: so far the surroundings of every ghost have to be
/// complete.
void PairMLIP::raise_communication_cutoff() {
    if (comm->nprocs == 1) {
        return; // every ghost is folded onto its owner: the neighbour list's own cutoff is enough
    }
    const double needed = evaluator_->description().interaction_range + hops_ * neighbor->skin;
    if (comm->mode != 0) {
        error->all(FLERR,
                   "pair_style mlip: expected `comm_modify mode single`, because the interaction range is "
                   "the same for all atom types");
    }
    if (comm->cutghostuser < needed) {
        if (comm->me == 0) {
            utils::logmesg(
                lmp,
                "pair mlip: communication cutoff raised to {:g} (interaction range {:g} + {} x skin {:g})\n",
                needed, evaluator_->description().interaction_range, hops_, neighbor->skin);
        }
        comm->cutghostuser = needed;
    }
}
