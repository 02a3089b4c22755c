#include "kernels.h"

#include "../common/parallel.h"
#include "products.h"
#include "tokens.h"

#include <ATen/Dispatch.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>

#include <optional>
#include <vector>

namespace ase_mlip::cpu {
namespace {

using at::Tensor;

constexpr int64_t kRowsPerPiece = 512; // a piece's widest table stays in the second-level cache

/// x W^T + bias of a linear map, or, for its gradient by x, x W. Our own product where it is the faster one,
/// torch's elsewhere: its library may know instructions for which these sources are not compiled.
template <typename T> struct Map {
    Tensor weight, bias; // [n, k], [n]; no bias for the gradient
    std::optional<Panels<T>> panels;

    static Map forward(const Tensor& weight, const Tensor& bias) {
        const int64_t n = weight.size(0), k = weight.size(1);
        Map map{weight, bias, std::nullopt};
        if (simd::instructions() >= 256) {
            map.panels.emplace(k, n, weight.const_data_ptr<T>(), 1, k, bias.const_data_ptr<T>());
        }
        return map;
    }
    static Map gradient(const Tensor& weight) {
        const int64_t n = weight.size(0), k = weight.size(1);
        Map map{weight, Tensor(), std::nullopt};
        if (simd::instructions() >= 256) {
            map.panels.emplace(n, k, weight.const_data_ptr<T>(), k, 1, nullptr);
        }
        return map;
    }

    Tensor operator()(const Tensor& x) const {
        if (!panels) {
            return bias.defined() ? at::addmm(bias, x, weight.t()) : at::mm(x, weight);
        }
        Tensor y = at::empty({x.size(0), panels->n}, x.options());
        simd::run(Product<T>{x.size(0), x.const_data_ptr<T>(), &*panels, y.data_ptr<T>()});
        return y;
    }
};

/// Both linear maps of a block, or their gradients.
template <typename T> struct Maps {
    Map<T> enter, leave;

    static Maps forward(const BlockWeights& weights) {
        return {Map<T>::forward(weights.enter_weight, weights.enter_bias),
                Map<T>::forward(weights.leave_weight, weights.leave_bias)};
    }
    static Maps gradients(const BlockWeights& weights) {
        return {Map<T>::gradient(weights.enter_weight), Map<T>::gradient(weights.leave_weight)};
    }
};

/// Calls f(piece) for every piece, several at a time; f may call operators of torch.
template <typename F> void in_parallel(int64_t pieces, const F& f) {
    parallel_for(pieces, 1, [&](int64_t begin, int64_t end) {
        const at::AutoDispatchBelowADInplaceOrView no_autograd;
        for (int64_t piece = begin; piece < end; ++piece) {
            f(piece);
        }
    });
}

template <typename T> RMSNorm<T> norm_of(const BlockWeights& weights) {
    return {weights.norm.size(0), weights.eps, weights.norm.const_data_ptr<T>()};
}

/// Nodes whose neighbourhoods are worked through together, and their edges.
struct Piece {
    int64_t node, nodes, edge, edges;
    const int64_t* starts;

