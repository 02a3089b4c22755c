#include "deviation_file.h"

#include "../communication/together.h"

#include "comm.h"
#include "timer.h"
#include "update.h"
#include "utils.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

using namespace LAMMPS_NS;

namespace mlip {

DeviationFile::~DeviationFile() {
    if (file_ != nullptr) {
        std::fclose(file_);
    }
}

bool DeviationFile::is_due() const {
    return settings_.out_freq > 0 && update->ntimestep % settings_.out_freq == 0;
}

/// On rank 0.
void DeviationFile::open() {
    if (comm->me != 0) {
        return;
    }
    file_ = std::fopen(settings_.out_file.c_str(), "w");
    if (file_ == nullptr) {
        throw std::runtime_error("`out_file` " + settings_.out_file +
                                 " cannot be written: " + utils::getsyserror());
    }
    utils::print(file_, "#{:>11} {:>18} {:>18} {:>18} {:>18} {:>18} {:>18}\n", "step", "max_devi_v",
                 "min_devi_v", "avg_devi_v", "max_devi_f", "min_devi_f", "avg_devi_f");
}

/// A line as DeePMD-kit writes it: of the virial per atom and of the forces the largest, the smallest and the
/// mean deviation (that of the virial as a root mean square).
void DeviationFile::write(const std::vector<double>& virial, const Extremes& forces, double n_atoms) {
    if (!is_open_) {
        together(lmp, [&] { open(); });
        is_open_ = true;
    }
    if (comm->me == 0) {
        double squares = 0.0;
        for (const double value : virial) {
            squares += value * value / 9.0;
        }
        const auto [low, high] = std::minmax_element(virial.begin(), virial.end());
        utils::print(file_, "{:>12} {:>18.6e} {:>18.6e} {:>18.6e} {:>18.6e} {:>18.6e} {:>18.6e}\n",
                     update->ntimestep, *high / n_atoms, *low / n_atoms, std::sqrt(squares) / n_atoms,
                     forces.largest, forces.smallest, forces.mean);
        std::fflush(file_);
    }
    if (settings_.stop_above > 0.0 && forces.largest > settings_.stop_above) {
        if (comm->me == 0) {
            utils::logmesg(
                lmp,
                "pair mlip: the run ends at step {}: the models' forces deviate by {:g}, more than "
                "stop_above {:g}\n",
                update->ntimestep, forces.largest, settings_.stop_above);
        }
        timer->force_timeout();
    }
}

} // namespace mlip
