// How much the plain model scatters over the rotations it is averaged over, or a committee over its members.
//
// Per atom, for fix pair: `forces_spread` of rotations, `forces_deviation` of a committee. For compute pair,
// ten numbers: the standard deviation of the energy, those of six pressures (xx, yy, zz, xy, xz, yz), and
// largest, mean and smallest of the forces'. For a committee also a file with the columns of DeePMD-kit's
// model_devi.out.

#include "pair_mlip.h"

#include "atom.h"
#include "comm.h"
#include "domain.h"
#include "error.h"
#include "force.h"
#include "timer.h"
#include "update.h"
#include "utils.h"

#include <mpi.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>

using namespace LAMMPS_NS;

namespace {

/// Σ_s w_s (x_s - mean)^2 of samples `stride` apart.
double variance(const double* values, const double* weights, int samples, int stride) {
    double mean = 0.0, sum = 0.0;
    for (int s = 0; s < samples; ++s) {
        mean += weights[s] * values[static_cast<ptrdiff_t>(s) * stride];
    }
    for (int s = 0; s < samples; ++s) {
        const double deviation = values[static_cast<ptrdiff_t>(s) * stride] - mean;
        sum += weights[s] * deviation * deviation;
    }
    return sum;
}

} // namespace

/// fix pair asks for the array before the first step.
void* PairMLIP::extract_peratom(const char* name, int& columns) {
    columns = 0;
    if (strcmp(name, "extrapolating") == 0) {
        return extrapolating_array();
    }
    if (strcmp(name, "leverage") == 0) {
        return leverage_array();
    }
    if (strcmp(name, "forces_spread") != 0 && strcmp(name, "forces_deviation") != 0) {
        return nullptr;
    }
    spread_.resize(std::max<size_t>({spread_.size(), static_cast<size_t>(atom->nmax), 1}), 0.0);
    return spread_.data();
}

bool PairMLIP::wants_spread() const {
    const bool writes = out_freq_ > 0 && update->ntimestep % out_freq_ == 0;
    return spread_flag_ != 0 || writes || (has_compute_pair_ && eflag_global != 0);
}

void PairMLIP::find_spread(const mlip::Results& results, bool direct) {
    if (!wants_spread()) {
        return;
    }
    spread_.assign(std::max(atom->nmax, 1), 0.0);
    std::fill_n(pvector, kExtra, 0.0);
    const auto& model = evaluator_->description();
    if (model.rotations == 0 && model.members == 1) {
        return; // zero everywhere
    }
    find_forces_spread(results, direct);
    double extremes[3] = {0.0, 0.0, -std::numeric_limits<double>::max()}; // largest, sum, -smallest
    for (int64_t node = 0; node < topology().n_owned; ++node) {
        const double value = spread_[candidates_.place_of_node[node]];
        extremes[0] = std::max(extremes[0], value);
        extremes[1] += value;
        extremes[2] = std::max(extremes[2], -value);
    }
    double sums[2] = {extremes[1], static_cast<double>(topology().n_owned)};
    MPI_Allreduce(MPI_IN_PLACE, extremes, 3, MPI_DOUBLE, MPI_MAX, world);
    MPI_Allreduce(MPI_IN_PLACE, sums, 2, MPI_DOUBLE, MPI_SUM, world);
    const double n_atoms = std::max(1.0, sums[1]); // that the model sees
    extremes[1] = sums[0] / n_atoms;
    extremes[2] = sums[1] > 0.0 ? -extremes[2] : 0.0;
    const double energy = find_energy_spread(results);
    const std::vector<double> virial = find_virial_spread(results, direct, n_atoms);
    if (comm->me == 0) { // compute pair adds up what the ranks have
        constexpr int kVoigt[6] = {0, 4, 8, 1, 2, 5};
        const double pressure = force->nktv2p / (domain->xprd * domain->yprd * domain->zprd);
        pvector[0] = energy;
        for (int k = 0; k < 6; ++k) {
            pvector[1 + k] = pressure * virial[kVoigt[k]];
        }
        std::copy_n(extremes, 3, pvector + 7);
    }
    if (out_freq_ > 0 && update->ntimestep % out_freq_ == 0) {
        write_deviation(virial, extremes, n_atoms);
    }
}

/// Standard deviation of each atom's force vector over the samples, in LAMMPS' unit.
void PairMLIP::find_forces_spread(const mlip::Results& results, bool direct) {
    const auto& model = evaluator_->description();
    const int samples = model.members > 1 ? model.members : model.rotations; // also on a rank without atoms
    const int width = 3 * samples;
    std::vector<double> forces(static_cast<size_t>(width) * atom->nlocal);
    for (int64_t node = 0; node < topology().n_owned; ++node) {
        std::copy_n(results.forces_by_sample + width * node, width,
                    forces.begin() + static_cast<ptrdiff_t>(width) * candidates_.place_of_node[node]);
    }
    if (direct) {
        remove_net_forces(forces, width);
    } else {
        send_home(results.forces_by_sample, width);
    }
    for (size_t k = 0; !direct && !home_.empty() && k < forces.size(); ++k) {
        forces[k] += home_[k];
    }
    for (int i = 0; i < atom->nlocal; ++i) {
        const double* of_atom = forces.data() + static_cast<ptrdiff_t>(width) * i;
        double sum = 0.0;
        for (int k = 0; k < 3; ++k) {
            sum += variance(of_atom + k, results.sample_weights, samples, 3);
        }
        spread_[i] = energy_unit_ * std::sqrt(sum);
    }
}