    int64_t rows() const { return nodes + edges; }
    Neighbourhoods neighbourhoods() const { return {nodes, starts + node}; }
    template <typename T> const T* of_nodes(const Tensor& x) const {
        return x.const_data_ptr<T>() + node * x.size(1);
    }
    template <typename T> const T* of_edges(const Tensor& x) const {
        return x.const_data_ptr<T>() + edge * x.size(1);
    }
    template <typename T> T* of_nodes(Tensor& x) const { return x.data_ptr<T>() + node * x.size(1); }
    template <typename T> T* of_edges(Tensor& x) const { return x.data_ptr<T>() + edge * x.size(1); }
};

std::vector<Piece> pieces_of(const Tensor& starts) {
    const int64_t* first = starts.const_data_ptr<int64_t>();
    const int64_t n = starts.size(0) - 1;
    std::vector<Piece> pieces;
    for (int64_t begin = 0; begin < n;) {
        int64_t end = begin + 1;
        while (end < n && first[end + 1] - first[begin] + end - begin < kRowsPerPiece) {
            ++end;
        }
        pieces.push_back({begin, end - begin, first[begin], first[end] - first[begin], first});
        begin = end;
    }
    return pieces;
}

template <typename T>
Tensor project(const Piece& piece, const AttentionInputs& inputs, const BlockWeights& weights,
               const Map<T>& enter) {
    Tensor normed = at::empty({piece.rows(), inputs.nodes.size(1)}, inputs.nodes.options());
    simd::run(NormTokens<T>{piece.neighbourhoods(), norm_of<T>(weights), piece.of_nodes<T>(inputs.nodes),
                            piece.of_edges<T>(inputs.edges), normed.data_ptr<T>()});
    return enter(normed);
}

template <typename T>
AttentionForward<T> attention(const Piece& piece, const AttentionInputs& inputs, const Tensor& projected,
                              T* mixed, AttentionTables<T>& tables) {
    return {piece.neighbourhoods(),
            inputs.nodes.size(1),
            inputs.heads,
            T(inputs.scale),
            projected.const_data_ptr<T>(),
            inputs.log_weights.const_data_ptr<T>() + piece.edge,
            mixed,
            &tables};
}

template <typename T> AttentionTables<T> tables_for(const Piece& piece, const AttentionInputs& inputs) {
    return {inputs.nodes.size(1) / inputs.heads, piece.neighbourhoods().most_tokens()};
}

template <typename T>
void attend(const Piece& piece, const AttentionInputs& inputs, const BlockWeights& weights,
            const Maps<T>& maps, Tensor& new_nodes, Tensor& new_edges) {
    const int64_t size = inputs.nodes.size(1);
    const Tensor projected = project(piece, inputs, weights, maps.enter);
    AttentionTables<T> tables = tables_for<T>(piece, inputs);
    Tensor mixed = at::empty({piece.rows(), size}, projected.options());
    simd::run(attention(piece, inputs, projected, mixed.data_ptr<T>(), tables));
    const Tensor out = maps.leave(mixed);
    simd::run(ScatterTokens<T>{piece.neighbourhoods(), size, out.const_data_ptr<T>(),
                               piece.of_edges<T>(inputs.edges), piece.of_nodes<T>(new_nodes),
                               piece.of_edges<T>(new_edges)});
}

struct AttentionGradients {
    Tensor nodes, edges, log_weights;
};

template <typename T>
void attend_backward(const Piece& piece, const AttentionInputs& inputs, const BlockWeights& weights,
                     const Map<T>& enter, const Maps<T>& gradients, const AttentionGradients& given,
                     AttentionGradients& found) {
    const int64_t size = inputs.nodes.size(1);
    const Tensor projected = project(piece, inputs, weights, enter);
    Tensor d_out = at::empty({piece.rows(), size}, projected.options());
    simd::run(GatherTokens<T>{piece.neighbourhoods(), size, piece.of_nodes<T>(given.nodes),
                              piece.of_edges<T>(given.edges), d_out.data_ptr<T>()});
    const Tensor d_mixed = gradients.leave(d_out);
    Tensor d_projected = at::empty_like(projected);
    AttentionTables<T> tables = tables_for<T>(piece, inputs);
    simd::run(AttentionBackward<T>{attention<T>(piece, inputs, projected, nullptr, tables),
                                   d_mixed.const_data_ptr<T>(), d_projected.data_ptr<T>(),
                                   found.log_weights.data_ptr<T>() + piece.edge});
    const Tensor d_normed = gradients.enter(d_projected);
    simd::run(NormTokensBackward<T>{piece.neighbourhoods(), norm_of<T>(weights),
                                    piece.of_nodes<T>(inputs.nodes), piece.of_edges<T>(inputs.edges),
                                    d_normed.const_data_ptr<T>(), piece.of_edges<T>(given.edges),
                                    piece.of_nodes<T>(found.nodes), piece.of_edges<T>(found.edges)});
}

int64_t pieces_of_rows(const Tensor& x) { return (x.size(0) + kRowsPerPiece - 1) / kRowsPerPiece; }

Tensor piece_of_rows(const Tensor& x, int64_t piece) {
    const int64_t begin = piece * kRowsPerPiece;
    return x.narrow(0, begin, std::min(kRowsPerPiece, x.size(0) - begin));
}

template <typename T> Tensor expand(const Tensor& x, const BlockWeights& weights, const Map<T>& enter) {
    Tensor normed = at::empty_like(x);
    simd::run(NormRows<T>{norm_of<T>(weights), x.size(0), x.const_data_ptr<T>(), normed.data_ptr<T>()});
    return enter(normed);
}

} // namespace

std::tuple<Tensor, Tensor> attention_forward(const AttentionInputs& inputs, const BlockWeights& weights) {
    Tensor nodes = at::empty_like(inputs.nodes), edges = at::empty_like(inputs.edges);
    const std::vector<Piece> pieces = pieces_of(inputs.starts);
    AT_DISPATCH_FLOATING_TYPES(nodes.scalar_type(), "attention_block", [&] {
        const auto maps = Maps<scalar_t>::forward(weights);
        in_parallel(int64_t(pieces.size()),
                    [&](int64_t n) { attend(pieces[n], inputs, weights, maps, nodes, edges); });
    });
    return {nodes, edges};
}

std::tuple<Tensor, Tensor, Tensor> attention_backward(const AttentionInputs& inputs,
                                                      const BlockWeights& weights, const Tensor& d_nodes,
                                                      const Tensor& d_edges) {
    const AttentionGradients given{d_nodes, d_edges, Tensor()};
    AttentionGradients found{at::empty_like(inputs.nodes), at::empty_like(inputs.edges),
                             at::empty_like(inputs.log_weights)};
    const std::vector<Piece> pieces = pieces_of(inputs.starts);
    AT_DISPATCH_FLOATING_TYPES(d_nodes.scalar_type(), "attention_block", [&] {
        const auto enter = Map<scalar_t>::forward(weights.enter_weight, weights.enter_bias);
        const auto gradients = Maps<scalar_t>::gradients(weights);
        in_parallel(int64_t(pieces.size()), [&](int64_t n) {
            attend_backward(pieces[n], inputs, weights, enter, gradients, given, found);
        });
    });
    return {found.nodes, found.edges, found.log_weights};
}

Tensor feedforward_forward(const Tensor& x, const BlockWeights& weights) {
    Tensor y = at::empty_like(x);
    const int64_t width = weights.leave_weight.size(1);
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "feedforward_block", [&] {
        const auto maps = Maps<scalar_t>::forward(weights);
        in_parallel(pieces_of_rows(x), [&](int64_t n) {
            const Tensor in = piece_of_rows(x, n);
            const Tensor hidden = expand(in, weights, maps.enter);
            Tensor gated = at::empty({in.size(0), width}, x.options());
            simd::run(SwiGLUForward<scalar_t>{in.size(0), width, hidden.const_data_ptr<scalar_t>(),
                                              gated.data_ptr<scalar_t>()});
            const Tensor out = maps.leave(gated);
            simd::run(Add<scalar_t>{in.numel(), in.const_data_ptr<scalar_t>(), out.const_data_ptr<scalar_t>(),
                                    piece_of_rows(y, n).data_ptr<scalar_t>()});
        });
    });
    return y;
}

