#pragma once
// Rows of nodes and rows of edges to and from one table of tokens, neighbourhood by neighbourhood.

#include "attention.h"
#include "rows.h"

namespace ase_mlip::cpu {

template <typename T> struct GatherTokens {
    Neighbourhoods neighbourhoods;
    int64_t size;
    const T* nodes;
    const T* edges;
    T* tokens;

    template <int W> ASE_MLIP_ALWAYS_INLINE void operator()(simd::Width<W> /*width*/) const {
        for (int64_t node = 0; node < neighbourhoods.count; ++node) {
            T* row = tokens + neighbourhoods.first_row(node) * size;
            const T* first = edges + neighbourhoods.first_edge(node) * size;
            std::copy(nodes + node * size, nodes + (node + 1) * size, row);
            std::copy(first, first + neighbourhoods.edges(node) * size, row + size);
        }
    }
};

template <typename T> struct NormTokens {
    Neighbourhoods neighbourhoods;
    RMSNorm<T> norm;
    const T* nodes;
    const T* edges;
    T* tokens;

    template <int W> ASE_MLIP_ALWAYS_INLINE void operator()(simd::Width<W> width) const {
        for (int64_t node = 0; node < neighbourhoods.count; ++node) {
            T* row = tokens + neighbourhoods.first_row(node) * norm.size;
            const T* first = edges + neighbourhoods.first_edge(node) * norm.size;
            norm.template forward<W>(nodes + node * norm.size, row);
            NormRows<T>{norm, neighbourhoods.edges(node), first, row + norm.size}(width);
        }
    }
};

/// Gradients by nodes, and by edges on top of what these were `given`.
template <typename T> struct NormTokensBackward {
    Neighbourhoods neighbourhoods;
    RMSNorm<T> norm;
    const T* nodes;
    const T* edges;
    const T* d_tokens;
    const T* given_edges;
    T* d_nodes;
    T* d_edges;

    template <int W> ASE_MLIP_ALWAYS_INLINE void operator()(simd::Width<W> width) const {
        for (int64_t node = 0; node < neighbourhoods.count; ++node) {
            const T* row = d_tokens + neighbourhoods.first_row(node) * norm.size;
            const int64_t first = neighbourhoods.first_edge(node) * norm.size, own = node * norm.size;
            norm.template backward<W>(nodes + own, row, nullptr, d_nodes + own);
            NormRowsBackward<T>{norm,
                                neighbourhoods.edges(node),
                                edges + first,
                                row + norm.size,
                                given_edges + first,
                                d_edges + first}(width);
        }
    }
};

/// New nodes are their tokens; new edges are the old ones plus their tokens.
template <typename T> struct ScatterTokens {
    Neighbourhoods neighbourhoods;
    int64_t size;
    const T* tokens;
    const T* edges;
    T* new_nodes;
    T* new_edges;

    template <int W> ASE_MLIP_ALWAYS_INLINE void operator()(simd::Width<W> width) const {
        for (int64_t node = 0; node < neighbourhoods.count; ++node) {
            const T* row = tokens + neighbourhoods.first_row(node) * size;
            const int64_t first = neighbourhoods.first_edge(node) * size;
            std::copy(row, row + size, new_nodes + node * size);
            Add<T>{neighbourhoods.edges(node) * size, edges + first, row + size, new_edges + first}(width);
        }
    }
};

} // namespace ase_mlip::cpu
