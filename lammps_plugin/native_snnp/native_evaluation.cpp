#include "native_evaluation.h"

#include "../communication/together.h"
#include "../domain/not_finite.h"

#include "atom.h"
#include "error.h"
#include "force.h"

#include <chrono>
#include <stdexcept>

using namespace LAMMPS_NS;

namespace mlip {

/// Why this model or these keywords need libtorch, in words for `... needs kernel torch`; empty if they do
/// not.
std::string NativeEvaluation::why_torch(const PairSettings& settings) const {
    const Description& model = model_.description();
    if (model.members > 1) {
        return "a committee";
    }
    if (model_.evaluator->snnp_tables() == nullptr) {
        return fmt::format("`{}`, which is no s-NNP,", model.path);
    }
    if (settings.direct) {
        return "`forces direct`";
    }
    if (settings.random || model.rotations > 0) {
        return settings.random || !settings.averaging.empty() ? "`symmetrize`"
                                                              : "a file that was exported with an averaging";
    }
    return model.device != "cpu" ? fmt::format("`device {}`", model.device) : "";
}

void NativeEvaluation::choose(const PairSettings& settings) {
    native_.reset();
    fallback_ = why_torch(settings);
    if (settings.kernel == "native" && !fallback_.empty()) {
        error->all(FLERR,
                   "pair_style mlip kernel native: {} needs `kernel torch`; the native kernel evaluates one "
                   "s-NNP, conservative and not averaged, on the processor",
                   fallback_);
    }
    if (settings.kernel == "torch" || !fallback_.empty()) {
        return;
    }
    const SnnpTables& tables = *model_.evaluator->snnp_tables();
    together(lmp, [&] {
        const std::string problem = native_self_test(tables, model_.description());
        if (!problem.empty()) { // rank 0 alone has the self-test
            throw std::runtime_error(problem);
        }
        native_ = make_native_snnp(tables, model_.description(), model_.species_of_type);
    });
}

std::string NativeEvaluation::kernel_name() const {
    if (native_) {
        return ", kernel native";
    }
    if (model_.evaluator->snnp_tables() == nullptr) {
        return "";
    }
    return fallback_.empty() ? ", kernel torch" : fmt::format(", kernel torch (for {})", fallback_);
}

/// LAMMPS adds the forces of ghost atoms to those of their owners itself, or else we do.
bool NativeEvaluation::sums_own_forces() const { return force->newton_pair == 0; }

NativeSums NativeEvaluation::evaluate(const NativeDomain& domain, const Tally& tally, const Extras& extras) {
    const auto n_all = static_cast<size_t>(domain.n_all);
    // one more each: a pointer to no element may be null
    ghosts_.values.assign(sums_own_forces() ? 3 * n_all + 1 : 0, 0.0);
    virials_.assign(tally.virials != nullptr ? 9 * n_all + 1 : 0, 0.0);
    centroid_virials_.assign(tally.centroid_virials != nullptr ? 9 * n_all + 1 : 0, 0.0);
    NativeTargets targets;
    targets.unit = model_.energy_unit;
    targets.virial = tally.virial != nullptr;
    targets.energies = tally.energies;
    targets.forces = sums_own_forces() ? ghosts_.values.data() : n_all > 0 ? atom->f[0] : nullptr;
    targets.virials = virials_.empty() ? nullptr : virials_.data();
    targets.centroid_virials = centroid_virials_.empty() ? nullptr : centroid_virials_.data();
    targets.extrapolating = extras.extrapolating;
    targets.visitor = extras.visitor;

    using Clock = std::chrono::steady_clock;
    const auto start = Clock::now();
    NativeSums sums;
    together(lmp, [&] {
        try {
            sums = native_->evaluate(domain, targets);
        } catch (const NotFinite& failure) {
            throw std::runtime_error(
                not_finite("the energy of or the force on " + name_of(*atom, failure.atom)));
        }
    });
    seconds_ = std::chrono::duration<double>(Clock::now() - start).count();
    return sums;
}

void NativeEvaluation::add_to(const Tally& tally, const NativeSums& sums) {
    if (tally.energy != nullptr) {
        *tally.energy += model_.energy_unit * sums.energy;
    }
    if (tally.virial != nullptr) {
        add_symmetric(tally.virial, sums.virial, model_.energy_unit);
    }
    if (sums_own_forces()) {
        ghosts_.add_to_owners(3);
        for (int k = 0; k < 3 * atom->nlocal; ++k) {
            atom->f[0][k] += ghosts_.values[k];
        }
    }
    if (tally.virials != nullptr) {
        add_to_atoms(virials_,
                     [&](int i, const double* virial) { add_symmetric(tally.virials[i], virial, 1.0); });
    }
    if (tally.centroid_virials != nullptr) {
        add_to_atoms(centroid_virials_, [&](int i, const double* virial) {
            add_tensor(tally.centroid_virials[i], virial, 1.0);
        });
    }
}

/// Tensors [n_all, 9], those of ghost atoms to the atoms that own them.
template <typename Add> void NativeEvaluation::add_to_atoms(std::vector<double>& tensors, const Add& add) {
    ghosts_.values.swap(tensors);
    ghosts_.add_to_owners(9);
    for (int i = 0; i < atom->nlocal; ++i) {
        add(i, ghosts_.values.data() + 9 * static_cast<size_t>(i));
    }
}

double NativeEvaluation::memory() const {
    const size_t numbers = virials_.capacity() + centroid_virials_.capacity();
    return static_cast<double>(numbers * sizeof(double)) + (native_ ? native_->memory() : 0.0);
}

} // namespace mlip
