#pragma once
// |W phi|^2 of many atoms, W lower triangular: a matrix product that keeps nothing but sums of squares.

#include "../../csrc/simd/aligned.h"
#include "../../csrc/simd/vectors.h"

#include <algorithm>
#include <cstdint>
#include <vector>

namespace mlip {

using ase_mlip::simd::Numbers;

/// A lower triangular matrix of which many rows are the diagonal alone; what is more lies densely, in float
/// or double.
template <typename T> struct Whitening {
    static constexpr int64_t kLanes = ase_mlip::simd::most_lanes<T>;
    static constexpr int64_t kRows = 2 * kLanes; // of a panel
    static constexpr int64_t kAtoms = 8;         // of the largest product

    std::vector<int64_t> dense; // where phi has the columns, which ascend
    Numbers<T> panels;         // kRows rows each, [columns up to the last row's diagonal, kRows]; see `first`
    std::vector<int64_t> lone; // where it has those that no other row or column has to do with
    std::vector<T> lone_weights;

    /// `places` [size]: where each column of the matrix lies in phi. `used` [size]: whether phi can be other
    /// than zero there.
    Whitening(const double* matrix, int64_t size, const std::vector<int64_t>& places,
              const std::vector<bool>& used) {
        std::vector<unsigned char> is_dense(size, 0);
        for (int64_t row = 0; row < size; ++row) {
            for (int64_t column = 0; column < row; ++column) {
                if (matrix[row * size + column] != 0.0) {
                    is_dense[row] = is_dense[column] = 1;
                }
            }
        }
        std::vector<int64_t> columns; // that are dense
        for (int64_t column = 0; column < size; ++column) {
            const double weight = matrix[column * size + column];
            if (is_dense[column] != 0) {
                columns.push_back(column);
                dense.push_back(places[column]);
            } else if (weight != 0.0 && used[column]) {
                lone.push_back(places[column]);
                lone_weights.push_back(static_cast<T>(weight));
            }
        }
        const auto count = static_cast<int64_t>(columns.size());
        for (int64_t begin = first(count); begin < count; begin += kRows) {
            for (int64_t k = 0; k < begin + kRows; ++k) {
                for (int64_t row = begin; row < begin + kRows; ++row) {
                    const bool is_there = row >= 0 && k <= row;
                    panels.push_back(is_there ? static_cast<T>(matrix[columns[row] * size + columns[k]])
                                              : T(0));
                }
            }
        }
    }

    /// The row of `count` with which the first panel begins. Rows below zero fill it up: it is the shortest
    /// one, the last one the longest.
    static int64_t first(int64_t count) { return (count % kRows - kRows) % kRows; }
};

/// Writes the squares, lane by lane, to `squares` [n, lanes]; n is a multiple of kAtoms. Narrow vectors leave
/// lanes behind their own at zero.
template <typename T> struct WhiteSquares {
    static constexpr int64_t kLanes = Whitening<T>::kLanes, kRows = Whitening<T>::kRows,
                             kAtoms = Whitening<T>::kAtoms;

    const Whitening<T>& whitening;
    int64_t atoms, width;
    const T* phi; // [n, width]
    T* squares;

    template <int W> ASE_MLIP_ALWAYS_INLINE void operator()(ase_mlip::simd::Width<W> /*width*/) const {
        constexpr int64_t L = ase_mlip::simd::lanes<T, W>;
        // two sums each: AVX-512 has 32 registers, other instruction sets 16
        constexpr int64_t together = W == ase_mlip::simd::kWidest ? kAtoms : kAtoms / 2;
        const auto count = static_cast<int64_t>(whitening.dense.size());
        for (int64_t atom = 0; atom < atoms; atom += kAtoms) {
            lone(phi + atom * width, squares + atom * kLanes);
        }
        // The numbers of a few atoms stay in the first cache, while the panels, which are larger, pass by.
        for (int64_t atom = 0; atom < atoms; atom += together) {
            const T* panel = whitening.panels.data();
            for (int64_t begin = Whitening<T>::first(count); begin < count; begin += kRows) {
                for (int64_t row = 0; row < kRows; row += 2 * L) {
                    const int64_t half = std::max<int64_t>(begin + row + L, 0),
                                  length = std::max<int64_t>(begin + row + 2 * L, 0);
                    product<together, W>(panel + row, half, length, phi + atom * width,
                                         squares + atom * kLanes);
                }
                panel += (begin + kRows) * kRows;
            }
        }
    }

    ASE_MLIP_ALWAYS_INLINE void lone(const T* numbers, T* to) const {
        T totals[kAtoms] = {};
        for (size_t k = 0; k < whitening.lone.size(); ++k) {
            const T *from = numbers + whitening.lone[k], weight = whitening.lone_weights[k];
            for (int64_t atom = 0; atom < kAtoms; ++atom) {
                const T white = weight * from[atom * width];
                totals[atom] += white * white;
            }
        }
        for (int64_t atom = 0; atom < kAtoms; ++atom) {
            std::fill_n(to + atom * kLanes, kLanes, T(0));
            to[atom * kLanes] = totals[atom];
        }
    }

    /// Of two vectors of rows. The first half of them ends at column `half`, the second at `length`.
    template <int64_t Atoms, int W>
    ASE_MLIP_ALWAYS_INLINE void product(const T* panel, int64_t half, int64_t length, const T* numbers,
                                        T* to) const {
        const int64_t* const places = whitening.dense.data();
        using V = ase_mlip::simd::Vector<T, W>;
        constexpr int64_t L = ase_mlip::simd::lanes<T, W>;
        V low[Atoms] = {}, high[Atoms] = {};
        for (int64_t k = 0; k < half; ++k) {
            const V a = ase_mlip::simd::load<W>(panel + k * kRows);
            const V b = ase_mlip::simd::load<W>(panel + k * kRows + L);
            const T* const from = numbers + places[k];
            for (int64_t atom = 0; atom < Atoms; ++atom) {
                const T value = from[atom * width];
                low[atom] += a * value;
                high[atom] += b * value;
            }
        }
        for (int64_t k = half; k < length; ++k) {
            const V b = ase_mlip::simd::load<W>(panel + k * kRows + L);
            const T* const from = numbers + places[k];
            for (int64_t atom = 0; atom < Atoms; ++atom) {
                high[atom] += b * from[atom * width];
            }
        }
        for (int64_t atom = 0; atom < Atoms; ++atom) {
            T* const lanes = to + atom * kLanes;
            ase_mlip::simd::store(lanes, ase_mlip::simd::load<W>(lanes) + low[atom] * low[atom] +
                                             high[atom] * high[atom]);
        }
    }
};

} // namespace mlip
