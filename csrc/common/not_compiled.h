#pragma once
// What a stub does in the place of a kernel. Nobody calls one: the kernels then fit no GPU.

#include <c10/util/Exception.h>

namespace ase_mlip::cuda {

[[noreturn]] inline void not_compiled() {
    TORCH_CHECK(false, "the CUDA kernels of `ase_mlip` were not compiled; `ase-mlip doctor` says why");
}

} // namespace ase_mlip::cuda
