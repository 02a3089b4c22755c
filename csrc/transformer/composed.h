#pragma once
// The blocks of a transformer layer composed of torch's own operators, as in graph/composed.h.

#include "kernels.h"

namespace ase_mlip::composed {

/// Waits for the device once, for the largest neighbourhood. The networks of this package do not call it on a
/// GPU: they lay the tokens of all layers out together.
std::tuple<at::Tensor, at::Tensor> attention(const cpu::AttentionInputs& inputs,
                                             const cpu::BlockWeights& weights);
at::Tensor feedforward(const at::Tensor& x, const cpu::BlockWeights& weights);

} // namespace ase_mlip::composed
