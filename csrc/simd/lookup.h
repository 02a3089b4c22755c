#pragma once
// Numbers from a table, for each lane from another place.

#include "vectors.h"

namespace ase_mlip::simd {

/// Some lanes of two vectors that lie one after another.
template <int... Lane, typename V> ASE_MLIP_ALWAYS_INLINE V shuffled(V first, V second) {
#if defined(__clang__)
    return __builtin_shufflevector(first, second, Lane...);
#else
    return __builtin_shuffle(first, second, Integers<Number<V>, sizeof(V)>{Lane...});
#endif
}

/// The transpose of four rows of four numbers; each shuffle is one instruction.
template <typename V> ASE_MLIP_ALWAYS_INLINE void transpose(const V rows[4], V columns[4]) {
    if constexpr (sizeof(V) == 16) {
        const V low[2] = {shuffled<0, 4, 1, 5>(rows[0], rows[1]), shuffled<0, 4, 1, 5>(rows[2], rows[3])};
        const V high[2] = {shuffled<2, 6, 3, 7>(rows[0], rows[1]), shuffled<2, 6, 3, 7>(rows[2], rows[3])};
        columns[0] = shuffled<0, 1, 4, 5>(low[0], low[1]);
        columns[1] = shuffled<2, 3, 6, 7>(low[0], low[1]);
        columns[2] = shuffled<0, 1, 4, 5>(high[0], high[1]);
        columns[3] = shuffled<2, 3, 6, 7>(high[0], high[1]);
    } else { // two halves that AVX2 shuffles by themselves
        const V even[2] = {shuffled<0, 4, 2, 6>(rows[0], rows[1]), shuffled<0, 4, 2, 6>(rows[2], rows[3])};
        const V odd[2] = {shuffled<1, 5, 3, 7>(rows[0], rows[1]), shuffled<1, 5, 3, 7>(rows[2], rows[3])};
        columns[0] = shuffled<0, 1, 4, 5>(even[0], even[1]);
        columns[1] = shuffled<0, 1, 4, 5>(odd[0], odd[1]);
        columns[2] = shuffled<2, 3, 6, 7>(even[0], even[1]);
        columns[3] = shuffled<2, 3, 6, 7>(odd[0], odd[1]);
    }
}

/// The four numbers of a row of `table` [rows, 4] for each lane: found[k][lane] = table[which[lane]][k]. A
/// row is read at once, which is less work than a number at a time.
template <typename V>
ASE_MLIP_ALWAYS_INLINE void look_up(const Number<V>* table, const Integers<Number<V>, sizeof(V)>& which,
                                    V found[4]) {
    constexpr int64_t L = lanes_of<V>;
    if constexpr (L == 2) {
        for (int k = 0; k < 4; k += 2) {
            const V a = load<sizeof(V)>(table + 4 * which[0] + k),
                    b = load<sizeof(V)>(table + 4 * which[1] + k);
            found[k] = shuffled<0, 2>(a, b);
            found[k + 1] = shuffled<1, 3>(a, b);
        }
    } else {
        using Four = Vector<Number<V>, 4 * sizeof(Number<V>)>;
        for (int64_t lane = 0; lane < L; lane += 4) {
            Four rows[4], columns[4];
            for (int64_t m = 0; m < 4; ++m) {
                rows[m] = load<sizeof(Four)>(table + 4 * which[lane + m]);
            }
            transpose(rows, columns);
            for (int k = 0; k < 4; ++k) {
                if constexpr (L == 4) {
                    found[k] = columns[k];
                } else {
                    for (int64_t m = 0; m < 4; ++m) {
                        found[k][lane + m] = columns[k][m];
                    }
                }
            }
        }
    }
}

} // namespace ase_mlip::simd
