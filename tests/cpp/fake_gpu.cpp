// A libtorch that says there is one GPU, which nothing can be put on: as with a broken driver. Preloaded into
// one rank, it makes the ranks see different devices (tests/lammps/test_devices.py).

#include <ATen/detail/CUDAHooksInterface.h>

namespace at {

struct OneBrokenGPU : CUDAHooksInterface {
    explicit OneBrokenGPU(CUDAHooksArgs) {}
    void init() const override {}
    bool hasCUDA() const override { return true; }
    int deviceCount() const override { return 1; }
};

REGISTER_CUDA_HOOKS(OneBrokenGPU)

} // namespace at
