// How much the plain model's forces scatter over the rotations that it is averaged over.

#include "pair_mlip.h"

#include "atom.h"

#include <mpi.h>

#include <algorithm>
#include <cmath>
#include <cstring>

using namespace LAMMPS_NS;

/// forces_spread: of each atom, over the rotations of the averaging; zero without one.
void* PairMLIP::extract_peratom(const char* name, int& columns) {
    columns = 0;
    if (strcmp(name, "forces_spread") != 0) {
        return nullptr;
    }
    spread_.resize(std::max<size_t>({spread_.size(), static_cast<size_t>(atom->nmax), 1}), 0.0);
    return spread_.data();
}

/// Standard deviation of each atom's force over the rotations, for fix pair.
void PairMLIP::find_spread(const mlip::Results& results) {
    const int n_rotations = evaluator_->description().rotations;
    if (spread_flag_ == 0) {
        return;
    }
    spread_.assign(atom->nmax, 0.0);
    if (n_rotations == 0) {
        return;
    }
    const int width = 3 * n_rotations;
    std::vector<double> forces(static_cast<size_t>(width) * atom->nlocal);
    for (int64_t node = 0; node < topology().n_owned; ++node) {
        std::copy_n(results.forces_by_rotation + width * node, width,
                    forces.begin() + static_cast<ptrdiff_t>(width) * candidates_.place_of_node[node]);
    }
    if (direct_) {
        remove_net_forces(forces, width);
    } else {
        send_home(results.forces_by_rotation, width);
    }
    for (size_t k = 0; !direct_ && !home_.empty() && k < forces.size(); ++k) {
        forces[k] += home_[k];
    }
    for (int i = 0; i < atom->nlocal; ++i) {
        const double* of_atom = forces.data() + static_cast<ptrdiff_t>(width) * i;
        double variance = 0.0;
        for (int k = 0; k < 3; ++k) {
            double mean = 0.0;
            for (int g = 0; g < n_rotations; ++g) {
                mean += results.rotation_weights[g] * of_atom[3 * g + k];
            }
            for (int g = 0; g < n_rotations; ++g) {
                const double deviation = of_atom[3 * g + k] - mean;
                variance += results.rotation_weights[g] * deviation * deviation;
            }
        }
        spread_[i] = energy_unit_ * std::sqrt(variance);
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
    for (size_t k = 0; k < forces.size(); ++k) {
        forces[k] -= sums[k % width] / sums[width];
    }
}
