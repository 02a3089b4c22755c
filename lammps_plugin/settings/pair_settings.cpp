#include "pair_settings.h"

#include "error.h"
#include "lammps.h"
#include "pointers.h"
#include "utils.h"

using namespace LAMMPS_NS;

namespace mlip {
namespace {

const char* const kSyntax =
    "pair_style mlip [device auto|cpu|cuda|cuda:N] [dtype float32|float64] [forces conservative|direct] "
    "[symmetrize none|octahedral[+inversion]|icosahedral[+inversion]|random SEED|file FILE] "
    "[check_lattice yes|no] [out_freq N] [out_file FILE] [stop_above DEVIATION] "
    "[kernel native|torch]";

bool is_of_another_program(const std::string& argument) {
    return utils::strmatch(argument, "\\.ini$") || utils::strmatch(argument, "^load_from=");
}

bool is_group(const std::string& name) {
    const std::string base = name.substr(0, name.find("+inversion")); // strmatch knows no alternatives
    return name == "none" ||
           ((base == "octahedral" || base == "icosahedral") && (name == base || name == base + "+inversion"));
}

bool is_device(const std::string& name) {
    return name == "auto" || name == "cpu" || name == "cuda" || utils::strmatch(name, "^cuda:\\d+$");
}

} // namespace

void PairSettings::read(LAMMPS* lmp, int narg, char** arg) {
    for (int k = 0; k < narg; ++k) {
        const std::string key = arg[k];
        if (is_of_another_program(key)) {
            lmp->error->all(
                FLERR,
                "pair_style mlip: `{}` is an argument of the pair style of the MLIP-2/MLIP-3 programs "
                "(moment tensor potentials), which has the same name; this one is of ase_mlip: {}",
                key, kSyntax);
        }
        if (k + 1 == narg) {
            lmp->error->all(FLERR, "pair_style mlip: keyword `{}` has no value, or is unknown; expected: {}",
                            key, kSyntax);
        }
        const std::string value = arg[++k];
        if (key == "device" && is_device(value)) {
            device = value;
        } else if (key == "dtype" && (value == "float32" || value == "float64")) {
            dtype = value;
        } else if (key == "kernel" && (value == "native" || value == "torch")) {
            kernel = value;
        } else if (key == "forces" && (value == "conservative" || value == "direct")) {
            direct = value == "direct";
        } else if (key == "symmetrize" && is_group(value)) {
            choose_averaging(value, false);
        } else if (key == "symmetrize" && value == "file" && k + 1 < narg) {
            choose_averaging(arg[++k], true);
        } else if (key == "symmetrize" && value == "random" && k + 1 < narg) {
            choose_averaging("none", false);
            random = true;
            random_seed = utils::bnumeric(FLERR, arg[++k], false, lmp);
        } else if (key == "check_lattice" && (value == "yes" || value == "no")) {
            check_lattice = value == "yes";
        } else if (key == "out_freq") {
            out_freq = utils::bnumeric(FLERR, value, false, lmp);
        } else if (key == "out_file") {
            out_file = value;
        } else if (key == "stop_above") {
            stop_above = utils::numeric(FLERR, value, false, lmp);
        } else {
            lmp->error->all(FLERR, "pair_style mlip: unexpected `{} {}`; expected: {}", key, value, kSyntax);
        }
    }
    if (out_freq < 0 || !(stop_above >= 0.0)) {
        lmp->error->all(FLERR,
                        "pair_style mlip: `out_freq` and `stop_above` must not be negative, got {} and {}",
                        out_freq, stop_above);
    }
    if (stop_above > 0.0 && out_freq == 0) {
        lmp->error->all(FLERR, "pair_style mlip: `stop_above` is compared every `out_freq` steps; give both");
    }
}

void PairSettings::choose_averaging(const std::string& name, bool is_file) {
    averaging = name;
    averaging_file = is_file;
    random = false;
}

} // namespace mlip
