#pragma once
// From LAMMPS' atoms, ghosts and full neighbour list to the candidate edges of a graph. Knows no LAMMPS
// class.
//
// A place is a LAMMPS index: an owned atom or a ghost. A node of the graph is an atom: its ghosts are folded
// onto it, or, for an atom of another rank, onto the first of its ghosts that is met. So one rank alone has
// no ghost nodes, a cell may be smaller than the cutoff, and no atom is worked through twice on one rank.

#include "evaluator.h"

#include <cstdint>
#include <vector>

namespace mlip {

/// The atoms of a domain, all arrays [n_places].
struct Places {
    int n_owned = 0, n_places = 0;
    const double* positions = nullptr; // [n_places, 3], Å
    std::vector<int> species;          // atomic number, or 0 for atoms that are not ours
    std::vector<int64_t> owner;        // identity of the atom: its rank and its index there, in one number
};

/// LAMMPS' full list, by place; places without a list have a count of 0.
struct Neighbours {
    std::vector<int> count;            // [n_places]
    const int* const* first = nullptr; // [n_places], entries masked with `mask`
    int mask = 0;
};

struct Candidates {
    Topology topology;
    std::vector<int> place_of_node; // [n_nodes]
};

/// Edges up to `reach` (cutoff + skin, Å) from owned atoms and from ghosts up to `hops` - 1 edges away.
/// Throws std::runtime_error when two atoms are at one place.
Candidates build_candidates(const Places& places, const Neighbours& neighbours, double reach, int hops);

} // namespace mlip
