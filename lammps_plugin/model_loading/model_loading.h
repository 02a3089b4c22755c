#pragma once
// Loading the models of a pair_coeff command on all ranks, and what the log says of them.

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
    /// Collective.
    void log(const ModelInUse& model, const std::string& kernel) const;

  private:
    std::string try_to_load(const std::vector<std::string>& paths, Options options, ModelInUse& model) const;
    int choose_threads(int& local_rank) const;
    void check_elements(const ModelInUse& model) const;
    std::string devices_of_ranks(const Description& model) const;

    const PairSettings& settings_;
    std::string why_cpu_; // with `device auto`
};

} // namespace mlip
