#include "../common/parallel.h"
#include "centre.h"
#include "kernels.h"

#include <ATen/Dispatch.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

namespace ase_mlip::cpu {
namespace {

using at::Tensor;
using snnp::BankData;
using snnp::Centre;
using snnp::Model;
using snnp::ModelData;
using snnp::Neighbours;
using snnp::Workspace;

constexpr int64_t kCentresPerTask = 128;

BankData bank_data(const SnnpWeights& weights, int64_t which) {
    const Tensor& c = weights.coefficients[which];
    return {c.size(0), c.size(1), c.size(2), c.const_data_ptr<double>(),
            weights.grids[which].const_data_ptr<double>()};
}

/// Consecutive centres with one workspace.
template <typename T, bool Few> struct Centres {
    const Model<T>& model;
    Workspace<T>& workspace;
    const SnnpInputs& inputs;
    const T* weights;
    int64_t begin, end;
    T *energies, *gradients;

    template <int W> ASE_MLIP_ALWAYS_INLINE void operator()(simd::Width<W> /*width*/) const {
        const int64_t *starts = inputs.starts.const_data_ptr<int64_t>(),
                      *types = inputs.types.const_data_ptr<int64_t>(),
                      *neighbour_types = inputs.neighbour_types.const_data_ptr<int64_t>();
        const T* vectors = inputs.edge_vectors.const_data_ptr<T>();
        for (int64_t i = begin; i < end; ++i) {
            if (weights[i] != T(0)) {
                Centre<T, W> centre{model, workspace, types[i]};
                const int64_t first = starts[i];
                const Neighbours<T> neighbours{starts[i + 1] - first, vectors + 3 * first,
                                               neighbour_types + first};
                energies[i] = centre.template evaluate<Few>(neighbours, weights[i], gradients + 3 * first);
            }
        }
    }
};

int64_t most_neighbours(const Tensor& starts, int64_t begin, int64_t end) {
    const int64_t* first = starts.const_data_ptr<int64_t>();
    int64_t most = 0;
    for (int64_t i = begin; i < end; ++i) {
        most = std::max(most, first[i + 1] - first[i]);
    }
    return most;
}

template <typename T>
void evaluate(const SnnpInputs& inputs, const SnnpWeights& weights, T* energies, T* gradients) {
    const Model<T> model = snnp::make_model<T>(model_data(weights));
    const T* node_weights = inputs.node_weights.const_data_ptr<T>();
    parallel_for(inputs.types.size(0), kCentresPerTask, [&](int64_t begin, int64_t end) {
        Workspace<T> workspace(model, most_neighbours(inputs.starts, begin, end));
        if (model.few_pieces()) {
            simd::run(
                Centres<T, true>{model, workspace, inputs, node_weights, begin, end, energies, gradients});
        } else {
            simd::run(
                Centres<T, false>{model, workspace, inputs, node_weights, begin, end, energies, gradients});
        }
    });
}

} // namespace

ModelData model_data(const SnnpWeights& weights) {
    ModelData data;
    data.species = weights.cases[3].size(0);
    data.networks = weights.skip.size(0);
    data.features = weights.skip.size(1);
    data.cutoff = weights.cutoff;
    data.angular_cutoff = weights.angular_cutoff;
    data.scale = weights.scale;
    data.phi = bank_data(weights, 0);
    data.rho = bank_data(weights, 1);
    data.f = bank_data(weights, 2);
    data.g = bank_data(weights, 3);
    data.embedding = bank_data(weights, 4);
    data.pair_cases = weights.cases[0].const_data_ptr<int64_t>();
    data.radial_cases = weights.cases[1].const_data_ptr<int64_t>();
    data.angle_cases = weights.cases[2].const_data_ptr<int64_t>();
    data.network_cases = weights.cases[3].const_data_ptr<int64_t>();
    data.skip = weights.skip.const_data_ptr<double>();
    for (size_t k = 0; k < weights.layers.size(); k += 2) {
        const Tensor &weight = weights.layers[k], &bias = weights.layers[k + 1];
        data.layers.push_back(
            {weight.const_data_ptr<double>(), bias.const_data_ptr<double>(), weight.size(1), weight.size(2)});
    }
    return data;
}

std::tuple<Tensor, Tensor> snnp(const SnnpInputs& inputs, const SnnpWeights& weights) {
    Tensor energies = at::zeros({inputs.types.size(0)}, inputs.edge_vectors.options());
    Tensor gradients = at::zeros_like(inputs.edge_vectors);
    AT_DISPATCH_FLOATING_TYPES(energies.scalar_type(), "snnp", [&] {
        evaluate<scalar_t>(inputs, weights, energies.data_ptr<scalar_t>(), gradients.data_ptr<scalar_t>());
    });
    return {energies, gradients};
}

} // namespace ase_mlip::cpu
