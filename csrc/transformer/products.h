#pragma once
// Products of tall tables of rows with the weights of a linear map. The weights are brought into panels once
// and serve all pieces of a table; the rows are read where they stand. A library's product, which knows
// nothing of the next one, arranges both anew for every piece and passes over the result once before.

#include "../simd/vectors.h"

#include <algorithm>
#include <vector>

namespace ase_mlip::cpu {

/// B [k, n] as panels of `width` columns, each [k, width], the last one filled up with zeros.
template <typename T> struct Panels {
    static constexpr int64_t width = 2 * simd::most_lanes<T>;
    int64_t k, n;
    std::vector<T> data, bias; // [panels, k, width], [panels, width]

    /// Element (l, j) of B is at from[l row + j column]; `added` [n] (or null) goes onto every row of a
    /// product.
    Panels(int64_t k, int64_t n, const T* from, int64_t row, int64_t column, const T* added)
        : k(k), n(n), data(count() * k * width), bias(count() * width) {
        for (int64_t j = 0; j < n; ++j) {
            T* to = data.data() + j / width * k * width + j % width;
            for (int64_t l = 0; l < k; ++l) {
                to[l * width] = from[l * row + j * column];
            }
        }
        if (added != nullptr) {
            std::copy(added, added + n, bias.begin());
        }
    }

    int64_t count() const { return (n + width - 1) / width; }
};

/// C [rows, n] = A [rows, k] B + bias, in tiles two vectors wide. Their sums stay in registers, of which
/// AVX-512 has 32, other instruction sets 16.
template <typename T> struct Product {
    int64_t rows;
    const T* a;
    const Panels<T>* b;
    T* c;

    template <int W> ASE_MLIP_ALWAYS_INLINE void operator()(simd::Width<W> /*width*/) const {
        constexpr int tall = W == simd::kWidest ? 8 : 6; // with more, compilers begin to spill
        for (int64_t j = 0; j < b->n; j += 2 * simd::lanes<T, W>) {
            int64_t i = 0;
            for (; i + tall <= rows; i += tall) {
                tile<tall, W>(i, j);
            }
            for (; i + 4 <= rows; i += 4) {
                tile<4, W>(i, j);
            }
            for (; i < rows; ++i) {
                tile<1, W>(i, j);
            }
        }
    }

    template <int Rows, int W> ASE_MLIP_ALWAYS_INLINE void tile(int64_t i, int64_t j) const {
        constexpr int vectors = 2;
        constexpr int64_t L = simd::lanes<T, W>, width = Panels<T>::width;
        const int64_t k = b->k;
        const T *from = a + i * k, *panel = b->data.data() + j / width * width * k + j % width;
        simd::Vector<T, W> sums[Rows][vectors];
        for (int r = 0; r < Rows; ++r) {
            for (int v = 0; v < vectors; ++v) {
                sums[r][v] = simd::load<W>(b->bias.data() + j + v * L);
            }
        }
        for (int64_t l = 0; l < k; ++l) {
            simd::Vector<T, W> row[vectors];
            for (int v = 0; v < vectors; ++v) {
                row[v] = simd::load<W>(panel + l * width + v * L);
            }
            for (int r = 0; r < Rows; ++r) { // each number of A is spread over a vector once
                for (int v = 0; v < vectors; ++v) {
                    sums[r][v] += from[r * k + l] * row[v];
                }
            }
        }
        for (int r = 0; r < Rows; ++r) {
            for (int v = 0; v < vectors; ++v) {
                keep(sums[r][v], i + r, j + v * L);
            }
        }
    }

    template <typename V> ASE_MLIP_ALWAYS_INLINE void keep(V sum, int64_t i, int64_t j) const {
        const int64_t at = i * b->n + j, left = b->n - j;
        if (left > 0) { // the last panel may end before its last vector
            simd::store(c + at, sum, left);
        }
    }
};

} // namespace ase_mlip::cpu
