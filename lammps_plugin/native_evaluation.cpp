// An s-NNP without libtorch at each step: which kernel is taken, and a step of the native one.

#include "pair_mlip.h"

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "force.h"
#include "neigh_list.h"

#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <stdexcept>

using namespace LAMMPS_NS;

namespace {
constexpr int kVoigtRow[6] = {0, 1, 2, 0, 0, 1}, kVoigtColumn[6] = {0, 1, 2, 1, 2, 2};

double symmetric(const double* tensor, int k) {
    const int row = kVoigtRow[k], column = kVoigtColumn[k];
    return 0.5 * (tensor[3 * row + column] + tensor[3 * column + row]);
}
} // namespace

/// Why this model or these keywords need libtorch, in words for `... needs kernel torch`; empty if they do
/// not.
std::string PairMLIP::why_torch() const {
    const auto& model = evaluator_->description();
    if (model.members > 1) {
        return "a committee";
    }
    if (evaluator_->snnp_tables() == nullptr) {
        return fmt::format("`{}`, which is no s-NNP,", model.path);
    }
    if (direct_) {
        return "`forces direct`";
    }
    if (random_ || model.rotations > 0) {
        return random_ || !averaging_.empty() ? "`symmetrize`" : "a file that was exported with an averaging";
    }
    return model.device != "cpu" ? fmt::format("`device {}`", model.device) : "";
}

/// By default an s-NNP runs natively where it can: on this processor. Ranks agree because their devices do.
void PairMLIP::choose_kernel() {
    native_.reset();
    fallback_ = why_torch();
    if (kernel_ == "native" && !fallback_.empty()) {
        error->all(FLERR,
                   "pair_style mlip kernel native: {} needs `kernel torch`; the native kernel evaluates one "
                   "s-NNP, conservative and not averaged, on the processor",
                   fallback_);
    }
    if (kernel_ == "torch" || !fallback_.empty()) {
        return;
    }
    const mlip::SnnpTables& tables = *evaluator_->snnp_tables();
    together([&] {
        const std::string problem = mlip::native_self_test(tables, evaluator_->description());
        if (!problem.empty()) { // rank 0 alone has the self-test
            throw std::runtime_error(problem);
        }
        native_ = mlip::make_native_snnp(tables, evaluator_->description(), species_of_type_);
    });
}

/// For the log; nothing for an architecture that has one kernel only.
std::string PairMLIP::kernel_name() const {
    if (native_) {
        return ", kernel native";
    }
    if (evaluator_->snnp_tables() == nullptr) {
        return "";
    }
    return fallback_.empty() ? ", kernel torch" : fmt::format(", kernel torch (for {})", fallback_);
}

/// LAMMPS' own arrays.
mlip::NativeDomain PairMLIP::native_domain() {
    mlip::NativeDomain domain;
    domain.n_centres = list->inum;
    domain.n_places = atom->nlocal + atom->nghost;
    domain.centres = list->ilist;
    domain.counts = list->numneigh;
    domain.first = list->firstneigh;
    domain.mask = NEIGHMASK;
    domain.kinds = visible_types();
    domain.positions = domain.n_places > 0 ? atom->x[0] : nullptr;
    return domain;
}

void PairMLIP::compute_native() {
    const mlip::NativeDomain domain = native_domain();
    // Ghosts' forces go home with LAMMPS' own, or if there is no such journey with ours.
    const bool own_journey = force->newton_pair == 0;
    const auto places = static_cast<size_t>(domain.n_places);
    mlip::NativeTargets targets;
    targets.unit = energy_unit_;
    targets.virial = vflag_global != 0;
    targets.energies = eflag_atom ? eatom : nullptr;
    home_.assign(own_journey ? 3 * places + 1 : 0, 0.0);
    virials_.assign(vflag_atom ? 9 * places + 1 : 0, 0.0);
    centroid_virials_.assign(cvflag_atom ? 9 * places + 1 : 0, 0.0);
    targets.forces = own_journey ? home_.data() : domain.n_places > 0 ? atom->f[0] : nullptr;
    targets.virials = vflag_atom ? virials_.data() : nullptr;
    targets.centroid_virials = cvflag_atom ? centroid_virials_.data() : nullptr;
    counts_.assign(wants_extrapolating() ? places + 1 : 0, 0);
    targets.extrapolating = counts_.empty() ? nullptr : counts_.data();
    mlip::SnnpLeverage* const leverage = begin_leverage(domain);
    targets.visitor = leverage;

    const mlip::NativeSums sums = evaluate_native(domain, targets);
    if (leverage != nullptr) {
        together([&] { leverage->finish(); });
    }
    if (eflag_global) {
        eng_vdwl += energy_unit_ * sums.energy;
    }
    for (int k = 0; vflag_global && k < 6; ++k) {
        virial[k] += energy_unit_ * symmetric(sums.virial, k);
    }
    if (own_journey) {
        collect(3);
        for (int k = 0; k < 3 * atom->nlocal; ++k) {
            atom->f[0][k] += home_[k];
        }
    }
    tally_native(virials_, vatom, false);
    tally_native(centroid_virials_, cvatom, true);
    tally_extrapolating(sums.shortest);
    find_spread({}, false);
}

mlip::NativeSums PairMLIP::evaluate_native(const mlip::NativeDomain& domain,
                                           const mlip::NativeTargets& targets) {
    const auto start = std::chrono::steady_clock::now();
    mlip::NativeSums sums;
    together([&] {
        try {
            sums = native_->evaluate(domain, targets);
        } catch (const mlip::NotFinite& failure) {
            throw std::runtime_error(not_finite("the energy of or the force on " + name_of(failure.place)));
        }
        seconds_model_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    });
    n_edges_ = sums.n_edges;
    return sums;
}

/// What stands at ghosts in home_ [n_places, width] goes to their owners, also on this rank.
void PairMLIP::collect(int width) {
    home_width_ = width;
    comm->reverse_comm(this, width);
}

/// Adds tensors [n_places, 9], already in LAMMPS' unit, to per-atom virials; nothing if there are none.
void PairMLIP::tally_native(std::vector<double>& tensors, double** target, bool nine) {
    constexpr int kNine[9] = {0, 4, 8, 1, 2, 5, 3, 6, 7};
    if (tensors.empty()) {
        return;
    }
    home_.swap(tensors);
    collect(9);
    for (int i = 0; i < atom->nlocal; ++i) {
        const double* tensor = home_.data() + 9 * static_cast<size_t>(i);
        for (int k = 0; k < (nine ? 9 : 6); ++k) {
            target[i][k] += nine ? tensor[kNine[k]] : symmetric(tensor, k);
        }
    }
}
