#pragma once
// Whether an argument of an operator is the tensor that it has to be.

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

namespace ase_mlip {

/// Throws c10::Error unless the argument `name` has this shape and dtype.
inline void check_tensor(const at::Tensor& tensor, const char* name, at::IntArrayRef shape,
                         at::ScalarType dtype) {
    TORCH_CHECK(tensor.sizes() == shape && tensor.scalar_type() == dtype, "`", name, "` must have shape ",
                shape, " and dtype ", dtype, ", got ", tensor.sizes(), " and ", tensor.scalar_type());
}

/// The same of one whose memory is read as it lies.
inline void check_contiguous(const at::Tensor& tensor, const char* name, at::IntArrayRef shape,
                             at::ScalarType dtype) {
    TORCH_CHECK(tensor.sizes() == shape && tensor.scalar_type() == dtype && tensor.is_contiguous(), "`", name,
                "` must be contiguous with shape ", shape, " and dtype ", dtype, ", got ", tensor.sizes(),
                " and ", tensor.scalar_type());
}

} // namespace ase_mlip