/// The mean over all atoms of each column, as direct forces lose it.
void PairMLIP::remove_net_forces(std::vector<double>& forces, int width) {
    std::vector<double> sums(width + 1, 0.0);
    sums[width] = static_cast<double>(topology().n_owned);
    for (size_t k = 0; k < forces.size(); ++k) {
        sums[k % width] += forces[k];
    }
    MPI_Allreduce(MPI_IN_PLACE, sums.data(), width + 1, MPI_DOUBLE, MPI_SUM, world);
    for (int64_t node = 0; node < topology().n_owned; ++node) { // other atoms keep their zeros
        double* of_atom = forces.data() + static_cast<ptrdiff_t>(width) * candidates_.place_of_node[node];
        for (int k = 0; k < width; ++k) {
            of_atom[k] -= sums[k] / sums[width];
        }
    }
}

double PairMLIP::find_energy_spread(const mlip::Results& results) {
    std::vector<double> energies(results.energy_by_sample, results.energy_by_sample + results.samples);
    MPI_Allreduce(MPI_IN_PLACE, energies.data(), results.samples, MPI_DOUBLE, MPI_SUM, world);
    return energy_unit_ * std::sqrt(variance(energies.data(), results.sample_weights, results.samples, 1));
}

/// Of the nine components of the symmetric virial, in LAMMPS' unit of energy; zero for direct forces without
/// one.
std::vector<double> PairMLIP::find_virial_spread(const mlip::Results& results, bool direct, double n_atoms) {
    std::vector<double> spread(9, 0.0);
    if (results.virial_by_sample == nullptr) {
        return spread;
    }
    std::vector<double> virials(results.virial_by_sample, results.virial_by_sample + 9 * results.samples);
    MPI_Allreduce(MPI_IN_PLACE, virials.data(), 9 * results.samples, MPI_DOUBLE, MPI_SUM, world);
    for (int s = 0; s < results.samples; ++s) {
        double* virial = virials.data() + static_cast<ptrdiff_t>(9) * s;
        for (const auto& [i, j] : {std::pair{1, 3}, std::pair{2, 6}, std::pair{5, 7}}) {
            virial[i] = virial[j] = 0.5 * (virial[i] + virial[j]);
        }
    }
    double factor = energy_unit_;
    if (direct && evaluator_->description().direct_stresses) { // a mean over atoms, eV/Å^3
        factor *= domain->xprd * domain->yprd * domain->zprd / n_atoms;
    }
    for (int k = 0; k < 9; ++k) {
        spread[k] =
            factor * std::sqrt(variance(virials.data() + k, results.sample_weights, results.samples, 9));
    }
    return spread;
}

/// On rank 0.
void PairMLIP::open_deviations() {
    if (comm->me != 0) {
        return;
    }
    deviations_ = std::fopen(out_file_.c_str(), "w");
    if (deviations_ == nullptr) {
        throw std::runtime_error("`out_file` " + out_file_ + " cannot be written: " + utils::getsyserror());
    }
    utils::print(deviations_, "#{:>11} {:>18} {:>18} {:>18} {:>18} {:>18} {:>18}\n", "step", "max_devi_v",
                 "min_devi_v", "avg_devi_v", "max_devi_f", "min_devi_f", "avg_devi_f");
}

/// A line as DeePMD-kit writes it: of the virial per atom and of the forces the largest, the smallest and the
/// mean deviation (that of the virial as a root mean square).
void PairMLIP::write_deviation(const std::vector<double>& virial, const double* extremes, double n_atoms) {
    if (!writes_deviations_) {
        together([&] { open_deviations(); });
        writes_deviations_ = true;
    }
    if (comm->me == 0) {
        double squares = 0.0;
        for (const double value : virial) {
            squares += value * value / 9.0;
        }
        const auto [low, high] = std::minmax_element(virial.begin(), virial.end());
        utils::print(deviations_, "{:>12} {:>18.6e} {:>18.6e} {:>18.6e} {:>18.6e} {:>18.6e} {:>18.6e}\n",
                     update->ntimestep, *high / n_atoms, *low / n_atoms, std::sqrt(squares) / n_atoms,
                     extremes[0], extremes[2], extremes[1]);
        std::fflush(deviations_);
    }
    if (stop_above_ > 0.0 && extremes[0] > stop_above_) {
        if (comm->me == 0) {
            utils::logmesg(
                lmp,
                "pair mlip: the run ends at step {}: the models' forces deviate by {:g}, more than "
                "stop_above {:g}\n",
                update->ntimestep, extremes[0], stop_above_);
        }
        timer->force_timeout();
    }
}
