#pragma once
// What is checked before a run: whether the system and the commands are ones that the model can serve.

#include "../model_loading/model_in_use.h"
#include "../settings/pair_settings.h"
#include "mass_check.h"

#include "pointers.h"

#include <string>
#include <vector>

namespace mlip {

class SystemChecks : protected LAMMPS_NS::Pointers {
  public:
    SystemChecks(LAMMPS_NS::LAMMPS* lmp, const ModelInUse& model, const PairSettings& settings)
        : Pointers(lmp), model_(model), settings_(settings), masses_(lmp, model) {}

    /// 1 eV in LAMMPS' unit of energy; ends the run for units that the pair style does not know.
    double energy_unit() const;
    /// Ends the run with what the model cannot serve. Collective.
    void check();
    /// The elements are new ones, whose masses may be warned of.
    void begin() { masses_.begin(); }

  private:
    void check_dimensions() const;
    void check_heat_flux() const;
    void check_special_bonds() const;
    void check_virial_consumers() const;
    void refuse_without_virial(const char* kind, const std::string& style,
                               const std::vector<std::string>& patterns) const;
    void check_random() const;
    void check_lattice() const;

    const ModelInUse& model_;
    const PairSettings& settings_;
    MassCheck masses_;
};

} // namespace mlip
