// The operators torch.ops.ase_mlip.* of no family: the allocator, threads, and what was built.

#include "allocator.h"
#include "cuda_build.h"
#include "thread_limit.h"
#include "version.h"

#include <torch/library.h>

#include <atomic>
#include <tuple>

namespace ase_mlip {
namespace {

/// An OpenMP run time that cannot make a thread ends the process, so it is tried before one is asked for.
void require_threads(int64_t count) {
    static std::atomic<int64_t> proven{1};
    if (count > proven) {
        try_threads(count);
        proven = count;
    }
}

int64_t schema_version() { return kSchemaVersion; }

/// nvcc's version and the architectures the kernels were compiled for; "" and none without.
std::tuple<std::string, std::vector<int64_t>> cuda_build() {
    cuda::Build build = cuda::build();
    return {build.nvcc, build.architectures};
}

bool cuda_kernels_fit(int64_t device) { return cuda::fits(static_cast<c10::DeviceIndex>(device)); }

} // namespace

TORCH_LIBRARY(ase_mlip, library) {
    library.def("tune_allocator(int mmap_threshold, int trim_threshold) -> bool", tune_allocator);
    library.def("require_threads(int count) -> ()", require_threads);
    library.def("schema_version() -> int", schema_version);
    library.def("cuda_build() -> (str, int[])", cuda_build);
    library.def("cuda_kernels_fit(int device) -> bool", cuda_kernels_fit);
}

} // namespace ase_mlip
