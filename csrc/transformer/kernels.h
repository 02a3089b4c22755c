#pragma once
// The two residual blocks of a transformer layer on a CPU, evaluated in cache-sized pieces. The gradients
// evaluate the pieces anew instead of keeping what is between input and output: that costs little more than
// the memory traffic it saves, and a large system takes an eighth of the memory.

#include <ATen/core/Tensor.h>

#include <tuple>

namespace ase_mlip::cpu {

/// RMSNorm, then a linear map in and one out; what stands between them is the block's own.
struct BlockWeights {
    at::Tensor norm;                     // [d]
    at::Tensor enter_weight, enter_bias; // [h, d], [h]
    at::Tensor leave_weight, leave_bias; // [d, h'], [d]
    double eps;
};

struct AttentionInputs {
    at::Tensor nodes, edges; // [B, d], [E, d]
    at::Tensor log_weights;  // [E], logarithm of the cutoff weight
    at::Tensor starts;       // int64 [B + 1], first edge of each node; the last is E
    int64_t heads;
    double scale;
};

/// Tokens [B, d] of the nodes (no residual) and [E, d] of the edges (with it).
std::tuple<at::Tensor, at::Tensor> attention_forward(const AttentionInputs& inputs,
                                                     const BlockWeights& weights);

/// Gradients by nodes, edges and log weights of those by the two outputs.
std::tuple<at::Tensor, at::Tensor, at::Tensor> attention_backward(const AttentionInputs& inputs,
                                                                  const BlockWeights& weights,
                                                                  const at::Tensor& d_nodes,
                                                                  const at::Tensor& d_edges);

/// x + leave(SwiGLU(enter(RMSNorm(x)))), [n, d]
at::Tensor feedforward_forward(const at::Tensor& x, const BlockWeights& weights);

at::Tensor feedforward_backward(const at::Tensor& x, const BlockWeights& weights, const at::Tensor& d_y);

} // namespace ase_mlip::cpu
