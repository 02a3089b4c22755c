// The blocks of a transformer layer, composed of torch's own operators: see composed.h.

#include "composed.h"

#include <ATen/ATen.h>
#include <torch/library.h>

#include <limits>

namespace ase_mlip {
namespace composed {
namespace {

using at::Tensor;

Tensor normed(const Tensor& x, const cpu::BlockWeights& weights) {
    return x * at::rsqrt((x * x).mean(-1, true) + weights.eps) * weights.norm;
}

} // namespace

std::tuple<Tensor, Tensor> attention(const cpu::AttentionInputs& inputs, const cpu::BlockWeights& weights) {
    const int64_t nodes = inputs.nodes.size(0), edges = inputs.edges.size(0), size = inputs.nodes.size(1);
    if (nodes == 0) {
        return {inputs.nodes, inputs.edges};
    }
    const Tensor counts = inputs.starts.diff();
    const int64_t width = counts.max().item<int64_t>() + 1, heads = inputs.heads;
    const Tensor numbers = at::arange(nodes, inputs.starts.options());
    const Tensor centres = at::repeat_interleave(numbers, counts, 0, edges);
    const Tensor rank =
        at::arange(edges, inputs.starts.options()) - inputs.starts.index_select(0, centres) + 1;
    const Tensor slots = at::cat({numbers * width, centres * width + rank});
    const Tensor tokens = normed(at::cat({inputs.nodes, inputs.edges}), weights);
    const Tensor projected = at::linear(tokens, weights.enter_weight, weights.enter_bias);
    const Tensor table = at::zeros({nodes * width, 3 * size}, projected.options())
                             .index_copy(0, slots, projected)
                             .view({nodes, width, 3, heads, size / heads})
                             .permute({2, 0, 3, 1, 4}); // [3, nodes, heads, width, size / heads]
    const double nothing = -std::numeric_limits<double>::infinity();
    const Tensor own = at::zeros({nodes}, inputs.log_weights.options());
    const Tensor bias = at::full({nodes * width}, nothing, inputs.log_weights.options())
                            .index_copy(0, slots, at::cat({own, inputs.log_weights}))
                            .view({nodes, 1, 1, width});
    const Tensor scores = at::matmul(table[0], table[1].transpose(-1, -2)) * inputs.scale + bias;
    const Tensor mixed =
        at::matmul(at::softmax(scores, -1), table[2]).transpose(1, 2).reshape({nodes * width, size});
    const Tensor left = at::linear(mixed.index_select(0, slots), weights.leave_weight, weights.leave_bias);
    return {left.narrow(0, 0, nodes), inputs.edges + left.narrow(0, nodes, edges)};
}

Tensor feedforward(const Tensor& x, const cpu::BlockWeights& weights) {
    const Tensor entered = at::linear(normed(x, weights), weights.enter_weight, weights.enter_bias);
    return x + at::linear(at::glu(entered, -1), weights.leave_weight, weights.leave_bias);
}

} // namespace composed

namespace {

using at::Tensor;

std::tuple<Tensor, Tensor> attention_block(const Tensor& nodes, const Tensor& edges,
                                           const Tensor& log_weights, const Tensor& starts,
                                           const Tensor& norm, const Tensor& enter_weight,
                                           const Tensor& enter_bias, const Tensor& leave_weight,
                                           const Tensor& leave_bias, int64_t heads, double scale,
                                           double eps) {
    return composed::attention({nodes, edges, log_weights, starts, heads, scale},
                               {norm, enter_weight, enter_bias, leave_weight, leave_bias, eps});
}

Tensor feedforward_block(const Tensor& x, const Tensor& norm, const Tensor& enter_weight,
                         const Tensor& enter_bias, const Tensor& leave_weight, const Tensor& leave_bias,
                         double eps) {
    return composed::feedforward(x, {norm, enter_weight, enter_bias, leave_weight, leave_bias, eps});
}

void register_tokens(torch::Library& library) {
    library.impl("attention_block", attention_block);
    library.impl("feedforward_block", feedforward_block);
}

} // namespace

TORCH_LIBRARY_FRAGMENT(ase_mlip_composed, library) {
    library.def("attention_block", attention_block);
    library.def("feedforward_block", feedforward_block);
}

TORCH_LIBRARY_IMPL(ase_mlip, CUDA, library) { register_tokens(library); } // there is no kernel

TORCH_LIBRARY_IMPL(ase_mlip, AutogradCUDA, library) { register_tokens(library); }

} // namespace ase_mlip
