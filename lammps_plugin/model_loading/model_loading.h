#pragma once
// Loading the models of a pair_coeff command on all ranks.

#include "../settings/pair_settings.h"
#include "model_in_use.h"

#include "pointers.h"

#include <string>
#include <vector>

namespace mlip {

class ModelLoading : protected LAMMPS_NS::Pointers {
  public:
    ModelLoading(LAMMPS_NS::LAMMPS* lmp, const PairSettings& settings) : Pointers(lmp), settings_(settings) {}

    /// Every rank loads the files; rank 0 alone lets them reproduce their self-tests on a CPU, every rank on
    /// its GPU. With `device auto` all take the same kind of device; all stop if anybody fails. Collective.
    void load(const std::vector<std::string>& paths, ModelInUse& model);
    /// Ends the run unless the model knows the elements of all types, and has what the settings ask for.
    void check(const ModelInUse& model) const;
    /// Why the model that was loaded last runs on the CPU though `device auto` asks for a GPU first, or
    /// nothing.
    const std::string& why_cpu() const { return why_cpu_; }

  private:
    std::string try_to_load(const std::vector<std::string>& paths, Options options, ModelInUse& model) const;
    int choose_threads(int& local_rank) const;
    void check_elements(const ModelInUse& model) const;

    const PairSettings& settings_;
    std::string why_cpu_;
};

} // namespace mlip
