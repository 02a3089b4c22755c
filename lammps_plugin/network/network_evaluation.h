#pragma once
// A step by the network of a model file: own and ghost atoms to a graph, and what the network gives back to
// LAMMPS' arrays.

#include "../both_sides/rotations.h"
#include "../communication/ghost_sums.h"
#include "../domain/tally.h"
#include "../domain/topology.h"
#include "../model_loading/model_in_use.h"
#include "../settings/pair_settings.h"

#include <cstdint>
#include <vector>

namespace LAMMPS_NS {
class NeighList;
}

namespace mlip {

class NetworkEvaluation : protected LAMMPS_NS::Pointers {
  public:
    NetworkEvaluation(LAMMPS_NS::LAMMPS* lmp, LAMMPS_NS::Pair& pair, const ModelInUse& model,
                      const PairSettings& settings, GhostSums& ghosts);

    /// The next step makes its topology anew: another model, another run.
    void forget_topology() { topology_call_ = -1; }
    /// True if there is a new topology. `types`: LAMMPS' types [n_all], 0 for atoms that are not the model's.
    /// Collective.
    bool update_topology(const LAMMPS_NS::NeighList& list, const int* types);
    const DomainTopology& nodes() const { return nodes_; }

    /// Ends the run if energy or a force is not finite. Valid until the next call. Collective.
    const Results& evaluate(Request request);
    /// Those of derivatives, with the shares of ghost nodes. Collective.
    void add_forces(const Results& results);
    /// Energy, and the virials that belong to these forces. Collective.
    void add_to(const Tally& tally, const Results& results, bool direct);

    // Pair's communication of who owns a ghost atom
    int pack_owners(int n, const int* list, double* buffer) const;
    void unpack_owners(int n, int first, const double* buffer);

    double memory() const; // bytes

  private:
    bool topology_is_old() const;
    void gather(DomainAtoms& atoms, const int* types);
    void choose_rotation();
    void check_finite(const Results& results, bool direct) const;
    void add_direct_virials(const Tally& tally, const Results& results);
    template <typename Add> void add_to_atoms(const double* virials, const Add& add);

    LAMMPS_NS::Pair& pair_;
    const ModelInUse& model_;
    const PairSettings& settings_;
    GhostSums& ghosts_;
    DomainTopology nodes_;
    std::vector<int64_t> owner_;           // [n_all] rank and index of every own and ghost atom
    std::vector<int> types_;               // [n_all] as they were when the topology was made
    LAMMPS_NS::bigint topology_call_ = -1; // neighbor->ncalls of the topology
    int topology_owned_ = -1;
    Matrix rotation_{}; // into the frame that the model sees
    bool is_rotated_ = false;
    bool warned_no_virial_ = false;
};

} // namespace mlip