Tensor feedforward_backward(const Tensor& x, const BlockWeights& weights, const Tensor& d_y) {
    Tensor d_x = at::empty_like(x);
    const int64_t width = weights.leave_weight.size(1);
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "feedforward_block", [&] {
        const auto enter = Map<scalar_t>::forward(weights.enter_weight, weights.enter_bias);
        const auto gradients = Maps<scalar_t>::gradients(weights);
        in_parallel(pieces_of_rows(x), [&](int64_t n) {
            const Tensor in = piece_of_rows(x, n), given = piece_of_rows(d_y, n);
            const Tensor hidden = expand(in, weights, enter);
            const Tensor d_gated = gradients.leave(given);
            Tensor d_hidden = at::empty_like(hidden);
            simd::run(SwiGLUBackward<scalar_t>{in.size(0), width, hidden.const_data_ptr<scalar_t>(),
                                               d_gated.const_data_ptr<scalar_t>(),
                                               d_hidden.data_ptr<scalar_t>()});
            const Tensor d_normed = gradients.enter(d_hidden);
            simd::run(NormRowsBackward<scalar_t>{
                norm_of<scalar_t>(weights), in.size(0), in.const_data_ptr<scalar_t>(),
                d_normed.const_data_ptr<scalar_t>(), given.const_data_ptr<scalar_t>(),
                piece_of_rows(d_x, n).data_ptr<scalar_t>()});
        });
    });
    return d_x;
}

} // namespace ase_mlip::cpu
