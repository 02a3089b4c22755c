#pragma once
// How far atoms are from a model's training data, by the features of its network.

#include "../both_sides/evaluator.h"

#include <ATen/core/Tensor.h>

#include <vector>

namespace mlip {

class FeatureLeverage {
  public:
    FeatureLeverage(const LeverageTables& tables, at::Device device);

    /// features [N, F], species int64 [N]: float64 [N]; infinite for elements that the data do not hold.
    at::Tensor operator()(const at::Tensor& features, const at::Tensor& species) const;

  private:
    double scale_;
    at::Tensor block_of_;               // int64 [119]
    std::vector<at::Tensor> whitening_; // of each block, transposed: [F, F]
};

} // namespace mlip
