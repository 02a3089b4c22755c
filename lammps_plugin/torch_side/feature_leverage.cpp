#include "feature_leverage.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <limits>

namespace mlip {

FeatureLeverage::FeatureLeverage(const LeverageTables& tables, at::Device device)
    : scale_(tables.scale),
      block_of_(at::tensor(at::ArrayRef<int64_t>(tables.block_of), at::kLong).to(device)) {
    const int64_t entries = tables.size * tables.size;
    for (size_t begin = 0; begin < tables.whitening.size(); begin += entries) {
        const at::Tensor matrix = at::empty({tables.size, tables.size}, at::kDouble);
        std::copy_n(tables.whitening.begin() + static_cast<ptrdiff_t>(begin), entries,
                    matrix.data_ptr<double>());
        whitening_.push_back(matrix.to(device).t());
    }
}

at::Tensor FeatureLeverage::operator()(const at::Tensor& features, const at::Tensor& species) const {
    const at::Tensor rows = features.to(at::kDouble), blocks = block_of_.index_select(0, species);
    at::Tensor found = at::full({rows.size(0)}, std::numeric_limits<double>::infinity(), rows.options());
    for (size_t block = 0; block < whitening_.size(); ++block) {
        const at::Tensor own = blocks.eq(static_cast<int64_t>(block)).nonzero().squeeze(1);
        const at::Tensor white = at::matmul(rows.index_select(0, own), whitening_[block]);
        found = found.index_copy(0, own, white.square().sum(1) / scale_);
    }
    return found;
}

} // namespace mlip
