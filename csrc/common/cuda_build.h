#pragma once
// What nvcc compiled, if it did.

#include <c10/core/Device.h>

#include <string>
#include <vector>

namespace ase_mlip::cuda {

/// Whether the kernels were compiled, and for this GPU; else the composed operators are taken.
bool fits(c10::DeviceIndex device);

/// What they were compiled by and for; nothing if they were not.
struct Build {
    std::string nvcc;                   // version
    std::vector<int64_t> architectures; // compute capabilities, 90 is 9.0
};
Build build();

} // namespace ase_mlip::cuda
