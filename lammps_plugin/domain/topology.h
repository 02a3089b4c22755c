#pragma once
// From LAMMPS' own and ghost atoms and its full neighbour list to the pairs of a graph's nodes. Knows no
// LAMMPS class.
//
// A node is an atom whose ghost atoms are folded onto it, or, for an atom of another rank, onto the first of
// its ghost atoms that is met. So one rank alone has no ghost nodes, a cell may be smaller than the cutoff,
// and no atom is worked through twice on one rank.

#include "../both_sides/evaluator.h"

#include <cstdint>
#include <vector>

namespace mlip {

/// Own and ghost atoms, all arrays [n_all].
struct DomainAtoms {
    int n_owned = 0, n_all = 0;
    const double* positions = nullptr; // [n_all, 3], Å
    std::vector<int> species;          // atomic number, or 0 for atoms that are not ours
    std::vector<int64_t> owner;        // identity of the atom: its rank and its index there, in one number
};

/// LAMMPS' full list; atoms that are no centres have a count of 0.
struct Neighbours {
    std::vector<int> count;            // [n_all]
    const int* const* first = nullptr; // [n_all], entries masked with `mask`
    int mask = 0;
};

struct DomainTopology {
    Topology topology;
    std::vector<int> atom_of_node; // [n_nodes]
};

/// Pairs up to `reach` (cutoff + skin, Å) of own atoms and of ghost atoms up to `hops` - 1 pairs away. Throws
/// std::runtime_error when two atoms have the same position.
DomainTopology build_topology(const DomainAtoms& atoms, const Neighbours& neighbours, double reach, int hops);

} // namespace mlip
