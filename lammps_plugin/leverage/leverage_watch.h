#pragma once
// How far the atoms are from the model's training data, for fix pair, where the file says so:
// ase_mlip/model_file/leverage_file.py says what a leverage is.

#include "../domain/atom_values.h"
#include "../domain/topology.h"
#include "../model_loading/model_in_use.h"
#include "snnp_leverage.h"

#include "pointers.h"

#include <memory>
#include <vector>

namespace mlip {

class LeverageWatch : protected LAMMPS_NS::Pointers {
  public:
    LeverageWatch(LAMMPS_NS::LAMMPS* lmp, const ModelInUse& model) : Pointers(lmp), model_(model) {}

    /// The model is a new one. Leverages of s-NNPs come from the neighbour list, whatever evaluates them.
    void begin();
    /// At the steps that fix pair asks for.
    bool is_wanted() const { return of_atoms_.are_wanted(); }
    /// From what the network gave and from the neighbour list. Atoms that are not the model's keep zeros.
    /// Collective.
    void tally(const DomainTopology& nodes, const Results& results, const NativeDomain& domain);
    /// The native kernel shows this object the neighbours that it finds, before finish(); null at steps that
    /// do not want it. Collective.
    ase_mlip::snnp::Visitor* visitor(const NativeDomain& domain);
    void finish();

    int* flag() { return of_atoms_.flag(); }
    /// [atoms], which fix pair asks for before the first step; ends the run where there is none.
    double* array();

  private:
    const ModelInUse& model_;
    std::vector<std::unique_ptr<SnnpLeverage>> snnp_leverages_; // of each s-NNP that has one
    AtomValues of_atoms_;
    bool visits_ = false; // between visitor() and finish()
};

} // namespace mlip
