#pragma once
// Sums over edges without an atomic addition for each: a thread has a run of consecutive edges and one
// component, and adds to a row only where the run's next edge belongs to another one. Right for edges in any
// order, quick where those of a row follow each other. Plain code, so that a loop on the host can do the
// same.

#include "../common/inline.h"

#include <c10/macros/Macros.h>

#include <cstdint>

namespace ase_mlip {

/// Many threads may add to one number: the order, and with it the last bits, may change from run to run.
template <typename T> ASE_MLIP_INLINE void add_to(T* to, T value) {
#if defined(__CUDA_ARCH__)
    atomicAdd(to, value);
#else
    *to += value;
#endif
}

enum class End { centre, neighbour };

/// Job of a run and a component: `count()` of them.
template <typename T, typename Term, End end> struct RunsJob {
    Term term;
    const int64_t* row_of; // [E], row of each edge, or of edge order[e]
    const int64_t* order;  // [E] or null
    int64_t n_edges, n_rows, length;
    T* rows; // [n_rows, Term::width]

    ASE_MLIP_INLINE int64_t count() const { return (n_edges + length - 1) / length * Term::width; }

    ASE_MLIP_INLINE void operator()(int64_t n) const {
        const int k = static_cast<int>(n % Term::width);
        const int64_t first = n / Term::width * length;
        const int64_t last = first + length < n_edges ? first + length : n_edges;
        int64_t row = row_of[first];
        T sum = T(0);
        for (int64_t e = first; e < last; ++e) {
            if (row_of[e] != row) {
                add(row, k, sum);
                row = row_of[e];
                sum = T(0);
            }
            const int64_t edge = order == nullptr ? e : order[e];
            sum += end == End::centre ? term.to_centre(edge, k) : term.to_neighbour(edge, k);
        }
        add(row, k, sum);
    }

    ASE_MLIP_INLINE void add(int64_t row, int k, T sum) const {
        CUDA_KERNEL_ASSERT(row >= 0 && row < n_rows);
        add_to(rows + Term::width * row + k, sum);
    }
};

} // namespace ase_mlip
