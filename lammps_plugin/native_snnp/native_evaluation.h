#pragma once
// A step by the native kernel of an s-NNP: LAMMPS' own arrays and neighbour list, no graph and no libtorch.

#include "../communication/ghost_sums.h"
#include "../domain/tally.h"
#include "../model_loading/model_in_use.h"
#include "../settings/pair_settings.h"
#include "native_snnp.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace mlip {

class NativeEvaluation : protected LAMMPS_NS::Pointers {
  public:
    /// What the kernel is to do beside energy, forces and virials; null for nothing.
    struct Extras {
        int64_t* extrapolating = nullptr; // [n_all], see csrc/snnp/coverage.h
        ase_mlip::snnp::Visitor* visitor = nullptr;
    };

    NativeEvaluation(LAMMPS_NS::LAMMPS* lmp, const ModelInUse& model, GhostSums& ghosts)
        : Pointers(lmp), model_(model), ghosts_(ghosts) {}

    /// By default an s-NNP runs natively where it can: on this processor. Ranks agree because their devices
    /// do. Ends the run if the settings want a kernel that cannot be, or the kernel fails the self-test.
    void choose(const PairSettings& settings);
    bool is_chosen() const { return native_ != nullptr; }
    /// For the log; nothing for an architecture that has one kernel only.
    std::string kernel_name() const;

    /// The kernel alone, before anything of it is LAMMPS'. Ends the run if a number is not finite.
    /// Collective.
    NativeSums evaluate(const NativeDomain& domain, const Tally& tally, const Extras& extras);
    /// Forces, energy and virials of that evaluation. Collective.
    void add_to(const Tally& tally, const NativeSums& sums);
    double seconds() const { return seconds_; } // of the last evaluation

    double memory() const; // bytes

  private:
    std::string why_torch(const PairSettings& settings) const;
    bool sums_own_forces() const;
    template <typename Add> void add_to_atoms(std::vector<double>& tensors, const Add& add);

    const ModelInUse& model_;
    GhostSums& ghosts_;
    std::unique_ptr<NativeSnnp> native_;
    std::string fallback_;                           // why there is none
    std::vector<double> virials_, centroid_virials_; // [n_all, 9], in LAMMPS' unit
    double seconds_ = 0.0;
};

} // namespace mlip
