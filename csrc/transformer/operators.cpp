// The operators torch.ops.ase_mlip.attention_block and feedforward_block: a transformer layer for evaluation
// on a CPU. Their gradient is by the tokens only, and only once; training takes torch's own operators.

#include "kernels.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

namespace ase_mlip {
namespace {

using at::Tensor;
using cpu::AttentionInputs;
using cpu::BlockWeights;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// ---- checks

void check_matrix(const Tensor& tensor, const char* name, int64_t rows, int64_t columns) {
    TORCH_CHECK(tensor.dim() == 2 && tensor.size(0) == rows && tensor.size(1) == columns, "`", name,
                "` must have shape [", rows, ", ", columns, "], got ", tensor.sizes());
}

void check_vector(const Tensor& tensor, const char* name, int64_t length) {
    TORCH_CHECK(tensor.dim() == 1 && tensor.size(0) == length, "`", name, "` must have shape [", length,
                "], got ", tensor.sizes());
}

void check_dtype(const Tensor& tensor, const char* name, const Tensor& tokens) {
    TORCH_CHECK(tensor.scalar_type() == tokens.scalar_type(), "`", name,
                "` must have the dtype of the tokens, ", tokens.scalar_type(), ", got ",
                tensor.scalar_type());
}

void check_weights(const BlockWeights& weights, const Tensor& tokens, int64_t entered, int64_t left) {
    TORCH_CHECK(tokens.dim() == 2, "tokens must have shape [n, size], got ", tokens.sizes());
    const int64_t size = tokens.size(1);
    check_vector(weights.norm, "norm", size);
    check_matrix(weights.enter_weight, "enter_weight", entered, size);
    check_vector(weights.enter_bias, "enter_bias", entered);
    check_matrix(weights.leave_weight, "leave_weight", size, left);
    check_vector(weights.leave_bias, "leave_bias", size);
    for (const Tensor* tensor : {&weights.norm, &weights.enter_weight, &weights.enter_bias,
                                 &weights.leave_weight, &weights.leave_bias}) {
        check_dtype(*tensor, "weights", tokens);
    }
}

void check_starts(const Tensor& starts, int64_t nodes, int64_t edges) {
    check_vector(starts, "starts", nodes + 1);
    TORCH_CHECK(starts.scalar_type() == at::kLong, "`starts` must have dtype int64, got ",
                starts.scalar_type());
    const int64_t* first = starts.const_data_ptr<int64_t>();
    for (int64_t n = 0; n < nodes; ++n) {
        TORCH_CHECK(first[n] <= first[n + 1], "`starts` must not decrease, got ", first[n], " before ",
                    first[n + 1]);
    }
    TORCH_CHECK(first[0] == 0 && first[nodes] == edges, "`starts` must run from 0 to the number of edges, ",
                edges, ", got ", first[0], " to ", first[nodes]);
}

void check_attention(const AttentionInputs& inputs, const BlockWeights& weights) {
    TORCH_CHECK(inputs.nodes.dim() == 2, "`nodes` must have shape [n, size], got ", inputs.nodes.sizes());
    TORCH_CHECK(inputs.edges.dim() == 2, "`edges` must have shape [n, size], got ", inputs.edges.sizes());
    const int64_t size = inputs.nodes.size(1);
    check_weights(weights, inputs.nodes, 3 * size, size);
    check_matrix(inputs.edges, "edges", inputs.edges.size(0), inputs.nodes.size(1));
    check_vector(inputs.log_weights, "log_weights", inputs.edges.size(0));
    check_dtype(inputs.edges, "edges", inputs.nodes);
    check_dtype(inputs.log_weights, "log_weights", inputs.nodes);
    check_starts(inputs.starts, inputs.nodes.size(0), inputs.edges.size(0));
    TORCH_CHECK(inputs.heads > 0 && size % inputs.heads == 0, "`heads` must divide the size of a token, ",
                size, ", got ", inputs.heads);
}

// ---- derivatives

/// Refuses what these operators have no gradient for, instead of leaving it out.
void check_wanted(AutogradContext* context, int64_t first_weight) {
    TORCH_CHECK(!at::GradMode::is_enabled(), "second derivatives in evaluation mode: expected a module in "
                                             "training mode; call `.train()` first");
    for (int64_t k = first_weight; k < first_weight + 5; ++k) {
        TORCH_CHECK(!context->needs_input_grad(k), "gradients by the weights in evaluation mode: expected a "
                                                   "module in training mode; call `.train()` first");
    }
}

variable_list with_weights(const Tensor& first, const BlockWeights& weights) {
    return {first,
            weights.norm,
            weights.enter_weight,
            weights.enter_bias,
            weights.leave_weight,
            weights.leave_bias};
}

struct AttentionBlock : torch::autograd::Function<AttentionBlock> {
    static variable_list forward(AutogradContext* context, const Tensor& nodes, const Tensor& edges,
                                 const Tensor& log_weights, const Tensor& starts, const Tensor& norm,
                                 const Tensor& enter_weight, const Tensor& enter_bias,
                                 const Tensor& leave_weight, const Tensor& leave_bias, int64_t heads,
                                 double scale, double eps) {
        const AttentionInputs inputs{nodes.contiguous(),
                                     edges.contiguous(),
                                     log_weights.contiguous(),
                                     starts.contiguous(),
                                     heads,
                                     scale};
        const BlockWeights weights{norm.contiguous(),       enter_weight.contiguous(),
                                   enter_bias.contiguous(), leave_weight.contiguous(),
                                   leave_bias.contiguous(), eps};
        check_attention(inputs, weights);
        const auto [new_nodes, new_edges] = cpu::attention_forward(inputs, weights);
        variable_list saved = with_weights(inputs.nodes, weights);
        saved.insert(saved.end(), {inputs.edges, inputs.log_weights, inputs.starts});
        context->save_for_backward(saved);
        context->saved_data["heads"] = heads;
        context->saved_data["scale"] = scale;
        context->saved_data["eps"] = eps;
        return {new_nodes, new_edges};
    }

