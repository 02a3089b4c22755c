// Stands in for cuda_build.cu where nvcc has compiled nothing, so that callers carry no #ifdef.
#include "cuda_build.h"

namespace ase_mlip::cuda {

bool fits(c10::DeviceIndex) { return false; }
Build build() { return {}; }

} // namespace ase_mlip::cuda
