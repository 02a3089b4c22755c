#include "formulas.h"
#include "kernels.h"

#include <ATen/Dispatch.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <algorithm>

namespace ase_mlip::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMaxBlocks = 65535;

int blocks_for(int64_t work) {
    return static_cast<int>(std::min<int64_t>((work + kThreads - 1) / kThreads, kMaxBlocks));
}

// Atomic additions: the order of a row's sum, and with it the last bits, may change from run to run.
template <typename T, typename Term>
__global__ void sum_over_edges(Term term, const int64_t* centres, const int64_t* neighbours, int64_t n_edges,
                               int64_t n_rows, T* rows) {
    const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
    for (int64_t n = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x; n < n_edges * Term::width;
         n += step) {
        const int64_t edge = n / Term::width;
        const int k = static_cast<int>(n % Term::width);
        const int64_t i = centres[edge];
        CUDA_KERNEL_ASSERT(i >= 0 && i < n_rows);
        atomicAdd(rows + Term::width * i + k, term.to_centre(edge, k));
        if (neighbours != nullptr) {
            const int64_t j = neighbours[edge];
            CUDA_KERNEL_ASSERT(j >= 0 && j < n_rows);
            atomicAdd(rows + Term::width * j + k, term.to_neighbour(edge, k));
        }
    }
}

template <typename T, typename Term>
void launch_sum(const Term& term, const int64_t* centres, const int64_t* neighbours, int64_t n_edges,
                at::Tensor& output) {
    if (n_edges == 0) {
        return; // an empty grid is a launch error
    }
    const c10::cuda::CUDAGuard guard(output.device());
    sum_over_edges<T, Term>
        <<<blocks_for(n_edges * Term::width), kThreads, 0, c10::cuda::getCurrentCUDAStream()>>>(
            term, centres, neighbours, n_edges, output.size(0), output.data_ptr<T>());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
}

__global__ void find_reverse_edges(SortedEdges edges, int64_t* found) {
    const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
    for (int64_t edge = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x; edge < edges.count;
         edge += step) {
        CUDA_KERNEL_ASSERT(edge == 0 || edges.centres[edge - 1] <= edges.centres[edge]);
        found[edge] = find_reverse(edges, edge, first_edge_of(edges, edges.neighbours[edge]));
    }
}

} // namespace

void reverse_edges(const at::Tensor& edge_index, const at::Tensor& shifts, at::Tensor& reverse) {
    const int64_t count = edge_index.size(1);
    if (count == 0) {
        return;
    }
    const c10::cuda::CUDAGuard guard(edge_index.device());
    const int64_t* centres = edge_index.data_ptr<int64_t>();
    const SortedEdges edges{centres, centres + count, shifts.data_ptr<int64_t>(), count};
    find_reverse_edges<<<blocks_for(count), kThreads, 0, c10::cuda::getCurrentCUDAStream()>>>(
        edges, reverse.data_ptr<int64_t>());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
}

void forces(const at::Tensor& gradients, const at::Tensor& edge_index, at::Tensor& forces) {
    const int64_t count = edge_index.size(1);
    const int64_t* centres = edge_index.data_ptr<int64_t>();
    AT_DISPATCH_FLOATING_TYPES(gradients.scalar_type(), "forces_from_gradients", [&] {
        const ForceTerm<scalar_t> term{gradients.data_ptr<scalar_t>()};
        launch_sum<scalar_t>(term, centres, centres + count, count, forces);
    });
}

void atom_virials(const at::Tensor& gradients, const at::Tensor& edge_vectors, const at::Tensor& edge_index,
                  at::Tensor& virials) {
    const int64_t count = edge_index.size(1);
    const int64_t* centres = edge_index.data_ptr<int64_t>();
    AT_DISPATCH_FLOATING_TYPES(gradients.scalar_type(), "virials_from_gradients", [&] {
        const AtomVirialTerm<scalar_t> term{gradients.data_ptr<scalar_t>(),
                                            edge_vectors.data_ptr<scalar_t>()};
        launch_sum<scalar_t>(term, centres, centres + count, count, virials);
    });
}

void structure_virials(const at::Tensor& gradients, const at::Tensor& edge_vectors,
                       const at::Tensor& edge_structure, at::Tensor& virials) {
    const int64_t count = edge_structure.size(0);
    AT_DISPATCH_FLOATING_TYPES(gradients.scalar_type(), "virial_from_gradients", [&] {
        const StructureVirialTerm<scalar_t> term{gradients.data_ptr<scalar_t>(),
                                                 edge_vectors.data_ptr<scalar_t>()};
        launch_sum<scalar_t>(term, edge_structure.data_ptr<int64_t>(), nullptr, count, virials);
    });
}

} // namespace ase_mlip::cuda
