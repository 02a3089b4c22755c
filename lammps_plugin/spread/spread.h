#pragma once
// How much the plain model scatters over the rotations it is averaged over (rotational spread), or a
// committee over its members (deviation).
//
// Per atom, for fix pair: `forces_spread` of rotations, `forces_deviation` of a committee. For compute pair,
// ten numbers: the standard deviation of the energy, those of six pressures (xx, yy, zz, xy, xz, yz), and
// largest, mean and smallest of the forces'. For a committee also a file.

#include "../communication/ghost_sums.h"
#include "../domain/atom_values.h"
#include "../model_loading/model_in_use.h"
#include "deviation_file.h"

#include <array>
#include <vector>

namespace mlip {

class Spread : protected LAMMPS_NS::Pointers {
  public:
    using Numbers = std::array<double, 10>; // for compute pair

    Spread(LAMMPS_NS::LAMMPS* lmp, const ModelInUse& model, const PairSettings& settings, GhostSums& ghosts)
        : Pointers(lmp), model_(model), ghosts_(ghosts), file_(lmp, settings) {}

    /// Before a run.
    void init();
    /// At this step, for fix pair, compute pair or the file.
    bool is_wanted(bool global_energy) const;
    /// Of a step for which it was wanted. Collective.
    void find(const DomainTopology& nodes, const Results& results, bool direct, double* numbers);
    /// The same of a kernel that knows one model and no rotations: zero everywhere.
    void find_none(double* numbers);

    AtomValues& of_forces() { return of_forces_; } // [atoms], in LAMMPS' unit

  private:
    void find_forces(const DomainTopology& nodes, const Results& results, bool direct);
    Extremes find_extremes(const DomainTopology& nodes, double& n_atoms) const;
    std::vector<double> find_virial(const Results& results, bool direct, double n_atoms) const;
    double find_energy(const Results& results) const;

    const ModelInUse& model_;
    GhostSums& ghosts_;
    DeviationFile file_;
    AtomValues of_forces_;
    bool has_compute_pair_ = false;
};

} // namespace mlip
