#include "system_checks.h"

#include "../both_sides/rotations.h"

#include "atom.h"
#include "compute.h"
#include "domain.h"
#include "error.h"
#include "fix.h"
#include "force.h"
#include "modify.h"
#include "update.h"
#include "utils.h"

#include <algorithm>
#include <cmath>
#include <cstring>

using namespace LAMMPS_NS;

namespace mlip {
namespace {
constexpr double kElectronVoltInKcal = 23.060549; // per mol, as LAMMPS converts metal to real
}

void SystemChecks::check() {
    check_dimensions();
    check_heat_flux();
    check_special_bonds();
    masses_.check();
    check_virial_consumers();
    check_random();
    check_lattice();
}

double SystemChecks::energy_unit() const {
    if (strcmp(update->unit_style, "metal") == 0) {
        return 1.0;
    }
    if (strcmp(update->unit_style, "real") != 0) {
        error->all(FLERR, "pair_style mlip: expected `units metal` or `units real`, got `units {}`",
                   update->unit_style);
    }
    return kElectronVoltInKcal;
}

void SystemChecks::check_dimensions() const {
    if (domain->dimension != 3) {
        error->all(FLERR, "pair_style mlip: expected `dimension 3`, got {}", domain->dimension);
    }
}

void SystemChecks::check_heat_flux() const {
    const int hops = model_.description().hops();
    if (hops > 1 && !modify->get_compute_by_style("^heat/flux").empty()) {
        error->all(
            FLERR,
            "pair_style mlip: compute heat/flux needs per-atom virials that say which atom's energy a "
            "force comes from; for a model that reaches {} cutoffs far they do not exist. Use a one-layer "
            "model "
            "(without an adaptive cutoff) with compute centroid/stress/atom, or another method (approach to "
            "equilibrium, rnemd)",
            hops);
    }
}

/// LAMMPS leaves pairs out of neighbour lists when both their factors are zero; to us they are pairs as any.
void SystemChecks::check_special_bonds() const {
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
void SystemChecks::check_random() const {
    if (!settings_.random) {
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
void SystemChecks::check_lattice() const {
    const std::vector<double>& operations = model_.description().operations;
    const bool is_periodic = domain->xperiodic || domain->yperiodic || domain->zperiodic;
    if (!settings_.check_lattice || operations.empty() || !is_periodic) {
        return;
    }
    constexpr double tolerance = 1e-3; // of fractional coordinates
    const Matrix box = {domain->xprd, domain->xy, domain->xz, 0,           domain->yprd,
                        domain->yz,   0,          0,          domain->zprd}; // columns are vectors
    const double* h = domain->h_inv;                                         // xx, yy, zz, yz, xz, xy
    const Matrix inverse = {h[0], h[5], h[4], 0, h[1], h[3], 0, 0, h[2]};
    Matrix to_box = {1, 0, 0, 0, 1, 0, 0, 0, 1};
    for (int k = 0; domain->triclinic_general && k < 9; ++k) {
        to_box[k] = domain->rotate_g2r[k / 3][k % 3];
    }
    const Matrix to_user = {to_box[0], to_box[3], to_box[6], to_box[1], to_box[4],
                            to_box[7], to_box[2], to_box[5], to_box[8]};
    int broken = 0;
    double worst = 0.0;
    for (size_t start = 0; start < operations.size(); start += 9) {
        Matrix operation{};
        std::copy_n(operations.begin() + static_cast<ptrdiff_t>(start), 9, operation.begin());
        const Matrix in_box = product(to_box, product(operation, to_user));
        double largest = 0.0;
        for (const double value : product(inverse, product(in_box, box))) {
            largest = std::max(largest, std::abs(value - std::round(value)));
        }
        broken += largest > tolerance ? 1 : 0;
        worst = std::max(worst, largest);
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
void SystemChecks::check_virial_consumers() const {
    const Description& model = model_.description();
    if (!settings_.direct || model.direct_virials || model.direct_stresses) {
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
void SystemChecks::refuse_without_virial(const char* kind, const std::string& style,
                                         const std::vector<std::string>& patterns) const {
    for (const std::string& pattern : patterns) {
        if (utils::strmatch(style, pattern)) {
            error->all(FLERR,
                       "pair_style mlip forces direct: {} {} needs a virial, but `{}` has no direct "
                       "virial or stress; use `forces conservative`",
                       kind, style, model_.description().path);
        }
    }
}

} // namespace mlip
