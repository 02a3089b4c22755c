#pragma once
// The stages of an s-NNP on tensors: memory, pointers and the order of the jobs. `Launch` runs a job for
// every index from 0 to a count: CUDA in cuda.cu, a loop on the host in the tests.

#include "kernels.h"
#include "stages.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <tuple>
#include <vector>

namespace ase_mlip::snnp {

template <typename T> struct PowersJob {
    StagedBank<T> bank;
    ASE_MLIP_INLINE void operator()(int64_t index) const { bank.prepare(index); }
};
template <typename T> struct EdgeJob {
    Stages<T> stages;
    ASE_MLIP_INLINE void operator()(int64_t index) const { stages.edge(index); }
};
template <typename T> struct PairsJob {
    Stages<T> stages;
    ASE_MLIP_INLINE void operator()(int64_t index) const { stages.pairs(index); }
};
template <typename T> struct CentreJob {
    Stages<T> stages;
    ASE_MLIP_INLINE void operator()(int64_t index) const { stages.centre(index); }
};
template <typename T> struct GradientJob {
    Stages<T> stages;
    ASE_MLIP_INLINE void operator()(int64_t index) const { stages.gradient_of(index); }
};

/// Memory that lives as long as the jobs are being queued; the allocator of libtorch keeps the order of a
/// stream.
template <typename T> struct Memory {
    at::TensorOptions options; // of T
    std::vector<at::Tensor> kept;

    T* room(std::initializer_list<int64_t> shape, bool zero = false) {
        kept.push_back(zero ? at::zeros(shape, options) : at::empty(shape, options));
        return kept.back().template data_ptr<T>();
    }
    template <typename Other> Other* room_of(int64_t count, at::ScalarType dtype) {
        kept.push_back(at::empty({count}, options.dtype(dtype)));
        return kept.back().template data_ptr<Other>();
    }
    const T* copy(const at::Tensor& tensor) {
        kept.push_back(tensor.to(options.dtype().toScalarType()).contiguous());
        return kept.back().template const_data_ptr<T>();
    }
};

template <typename T>
StagedBank<T> staged_bank(const cpu::SnnpWeights& weights, size_t which, Memory<T>& memory) {
    const at::Tensor& c = weights.coefficients[which];
    StagedBank<T> bank;
    bank.channels = c.size(1);
    bank.pieces = c.size(2) - 1;
    bank.grid = weights.grids[which].const_data_ptr<double>();
    bank.coefficients = c.const_data_ptr<double>();
    bank.powers = memory.room({c.size(0), c.size(1), bank.pieces, 4});
    return bank;
}

template <typename T>
void set_potential(Stages<T>& stages, const cpu::SnnpWeights& weights, const at::Tensor& scale,
                   Memory<T>& memory) {
    stages.species = weights.cases[3].size(0);
    stages.features = weights.skip.size(1);
    stages.cutoff = static_cast<T>(weights.cutoff);
    stages.angular_cutoff = static_cast<T>(weights.angular_cutoff);
    stages.scale = scale.const_data_ptr<double>();
    StagedBank<T>* banks[5] = {&stages.phi, &stages.rho, &stages.f, &stages.g, &stages.embedding};
    for (size_t k = 0; k < 5; ++k) {
        *banks[k] = staged_bank(weights, k, memory);
    }
    stages.pair_cases = weights.cases[0].const_data_ptr<int64_t>();
    stages.radial_cases = weights.cases[1].const_data_ptr<int64_t>();
    stages.angle_cases = weights.cases[2].const_data_ptr<int64_t>();
    stages.network_cases = weights.cases[3].const_data_ptr<int64_t>();
    stages.skip = memory.copy(weights.skip);
    stages.n_layers = static_cast<int64_t>(weights.layers.size()) / 2;
    TORCH_CHECK(stages.n_layers <= kMaxLayers, "`layers`: expected at most ", kMaxLayers, ", got ",
                stages.n_layers);
    for (int64_t k = 0; k < stages.n_layers; ++k) {
        const at::Tensor& weight = weights.layers[2 * k];
        stages.layers[k] = {memory.copy(weight), memory.copy(weights.layers[2 * k + 1]), weight.size(1),
                            weight.size(2)};
    }
}

template <typename T>
void set_structure(Stages<T>& stages, const cpu::SnnpInputs& inputs, Memory<T>& memory) {
    const int64_t n = inputs.types.size(0), edges = inputs.edge_vectors.size(0);
    const int64_t a = stages.rho.channels, b = stages.f.channels;
    stages.n_nodes = n;
    stages.n_edges = edges;
    stages.vectors = inputs.edge_vectors.const_data_ptr<T>();
    stages.starts = inputs.starts.const_data_ptr<int64_t>();
    stages.types = inputs.types.const_data_ptr<int64_t>();
    stages.neighbour_types = inputs.neighbour_types.const_data_ptr<int64_t>();
    stages.node_weights = inputs.node_weights.const_data_ptr<T>();
    stages.centres = memory.template room_of<int64_t>(edges, at::kLong);
    stages.near = memory.template room_of<uint8_t>(edges, at::kByte);
    stages.directions = memory.room({edges, 3});
    stages.inverse = memory.room({edges});
    stages.along = memory.room({edges});
    stages.d_rho = memory.room({edges, a});
    stages.f_values = memory.room({edges, b});
    stages.f_slopes = memory.room({edges, b});
    stages.sums = memory.room({edges, b});
    stages.vector_sums = memory.room({edges, b, 3});
    stages.pair_energies = memory.room({n}, true);
    stages.sums_of_features = memory.room({n, stages.features}, true);
    stages.by_features = memory.room({n, stages.features});
    stages.scratch = memory.room({n, stages.scratch_width()});
}

/// Energies [N] and gradients [E, 3]; all tensors on one device, `scale` float64 [].
template <typename T, typename Launch>
std::tuple<at::Tensor, at::Tensor> in_stages(const cpu::SnnpInputs& inputs, const cpu::SnnpWeights& weights,
                                             const at::Tensor& scale, const Launch& launch) {
    const at::TensorOptions options = inputs.edge_vectors.options();
    const at::Tensor energies = at::empty({inputs.types.size(0)}, options);
    const at::Tensor gradients = at::empty(inputs.edge_vectors.sizes(), options);
    Memory<T> memory{options, {}};
    Stages<T> stages;
    set_potential(stages, weights, scale, memory);
    set_structure(stages, inputs, memory);
    stages.energies = energies.data_ptr<T>();
    stages.gradients = gradients.data_ptr<T>();
    const StagedBank<T> banks[5] = {stages.phi, stages.rho, stages.f, stages.g, stages.embedding};
    for (size_t k = 0; k < 5; ++k) {
        launch(weights.coefficients[k].size(0) * banks[k].channels * banks[k].pieces, PowersJob<T>{banks[k]});
    }
    launch(stages.n_edges, EdgeJob<T>{stages});
    launch(stages.n_edges, PairsJob<T>{stages});
    launch(stages.n_nodes, CentreJob<T>{stages});
    launch(stages.n_edges, GradientJob<T>{stages});
    return {energies, gradients};
}

} // namespace ase_mlip::snnp
