#include "snnp.h"
#include "snnp_kernel.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

namespace ase_mlip::cpu {
namespace {

using at::Tensor;
using snnp::BankData;
using snnp::Centre;
using snnp::Model;
using snnp::Neighbours;
using snnp::Network;
using snnp::Workspace;

constexpr int64_t kCentresPerTask = 128;

std::vector<int64_t> integers(const Tensor& x) {
    const int64_t* data = x.const_data_ptr<int64_t>();
    return {data, data + x.numel()};
}

BankData bank_data(const SnnpWeights& weights, int64_t which) {
    const Tensor& c = weights.coefficients[which];
    return {c.size(0), c.size(1), c.size(2), c.const_data_ptr<double>(),
            weights.grids[which].const_data_ptr<double>()};
}

/// One network of those in `layers`, `which` counting them; without layers only the linear term.
template <typename T> Network<T> make_network(const SnnpWeights& weights, int64_t which, int64_t padded) {
    Network<T> network;
    const int64_t features = weights.skip.size(1);
    const double* skip = weights.skip.const_data_ptr<double>() + which * features;
    network.skip.assign(skip, skip + features);
    network.skip.resize(padded, T(0));
    for (size_t k = 0; k + 2 < weights.layers.size(); k += 2) {
        const Tensor &weight = weights.layers[k], &bias = weights.layers[k + 1];
        const int64_t enter = weight.size(1), leave = weight.size(2);
        network.hidden.push_back(snnp::make_layer<T>(weight.const_data_ptr<double>() + which * enter * leave,
                                                     bias.const_data_ptr<double>() + which * leave, enter,
                                                     leave));
    }
    if (!network.hidden.empty()) {
        const Tensor& last = weights.layers[weights.layers.size() - 2];
        const double* from = last.const_data_ptr<double>() + which * last.size(1);
        network.last.assign(from, from + last.size(1));
        network.last.resize(network.hidden.back().leave, T(0));
    }
    return network;
}

template <typename T> Model<T> make_model(const SnnpWeights& weights) {
    Model<T> model;
    model.species = weights.cases[3].size(0);
    model.features = weights.skip.size(1);
    model.cutoff = T(weights.cutoff);
    model.angular_cutoff = T(weights.angular_cutoff);
    model.scale = T(weights.scale);
    model.phi = snnp::make_bank<T>(bank_data(weights, 0));
    model.rho = snnp::make_bank<T>(bank_data(weights, 1));
    model.f = snnp::make_bank<T>(bank_data(weights, 2));
    model.g = snnp::make_bank<T>(bank_data(weights, 3));
    model.embedding = snnp::make_bank<T>(bank_data(weights, 4));
    model.pair_cases = integers(weights.cases[0]);
    model.radial_cases = integers(weights.cases[1]);
    model.angle_cases = integers(weights.cases[2]);
    model.network_cases = integers(weights.cases[3]);
    for (int64_t which = 0; which < weights.skip.size(0); ++which) {
        model.networks.push_back(make_network<T>(weights, which, model.padded_features()));
    }
    snnp::find_constants(model);
    return model;
}

/// Consecutive centres with one workspace.
template <typename T, bool Few> struct Centres {
    const Model<T>& model;
    Workspace<T>& workspace;
    const SnnpInputs& inputs;
    const T* weights;
    int64_t begin, end;
    T *energies, *gradients;

    ASE_MLIP_ALWAYS_INLINE void operator()() const {
        const int64_t *starts = inputs.starts.const_data_ptr<int64_t>(),
                      *types = inputs.types.const_data_ptr<int64_t>(),
                      *neighbour_types = inputs.neighbour_types.const_data_ptr<int64_t>();
        const T* vectors = inputs.edge_vectors.const_data_ptr<T>();
        for (int64_t i = begin; i < end; ++i) {
            if (weights[i] != T(0)) {
                Centre<T> centre{model, workspace, types[i]};
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
    const Model<T> model = make_model<T>(weights);
    const T* node_weights = inputs.node_weights.const_data_ptr<T>();
    at::parallel_for(0, inputs.types.size(0), kCentresPerTask, [&](int64_t begin, int64_t end) {
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

std::tuple<Tensor, Tensor> snnp(const SnnpInputs& inputs, const SnnpWeights& weights) {
    Tensor energies = at::zeros({inputs.types.size(0)}, inputs.edge_vectors.options());
    Tensor gradients = at::zeros_like(inputs.edge_vectors);
    AT_DISPATCH_FLOATING_TYPES(energies.scalar_type(), "snnp", [&] {
        evaluate<scalar_t>(inputs, weights, energies.data_ptr<scalar_t>(), gradients.data_ptr<scalar_t>());
    });
    return {energies, gradients};
}

} // namespace ase_mlip::cpu
