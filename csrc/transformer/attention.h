#pragma once
// Multi-head self-attention within neighbourhoods, and its gradient.
//
// With q, k, v the three parts of a token's projection, per head and neighbourhood:
//   P_st = softmax_t(scale q_s . k_t + b_t),  o_s = sum_t P_st v_t,
// where b is the logarithm of the cutoff weight of an edge and 0 for the node's own token. Given do:
//   dP_st = do_s . v_t,  dS_st = P_st (dP_st - sum_u P_su dP_su),
//   dq_s = scale sum_t dS_st k_t,  dk_t = scale sum_s dS_st q_s,  dv_t = sum_s P_st do_s,  db_t = sum_s
//   dS_st.
// Probabilities and scores are stored transposed, [t, s], so that all sums over t run down whole vectors. The
// probabilities are evaluated anew for the gradient: they are cheaper than the memory they would take.

#include "../simd/vectors.h"

#include <algorithm>
#include <vector>

namespace ase_mlip::cpu {

/// Neighbourhoods whose tokens follow one another in the rows of a table: a node's own token, then its
/// edges'.
struct Neighbourhoods {
    int64_t count;
    const int64_t* starts; // [count + 1], first edge of each node

    ASE_MLIP_ALWAYS_INLINE int64_t edges(int64_t node) const { return starts[node + 1] - starts[node]; }
    ASE_MLIP_ALWAYS_INLINE int64_t first_edge(int64_t node) const { return starts[node] - starts[0]; }
    ASE_MLIP_ALWAYS_INLINE int64_t tokens(int64_t node) const { return edges(node) + 1; }
    ASE_MLIP_ALWAYS_INLINE int64_t first_row(int64_t node) const { return first_edge(node) + node; }
    int64_t most_tokens() const {
        int64_t most = 0;
        for (int64_t node = 0; node < count; ++node) {
            most = std::max(most, tokens(node));
        }
        return most;
    }
};

/// A matrix in memory, or its transpose: element (i, j) is at data[i row + j column].
template <typename T> struct Strided {
    const T* data;
    int64_t row, column;
};

/// `Rows` rows and one vector's columns, or the first `columns` of them, of C = factor A B with k terms each.
template <int Rows, int W, typename T>
ASE_MLIP_ALWAYS_INLINE void multiply_tile(int64_t columns, int64_t k, T factor, Strided<T> a, const T* b,
                                          int64_t b_row, T* c, int64_t c_row) {
    simd::Vector<T, W> sums[Rows] = {};
    for (int64_t l = 0; l < k; ++l) {
        const simd::Vector<T, W> b_l = simd::load<W>(b + l * b_row, columns);
        for (int i = 0; i < Rows; ++i) {
            sums[i] += a.data[i * a.row + l * a.column] * b_l;
        }
    }
    for (int i = 0; i < Rows; ++i) {
        simd::store(c + i * c_row, sums[i] * factor, columns);
    }
}

template <int Rows, int W, typename T>
ASE_MLIP_ALWAYS_INLINE void multiply_rows(int64_t n, int64_t k, T factor, Strided<T> a, const T* b,
                                          int64_t b_row, T* c, int64_t c_row) {
    int64_t j = 0;
    for (; j + simd::lanes<T, W> <= n;
         j += simd::lanes<T, W>) { // the constant lets the compiler drop the other case
        multiply_tile<Rows, W>(simd::lanes<T, W>, k, factor, a, b + j, b_row, c + j, c_row);
    }
    if (j < n) {
        multiply_tile<Rows, W>(n - j, k, factor, a, b + j, b_row, c + j, c_row);
    }
}

/// C [m, n] = factor A [m, k] B [k, n]
template <int W, typename T>
ASE_MLIP_ALWAYS_INLINE void multiply(int64_t m, int64_t n, int64_t k, T factor, Strided<T> a, const T* b,
                                     int64_t b_row, T* c, int64_t c_row) {
    constexpr int rows = 4; // as many sums as hide the latency of an addition
    int64_t i = 0;
    for (; i + rows <= m; i += rows) {
        multiply_rows<rows, W>(n, k, factor, Strided<T>{a.data + i * a.row, a.row, a.column}, b, b_row,
                               c + i * c_row, c_row);
    }
    for (; i < m; ++i) {
        multiply_rows<1, W>(n, k, factor, Strided<T>{a.data + i * a.row, a.row, a.column}, b, b_row,
                            c + i * c_row, c_row);
    }
}

/// What the attention of one head of one neighbourhood needs besides its rows; made for the largest.
template <typename T> struct AttentionTables {
    int64_t stride; // of the tables with a column per token: their number in whole vectors of any width
    std::vector<T> transposed, probabilities, scores;

    AttentionTables(int64_t width, int64_t tokens)
        : stride(padded<simd::kWidest>(tokens)), transposed(width * stride), probabilities(tokens * stride),
          scores(tokens * stride) {}

    template <int W> ASE_MLIP_ALWAYS_INLINE static int64_t padded(int64_t tokens) {
        return (tokens + simd::lanes<T, W> - 1) / simd::lanes<T, W> * simd::lanes<T, W>;
    }

    /// rows [tokens, width] -> `transposed` [width, tokens], zero in the columns that fill the last vector.
    template <int W>
    ASE_MLIP_ALWAYS_INLINE void transpose(const T* rows, int64_t row, int64_t tokens, int64_t width) {
        for (int64_t k = 0; k < width; ++k) {
            T* column = transposed.data() + k * stride;
            for (int64_t t = 0; t < tokens; ++t) {
                column[t] = rows[t * row + k];
            }
            for (int64_t t = tokens; t < padded<W>(tokens); ++t) {
                column[t] = T(0);
            }
        }
    }
};

template <typename T> struct AttentionForward {
    Neighbourhoods neighbourhoods;
    int64_t size, heads;
    T scale;
    const T* projected;   // [tokens, 3 size]: queries, keys, values
    const T* log_weights; // per edge
    T* mixed;             // [tokens, size]
    AttentionTables<T>* tables;

    template <int W> ASE_MLIP_ALWAYS_INLINE void operator()(simd::Width<W> /*width*/) const {
        for (int64_t node = 0; node < neighbourhoods.count; ++node) {
            const int64_t n = neighbourhoods.tokens(node), first = neighbourhoods.first_row(node);
            for (int64_t head = 0; head < heads; ++head) {
                const T* rows = projected + first * 3 * size + head * width();
                find_probabilities<W>(node, rows);
                multiply<W>(n, width(), n, T(1), {tables->probabilities.data(), 1, tables->stride},
                            rows + 2 * size, 3 * size, mixed + first * size + head * width(), size);
            }
        }
    }

    ASE_MLIP_ALWAYS_INLINE int64_t width() const { return size / heads; }

    template <int W> ASE_MLIP_ALWAYS_INLINE void find_probabilities(int64_t node, const T* rows) const {
        const int64_t n = neighbourhoods.tokens(node), stride = tables->stride;
        T* table = tables->probabilities.data();
        tables->template transpose<W>(rows, 3 * size, n, width());
        multiply<W>(n, tables->template padded<W>(n), width(), scale, {rows + size, 3 * size, 1},
                    tables->transposed.data(), stride, table, stride);
        for (int64_t s = 0; s < n; s += simd::lanes<T, W>) {
            softmax<W>(table + s, n, log_weights + neighbourhoods.first_edge(node) - 1);
        }
    }

    /// Over the n rows of some columns; token t is the edge t - 1.
    template <int W> ASE_MLIP_ALWAYS_INLINE void softmax(T* columns, int64_t n, const T* bias) const {
        const int64_t stride = tables->stride;
        simd::Vector<T, W> most = simd::load<W>(columns), total = {};
        for (int64_t t = 1; t < n; ++t) {
            const simd::Vector<T, W> score = simd::load<W>(columns + t * stride) + bias[t];
            simd::store(columns + t * stride, score);
            most = simd::larger(score, most);
        }
        for (int64_t t = 0; t < n; ++t) {
            const simd::Vector<T, W> weight = simd::exp(simd::load<W>(columns + t * stride) - most);
            simd::store(columns + t * stride, weight);
            total += weight;
        }
        const simd::Vector<T, W> inverse = T(1) / total;
        for (int64_t t = 0; t < n; ++t) {
            simd::store(columns + t * stride, simd::load<W>(columns + t * stride) * inverse);
        }
    }
};

template <typename T> struct AttentionBackward {
    AttentionForward<T> forward; // `mixed` is not used
    const T* d_mixed;            // [tokens, size]
    T* d_projected;              // [tokens, 3 size]
    T* d_log_weights;            // per edge

    template <int W> ASE_MLIP_ALWAYS_INLINE void operator()(simd::Width<W> /*width*/) const {
        const Neighbourhoods& all = forward.neighbourhoods;
        std::fill(d_log_weights, d_log_weights + all.first_edge(all.count), T(0));
        for (int64_t node = 0; node < all.count; ++node) {
            const int64_t first = all.first_row(node);
            for (int64_t head = 0; head < forward.heads; ++head) {
                const int64_t column = head * forward.width();
                differentiate<W>(node, forward.projected + first * 3 * forward.size + column,
                                 d_mixed + first * forward.size + column,
                                 d_projected + first * 3 * forward.size + column);
            }
        }
    }

    template <int W>
    ASE_MLIP_ALWAYS_INLINE void differentiate(int64_t node, const T* rows, const T* d_out, T* d_rows) const {
        AttentionTables<T>& tables = *forward.tables;
        const int64_t n = forward.neighbourhoods.tokens(node), stride = tables.stride;
        const int64_t size = forward.size, width = forward.width();
        const T* scores = tables.scores.data();
        forward.template find_probabilities<W>(node, rows);
        tables.template transpose<W>(d_out, size, n, width);
        multiply<W>(n, tables.template padded<W>(n), width, T(1), {rows + 2 * size, 3 * size, 1},
                    tables.transposed.data(), stride, tables.scores.data(), stride);
        for (int64_t s = 0; s < n; s += simd::lanes<T, W>) {
            softmax_backward<W>(tables.probabilities.data() + s, tables.scores.data() + s, n);
        }
        multiply<W>(n, width, n, forward.scale, {scores, 1, stride}, rows + size, 3 * size, d_rows, 3 * size);
        multiply<W>(n, width, n, forward.scale, {scores, stride, 1}, rows, 3 * size, d_rows + size, 3 * size);
        multiply<W>(n, width, n, T(1), {tables.probabilities.data(), stride, 1}, d_out, size,
                    d_rows + 2 * size, 3 * size);
        sum_scores<W>(node, n);
    }

    template <int W>
    ASE_MLIP_ALWAYS_INLINE void softmax_backward(const T* probabilities, T* scores, int64_t n) const {
        const int64_t stride = forward.tables->stride;
        simd::Vector<T, W> mean = {};
        for (int64_t t = 0; t < n; ++t) {
            mean += simd::load<W>(probabilities + t * stride) * simd::load<W>(scores + t * stride);
        }
        for (int64_t t = 0; t < n; ++t) {
            const simd::Vector<T, W> difference = simd::load<W>(scores + t * stride) - mean;
            simd::store(scores + t * stride, simd::load<W>(probabilities + t * stride) * difference);
        }
    }

    template <int W> ASE_MLIP_ALWAYS_INLINE void sum_scores(int64_t node, int64_t n) const {
        const int64_t stride = forward.tables->stride;
        T* by_edge = d_log_weights + forward.neighbourhoods.first_edge(node) - 1; // token t is edge t - 1
        for (int64_t t = 1; t < n; ++t) {
            const T* row = forward.tables->scores.data() + t * stride;
            simd::Vector<T, W> total = {};
            // the columns that fill the last vector are those of queries and gradients of zero: dS is zero
            // there
            for (int64_t s = 0; s < n; s += simd::lanes<T, W>) {
                total += simd::load<W>(row + s);
            }
            by_edge[t] += simd::sum(total);
        }
    }
};

} // namespace ase_mlip::cpu
