// A libtorch that says there is one GPU, which nothing can be put on: as with a broken driver. Preloaded into
// one rank, it makes the ranks see different devices (tests/lammps/test_devices.py).

#include <ATen/detail/CUDAHooksInterface.h>

#include <utility>

namespace at {

// the name is the key that libtorch looks for
struct CUDAHooks : CUDAHooksInterface {
    explicit CUDAHooks(CUDAHooksArgs) {}
    void init() const override {}
    bool hasCUDA() const override { return true; }
    // whose type differs between releases of torch
    decltype(std::declval<const CUDAHooksInterface&>().deviceCount()) deviceCount() const override {
        return 1;
    }
};

REGISTER_CUDA_HOOKS(CUDAHooks)

} // namespace at