    static variable_list backward(AutogradContext* context, variable_list outputs) {
        check_wanted(context, 4);
        const variable_list saved = context->get_saved_variables();
        const AttentionInputs inputs{saved[0],
                                     saved[6],
                                     saved[7],
                                     saved[8],
                                     context->saved_data["heads"].toInt(),
                                     context->saved_data["scale"].toDouble()};
        const BlockWeights weights{saved[1], saved[2], saved[3],
                                   saved[4], saved[5], context->saved_data["eps"].toDouble()};
        const auto [nodes, edges, log_weights] =
            cpu::attention_backward(inputs, weights, outputs[0].contiguous(), outputs[1].contiguous());
        variable_list gradients{nodes, edges, log_weights};
        gradients.resize(12);
        return gradients;
    }
};

struct FeedforwardBlock : torch::autograd::Function<FeedforwardBlock> {
    static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& norm,
                          const Tensor& enter_weight, const Tensor& enter_bias, const Tensor& leave_weight,
                          const Tensor& leave_bias, double eps) {
        const BlockWeights weights{norm.contiguous(),       enter_weight.contiguous(),
                                   enter_bias.contiguous(), leave_weight.contiguous(),
                                   leave_bias.contiguous(), eps};
        const Tensor in = x.contiguous();
        check_weights(weights, in, 2 * leave_weight.size(-1), leave_weight.size(-1));
        context->save_for_backward(with_weights(in, weights));
        context->saved_data["eps"] = eps;
        return cpu::feedforward_forward(in, weights);
    }

    static variable_list backward(AutogradContext* context, variable_list outputs) {
        check_wanted(context, 1);
        const variable_list saved = context->get_saved_variables();
        const BlockWeights weights{saved[1], saved[2], saved[3],
                                   saved[4], saved[5], context->saved_data["eps"].toDouble()};
        variable_list gradients{cpu::feedforward_backward(saved[0], weights, outputs[0].contiguous())};
        gradients.resize(7);
        return gradients;
    }
};

std::tuple<Tensor, Tensor> attention_block(const Tensor& nodes, const Tensor& edges,
                                           const Tensor& log_weights, const Tensor& starts,
                                           const Tensor& norm, const Tensor& enter_weight,
                                           const Tensor& enter_bias, const Tensor& leave_weight,
                                           const Tensor& leave_bias, int64_t heads, double scale,
                                           double eps) {
    const variable_list out = AttentionBlock::apply(nodes, edges, log_weights, starts, norm, enter_weight,
                                                    enter_bias, leave_weight, leave_bias, heads, scale, eps);
    return {out[0], out[1]};
}

Tensor feedforward_block(const Tensor& x, const Tensor& norm, const Tensor& enter_weight,
                         const Tensor& enter_bias, const Tensor& leave_weight, const Tensor& leave_bias,
                         double eps) {
    return FeedforwardBlock::apply(x, norm, enter_weight, enter_bias, leave_weight, leave_bias, eps);
}

} // namespace

TORCH_LIBRARY_FRAGMENT(ase_mlip, library) {
    library.def("attention_block(Tensor nodes, Tensor edges, Tensor log_weights, Tensor starts, Tensor norm, "
                "Tensor enter_weight, Tensor enter_bias, Tensor leave_weight, Tensor leave_bias, int heads, "
                "float scale, float eps) -> (Tensor, Tensor)");
    library.def("feedforward_block(Tensor x, Tensor norm, Tensor enter_weight, Tensor enter_bias, "
                "Tensor leave_weight, Tensor leave_bias, float eps) -> Tensor");
}

TORCH_LIBRARY_IMPL(ase_mlip, CPU, library) {
    library.impl("attention_block", attention_block);
    library.impl("feedforward_block", feedforward_block);
}

TORCH_LIBRARY_IMPL(ase_mlip, AutogradCPU, library) {
    library.impl("attention_block", attention_block);
    library.impl("feedforward_block", feedforward_block);
}

} // namespace ase_mlip
