#pragma once
// Functions of the rows of a matrix that are neither a product nor attention, and their gradients.

#include "../simd/vectors.h"

#include <algorithm>
#include <cmath>

namespace ase_mlip::cpu {

/// y = w x / sqrt(mean(x^2) + eps), row by row.
template <typename T> struct RMSNorm {
    int64_t size;
    double eps;
    const T* weight;

    template <int W> ASE_MLIP_ALWAYS_INLINE T inverse_rms(const T* x) const {
        simd::Vector<T, W> squares = {};
        for (int64_t k = 0; k < size; k += simd::lanes<T, W>) {
            const simd::Vector<T, W> part = simd::load<W>(x + k, size - k);
            squares += part * part;
        }
        return T(1) / std::sqrt(simd::sum(squares) / T(size) + T(eps));
    }

    template <int W> ASE_MLIP_ALWAYS_INLINE void forward(const T* x, T* y) const {
        const T scale = inverse_rms<W>(x);
        for (int64_t k = 0; k < size; k += simd::lanes<T, W>) {
            const int64_t left = size - k;
            simd::store(y + k, simd::load<W>(x + k, left) * simd::load<W>(weight + k, left) * scale, left);
        }
    }

    /// d_x = base (or 0) + gradient of d_y; with s = 1/rms and g = w d_y: s (g - x s^2 mean(g x)).
    template <int W>
    ASE_MLIP_ALWAYS_INLINE void backward(const T* x, const T* d_y, const T* base, T* d_x) const {
        const T scale = inverse_rms<W>(x);
        simd::Vector<T, W> products = {};
        for (int64_t k = 0; k < size; k += simd::lanes<T, W>) {
            const int64_t left = size - k;
            products +=
                simd::load<W>(x + k, left) * simd::load<W>(d_y + k, left) * simd::load<W>(weight + k, left);
        }
        const T mean = simd::sum(products) / T(size) * scale * scale;
        for (int64_t k = 0; k < size; k += simd::lanes<T, W>) {
            const int64_t left = size - k;
            simd::Vector<T, W> row = simd::load<W>(d_y + k, left) * simd::load<W>(weight + k, left);
            row = scale * (row - simd::load<W>(x + k, left) * mean);
            if (base != nullptr) {
                row += simd::load<W>(base + k, left);
            }
            simd::store(d_x + k, row, left);
        }
    }
};

template <typename T> struct NormRows {
    RMSNorm<T> norm;
    int64_t rows;
    const T* x;
    T* y;

    template <int W> ASE_MLIP_ALWAYS_INLINE void operator()(simd::Width<W> /*width*/) const {
        for (int64_t n = 0; n < rows; ++n) {
            norm.template forward<W>(x + n * norm.size, y + n * norm.size);
        }
    }
};

template <typename T> struct NormRowsBackward {
    RMSNorm<T> norm;
    int64_t rows;
    const T* x;
    const T* d_y;
    const T* base; // [rows, size]
    T* d_x;

    template <int W> ASE_MLIP_ALWAYS_INLINE void operator()(simd::Width<W> /*width*/) const {
        for (int64_t n = 0; n < rows; ++n) {
            const int64_t at = n * norm.size;
            norm.template backward<W>(x + at, d_y + at, base + at, d_x + at);
        }
    }
};

/// y = a sigmoid(b) for rows [a, b] of twice the width.
template <typename T> struct SwiGLUForward {
    int64_t rows, size;
    const T* hidden; // [rows, 2 size]
    T* y;            // [rows, size]

    template <int W> ASE_MLIP_ALWAYS_INLINE void operator()(simd::Width<W> /*width*/) const {
        for (int64_t n = 0; n < rows; ++n) {
            const T* value = hidden + 2 * n * size;
            for (int64_t k = 0; k < size; k += simd::lanes<T, W>) {
                const int64_t left = size - k;
                const simd::Vector<T, W> gate = simd::sigmoid(simd::load<W>(value + size + k, left));
                simd::store(y + n * size + k, simd::load<W>(value + k, left) * gate, left);
            }
        }
    }
};

/// Gradient by [a, b]: [d_y g, d_y a g (1 - g)] with g = sigmoid(b). `hidden` and `d_hidden` may be one.
template <typename T> struct SwiGLUBackward {
    int64_t rows, size;
    const T* hidden;
    const T* d_y;
    T* d_hidden;

    template <int W> ASE_MLIP_ALWAYS_INLINE void operator()(simd::Width<W> /*width*/) const {
        for (int64_t n = 0; n < rows; ++n) {
            const T* value = hidden + 2 * n * size;
            T* d_value = d_hidden + 2 * n * size;
            for (int64_t k = 0; k < size; k += simd::lanes<T, W>) {
                const int64_t left = size - k;
                const simd::Vector<T, W> gate = simd::sigmoid(simd::load<W>(value + size + k, left));
                const simd::Vector<T, W> given = simd::load<W>(d_y + n * size + k, left);
                const simd::Vector<T, W> slope = simd::load<W>(value + k, left) * gate * (T(1) - gate);
                simd::store(d_value + k, given * gate, left);
                simd::store(d_value + size + k, given * slope, left);
            }
        }
    }
};

/// y = x + r, elementwise.
template <typename T> struct Add {
    int64_t count;
    const T* x;
    const T* r;
    T* y;

    template <int W> ASE_MLIP_ALWAYS_INLINE void operator()(simd::Width<W> /*width*/) const {
        for (int64_t k = 0; k < count; ++k) {
            y[k] = x[k] + r[k];
        }
    }
};

} // namespace ase_mlip::cpu
