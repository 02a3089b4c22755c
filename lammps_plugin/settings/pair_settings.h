#pragma once
// The arguments of `pair_style mlip`.

#include "lmptype.h"

#include <cstdint>
#include <string>

namespace LAMMPS_NS {
class LAMMPS;
}

namespace mlip {

struct PairSettings {
    std::string device = "auto", dtype;
    std::string kernel; // native, torch; empty: native where it can be
    bool direct = false;
    bool check_lattice = true;
    std::string averaging; // none, a group's name or a file's; empty: as exported
    bool averaging_file = false;
    bool random = false;            // a new rotation at every step
    uint64_t random_seed = 0;       // of these
    LAMMPS_NS::bigint out_freq = 0; // steps between lines of the file of deviations; 0 for none
    std::string out_file = "model_devi.out";
    double stop_above = 0.0; // largest deviation of a force, in LAMMPS' unit, at which a run ends; 0 for none

    /// Ends the run with what is wrong and what was expected.
    void read(LAMMPS_NS::LAMMPS* lmp, int narg, char** arg);

  private:
    void choose_averaging(const std::string& name, bool is_file);
};

} // namespace mlip
