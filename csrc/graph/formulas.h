#pragma once
// The mathematics of the operators, compiled once for the host and once for CUDA.
//
// With r_e the vector of edge e from centre i to neighbour j and g_e = dE/dr_e:
//   forces             F_n = sum_e g_e (delta_ni - delta_nj)
//   per-atom virials   W_n = -1/2 sum_e r_e (x) g_e (delta_ni + delta_nj)
//   virial             W_b = -sum_{e in b} r_e (x) g_e        (LAMMPS sign; ASE's stress is -W/volume)

#include "../common/inline.h"

#include <cstdint>

namespace ase_mlip {

/// What an edge gives to its two ends, component by component, of a force [3].
template <typename T> struct ForceTerm {
    static constexpr int width = 3;
    const T* gradients;

    ASE_MLIP_INLINE T to_centre(int64_t edge, int k) const { return gradients[3 * edge + k]; }
    ASE_MLIP_INLINE T to_neighbour(int64_t edge, int k) const { return -gradients[3 * edge + k]; }
};

/// Component k = 3 a + b of -r_a g_b.
template <typename T>
ASE_MLIP_INLINE T virial_component(const T* gradients, const T* vectors, int64_t edge, int k) {
    return -vectors[3 * edge + k / 3] * gradients[3 * edge + k % 3];
}

/// The virial [3, 3] of an edge, half to each end.
template <typename T> struct AtomVirialTerm {
    static constexpr int width = 9;
    const T* gradients;
    const T* vectors;

    ASE_MLIP_INLINE T to_centre(int64_t edge, int k) const {
        return T(0.5) * virial_component(gradients, vectors, edge, k);
    }
    ASE_MLIP_INLINE T to_neighbour(int64_t edge, int k) const { return to_centre(edge, k); }
};

/// The virial [3, 3] of an edge, all of it to the structure that stands for the centre.
template <typename T> struct StructureVirialTerm {
    static constexpr int width = 9;
    const T* gradients;
    const T* vectors;

    ASE_MLIP_INLINE T to_centre(int64_t edge, int k) const {
        return virial_component(gradients, vectors, edge, k);
    }
    ASE_MLIP_INLINE T to_neighbour(int64_t, int) const { return T(0); }
};

/// Edges (i, j, S), sorted by centre i.
struct SortedEdges {
    const int64_t* centres;
    const int64_t* neighbours;
    const int64_t* shifts; // three per edge
    int64_t count;
};

/// First edge whose centre is not below `centre`.
ASE_MLIP_INLINE int64_t first_edge_of(const SortedEdges& edges, int64_t centre) {
    int64_t low = 0, high = edges.count;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (edges.centres[middle] < centre) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/// Index of the edge (j, i, -S) of edge (i, j, S), or -1; `first` is the first edge of centre j.
ASE_MLIP_INLINE int64_t find_reverse(const SortedEdges& edges, int64_t edge, int64_t first) {
    const int64_t centre = edges.centres[edge], neighbour = edges.neighbours[edge];
    const int64_t* shift = edges.shifts + 3 * edge;
    for (int64_t other = first; other < edges.count && edges.centres[other] == neighbour; ++other) {
        const int64_t* opposite = edges.shifts + 3 * other;
        if (edges.neighbours[other] == centre && opposite[0] == -shift[0] && opposite[1] == -shift[1] &&
            opposite[2] == -shift[2]) {
            return other;
        }
    }
    return -1;
}

} // namespace ase_mlip
