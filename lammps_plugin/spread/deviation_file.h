#pragma once
// How much the models of a committee deviate from each other, in a file with the columns of DeePMD-kit's
// model_devi.out, and the deviation at which a run ends.

#include "../settings/pair_settings.h"

#include "pointers.h"

#include <cstdio>
#include <vector>

namespace mlip {

/// Of all atoms' forces, in LAMMPS' unit.
struct Extremes {
    double largest = 0.0, mean = 0.0, smallest = 0.0;
};

class DeviationFile : protected LAMMPS_NS::Pointers {
  public:
    DeviationFile(LAMMPS_NS::LAMMPS* lmp, const PairSettings& settings)
        : Pointers(lmp), settings_(settings) {}
    ~DeviationFile() override;

    /// Whether this step has a line.
    bool is_due() const;
    /// `virial`: deviations of its nine components. Ends the run in order if the forces deviate too much.
    /// Collective.
    void write(const std::vector<double>& virial, const Extremes& forces, double n_atoms);

  private:
    void open();

    const PairSettings& settings_;
    FILE* file_ = nullptr; // of rank 0
    bool is_open_ = false; // on all ranks, once rank 0 has opened the file
};

} // namespace mlip
