#pragma once
// |W phi|^2 of many atoms, W lower triangular: a matrix product that keeps nothing but sums of squares.

#include "aligned.h"

#include "../csrc/simd/vectors.h"

#include <algorithm>
#include <cstdint>
#include <vector>

namespace mlip {

/// A lower triangular matrix of which many rows are the diagonal alone; what is more lies densely, in float
/// or double.
template <typename T> struct Whitening {
    static constexpr int64_t kLanes = ase_mlip::simd::lanes<T>;
    static constexpr int64_t kRows = 2 * kLanes, kAtoms = 8; // of a panel; of a product

    std::vector<int64_t> dense; // where phi has the columns, which ascend
    Numbers<T> panels;          // kRows rows each, [columns up to the last row's diagonal, kRows]
    std::vector<int64_t> lone;  // where it has those that no other row or column has to do with
    std::vector<double> lone_weights;

    /// `places` [size]: where each column of the matrix lies in phi; its own number if there are none.
    /// `used` [size]: whether phi can be other than zero there; all if there are none.
    Whitening(const double* matrix, int64_t size, const std::vector<int64_t>& places = {},
              const std::vector<bool>& used = {}) {
        std::vector<unsigned char> is_dense(size, 0);
        for (int64_t row = 0; row < size; ++row) {
            for (int64_t column = 0; column < row; ++column) {
                if (matrix[row * size + column] != 0.0) {
                    is_dense[row] = is_dense[column] = 1;
                }
            }
        }
        for (int64_t column = 0; column < size; ++column) {
            if (is_dense[column] != 0) {
                dense.push_back(column);
            } else if (const double weight = matrix[column * size + column];
                       weight != 0.0 && (used.empty() || used[column])) {
                lone.push_back(column);
                lone_weights.push_back(weight);
            }
        }
        const auto count = static_cast<int64_t>(dense.size());
        for (int64_t begin = 0; begin < count; begin += kRows) {
            for (int64_t k = 0; k < std::min(begin + kRows, count); ++k) {
                for (int64_t row = begin; row < begin + kRows; ++row) {
                    const bool is_there = row < count && k <= row;
                    panels.push_back(is_there ? static_cast<T>(matrix[dense[row] * size + dense[k]]) : T(0));
                }
            }
        }
        if (!places.empty()) {
            for (std::vector<int64_t>* columns : {&dense, &lone}) {
                for (int64_t& column : *columns) {
                    column = places[column];
                }
            }
        }
    }

    /// Numbers of phi of one atom that lie densely, and these numbers.
    int64_t width() const { return static_cast<int64_t>(dense.size()); }
    void choose(const T* phi, T* to) const {
        for (size_t k = 0; k < dense.size(); ++k) {
            to[k] = phi[dense[k]];
        }
    }

    double lone_square(const T* phi) const {
        double total = 0.0;
        for (size_t k = 0; k < lone.size(); ++k) {
            const double white = lone_weights[k] * static_cast<double>(phi[lone[k]]);
            total += white * white;
        }
        return total;
    }
};

/// Adds the squares of the dense part, lane by lane, to `squares` [n, lanes]; n is a multiple of kAtoms.
template <typename T> struct DenseSquares {
    using V = ase_mlip::simd::Vector<T>;
    static constexpr int64_t L = Whitening<T>::kLanes, kRows = Whitening<T>::kRows,
                             kAtoms = Whitening<T>::kAtoms;

    const Whitening<T>& whitening;
    int64_t atoms;
    const T* phi; // [n, width]
    T* squares;

    ASE_MLIP_ALWAYS_INLINE void operator()() const {
        const int64_t width = whitening.width();
        const T* panel = whitening.panels.data();
        for (int64_t begin = 0; begin < width; begin += kRows) {
            const int64_t length = std::min(begin + kRows, width);
            for (int64_t atom = 0; atom < atoms; atom += kAtoms) {
                product(panel, std::min(begin + L, length), length, phi + atom * width, width,
                        squares + atom * L);
            }
            panel += length * kRows;
        }
    }

    /// The first half of the rows ends at column `half`, the second at `length`.
    static ASE_MLIP_ALWAYS_INLINE void product(const T* panel, int64_t half, int64_t length, const T* phi,
                                               int64_t width, T* squares) {
        V low[kAtoms] = {}, high[kAtoms] = {};
        for (int64_t k = 0; k < half; ++k) {
            const V a = ase_mlip::simd::load(panel + k * kRows);
            const V b = ase_mlip::simd::load(panel + k * kRows + L);
            for (int64_t atom = 0; atom < kAtoms; ++atom) {
                const T value = phi[atom * width + k];
                low[atom] += a * value;
                high[atom] += b * value;
            }
        }
        for (int64_t k = half; k < length; ++k) {
            const V b = ase_mlip::simd::load(panel + k * kRows + L);
            for (int64_t atom = 0; atom < kAtoms; ++atom) {
                high[atom] += b * phi[atom * width + k];
            }
        }
        for (int64_t atom = 0; atom < kAtoms; ++atom) {
            T* to = squares + atom * L;
            ase_mlip::simd::store<T>(to, ase_mlip::simd::load(to) + low[atom] * low[atom] +
                                             high[atom] * high[atom]);
        }
    }
};

} // namespace mlip
