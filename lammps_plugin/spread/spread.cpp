#include "spread.h"

#include "../communication/net_force.h"
#include "../domain/box.h"
#include "../domain/tally.h"

#include "atom.h"
#include "comm.h"
#include "domain.h"
#include "force.h"
#include "modify.h"

#include <mpi.h>

#include <algorithm>
#include <cmath>
#include <limits>

using namespace LAMMPS_NS;

namespace mlip {
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

void Spread::init() { has_compute_pair_ = !modify->get_compute_by_style("^pair$").empty(); }

bool Spread::is_wanted(bool global_energy) const {
    return of_forces_.are_wanted() || file_.is_due() || (has_compute_pair_ && global_energy);
}

void Spread::find_none(double* numbers) {
    of_forces_.clear(*atom);
    std::fill_n(numbers, std::tuple_size_v<Numbers>, 0.0);
}

void Spread::find(const DomainTopology& nodes, const Results& results, bool direct, double* numbers) {
    find_none(numbers);
    const Description& model = model_.description();
    if (model.rotations == 0 && model.members == 1) {
        return;
    }
    find_forces(nodes, results, direct);
    double n_atoms = 0.0;
    const Extremes forces = find_extremes(nodes, n_atoms);
    const double energy = find_energy(results);
    const std::vector<double> virial = find_virial(results, direct, n_atoms);
    if (comm->me == 0) { // compute pair adds up what the ranks have
        const double pressure = force->nktv2p / volume_of(*domain);
        numbers[0] = energy;
        for (int k = 0; k < 6; ++k) {
            numbers[1 + k] = pressure * symmetric(virial.data(), k);
        }
        numbers[7] = forces.largest;
        numbers[8] = forces.mean;
        numbers[9] = forces.smallest;
    }
    if (file_.is_due()) {
        file_.write(virial, forces, n_atoms);
    }
}

/// Standard deviation of each atom's force vector over the samples, in LAMMPS' unit.
void Spread::find_forces(const DomainTopology& nodes, const Results& results, bool direct) {
    const Description& model = model_.description();
    const int samples = model.members > 1 ? model.members : model.rotations; // also on a rank without atoms
    const int width = 3 * samples;
    std::vector<double> forces(static_cast<size_t>(width) * atom->nlocal);
    for (int64_t node = 0; node < nodes.topology.n_owned; ++node) {
        std::copy_n(results.forces_by_sample + width * node, width,
                    forces.begin() + static_cast<ptrdiff_t>(width) * nodes.atom_of_node[node]);
    }
    if (direct) {
        const auto row_of = [&](int64_t node) { return nodes.atom_of_node[node]; };
        remove_net_force(forces, width, nodes.topology.n_owned, row_of, world);
    } else if (const double* of_ghosts = ghosts_.of_nodes(nodes, results.forces_by_sample, width)) {
        for (size_t k = 0; k < forces.size(); ++k) {
            forces[k] += of_ghosts[k];
        }
    }
    for (int i = 0; i < atom->nlocal; ++i) {
        const double* of_atom = forces.data() + static_cast<ptrdiff_t>(width) * i;
        double sum = 0.0;
        for (int k = 0; k < 3; ++k) {
            sum += variance(of_atom + k, results.sample_weights, samples, 3);
        }
        of_forces_[i] = model_.energy_unit * std::sqrt(sum);
    }
}

/// Of the atoms that the model sees, of which there are `n_atoms` on all ranks, at least 1.
Extremes Spread::find_extremes(const DomainTopology& nodes, double& n_atoms) const {
    double ends[2] = {0.0, -std::numeric_limits<double>::max()}; // largest, -smallest
    double sums[2] = {0.0, static_cast<double>(nodes.topology.n_owned)};
    for (int64_t node = 0; node < nodes.topology.n_owned; ++node) {
        const double value = of_forces_[nodes.atom_of_node[node]];
        ends[0] = std::max(ends[0], value);
        ends[1] = std::max(ends[1], -value);
        sums[0] += value;
    }
    MPI_Allreduce(MPI_IN_PLACE, ends, 2, MPI_DOUBLE, MPI_MAX, world);
    MPI_Allreduce(MPI_IN_PLACE, sums, 2, MPI_DOUBLE, MPI_SUM, world);
    n_atoms = std::max(1.0, sums[1]);
    return {ends[0], sums[0] / n_atoms, sums[1] > 0.0 ? -ends[1] : 0.0};
}

double Spread::find_energy(const Results& results) const {
    std::vector<double> energies(results.energy_by_sample, results.energy_by_sample + results.samples);
    MPI_Allreduce(MPI_IN_PLACE, energies.data(), results.samples, MPI_DOUBLE, MPI_SUM, world);
    return model_.energy_unit *
           std::sqrt(variance(energies.data(), results.sample_weights, results.samples, 1));
}

/// Of the nine components of the symmetric virial, in LAMMPS' unit of energy; zero for direct forces without
/// one.
std::vector<double> Spread::find_virial(const Results& results, bool direct, double n_atoms) const {
    std::vector<double> spread(9, 0.0);
    if (results.virial_by_sample == nullptr) {
        return spread;
    }
    std::vector<double> virials(results.virial_by_sample, results.virial_by_sample + 9 * results.samples);
    MPI_Allreduce(MPI_IN_PLACE, virials.data(), 9 * results.samples, MPI_DOUBLE, MPI_SUM, world);
    for (int s = 0; s < results.samples; ++s) {
        double* virial = virials.data() + static_cast<ptrdiff_t>(9) * s;
        for (const int k : {3, 4, 5}) { // xy, xz, yz with yx, zx, zy
            const auto& [row, column] = ase_mlip::kLammpsOrder[k];
            virial[3 * row + column] = virial[3 * column + row] = symmetric(virial, k);
        }
    }
    double factor = model_.energy_unit;
    if (direct && model_.description().direct_stresses) { // a mean over atoms, eV/Å^3
        factor *= volume_of(*domain) / n_atoms;
    }
    for (int k = 0; k < 9; ++k) {
        spread[k] =
            factor * std::sqrt(variance(virials.data() + k, results.sample_weights, results.samples, 9));
    }
    return spread;
}

} // namespace mlip
