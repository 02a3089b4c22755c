#pragma once
// An s-NNP as tables for evaluation: splines as powers, weights padded to whole vectors. No libtorch in here.

#include "../simd/vectors.h"
#include "formulas.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace ase_mlip::snnp {

/// Powers of up to this many pieces stay in registers while neighbours pass by.
constexpr int64_t kFewPieces = 16;

inline int64_t round_up(int64_t count, int64_t unit) { return (count + unit - 1) / unit * unit; }

/// C splines for each of M cases; those of a case share their knots.
struct BankData {
    int64_t cases = 0, channels = 0, size = 0;
    const double* coefficients = nullptr; // [M, C, size], of B-splines
    const double* grid = nullptr;         // [M, 3]: first knot, distance of knots, number of intervals
};

template <typename T> struct Bank {
    int64_t channels = 0;
    int64_t stride = 0;                        // pieces, padded
    bool few = true;                           // at most kFewPieces
    std::vector<T> origin, inverse_step, last; // per case; `last` is the number of the last piece
    std::vector<T> powers;                     // [M, C, 4, stride]
    std::vector<T> rows;                       // the same, [M, C, stride, 4]

    const T* table(int64_t which, int64_t channel) const {
        return powers.data() + (which * channels + channel) * 4 * stride;
    }

    const T* row(int64_t which, int64_t channel) const {
        return rows.data() + (which * channels + channel) * 4 * stride;
    }

    /// Value and slope by x of one spline at one place.
    void at(int64_t which, int64_t channel, T x, T& value, T& slope) const {
        const T u = (x - origin[which]) * inverse_step[which] + T(1);
        const int64_t piece = int64_t(std::min(std::max(u, T(0)), last[which]));
        const T* from = table(which, channel) + piece;
        const T p[4] = {from[0], from[stride], from[2 * stride], from[3 * stride]};
        cubic(p, u - T(piece), value, slope);
        slope *= inverse_step[which];
    }
};

template <typename T> Bank<T> make_bank(const BankData& data) {
    Bank<T> bank;
    bank.channels = data.channels;
    int64_t most = 0;
    for (int64_t m = 0; m < data.cases; ++m) {
        const double* grid = data.grid + 3 * m;
        bank.origin.push_back(T(grid[0]));
        bank.inverse_step.push_back(T(1.0 / grid[1]));
        bank.last.push_back(T(grid[2] + 1.0));
        most = std::max(most, int64_t(grid[2]) + 2);
    }
    bank.few = most <= kFewPieces;
    bank.stride = round_up(most, kFewPieces);
    bank.powers.assign(data.cases * data.channels * 4 * bank.stride, T(0));
    bank.rows = bank.powers;
    for (int64_t k = 0; k < data.cases * data.channels; ++k) {
        const int64_t intervals = int64_t(data.grid[3 * (k / data.channels) + 2]);
        const double* c = data.coefficients + k * data.size;
        T* to = bank.powers.data() + k * 4 * bank.stride;
        for (int64_t piece = 0; piece < intervals + 2; ++piece) {
            double powers[4];
            if (piece == 0) {
                line_before(c, powers);
            } else if (piece == intervals + 1) {
                line_behind(c + intervals - 1, powers);
            } else {
                powers_of(c + piece - 1, powers);
            }
            for (int64_t power = 0; power < 4; ++power) {
                to[power * bank.stride + piece] = T(powers[power]);
                bank.rows[(k * bank.stride + piece) * 4 + power] = T(powers[power]);
            }
        }
    }
    return bank;
}

/// A linear map, padded with zeros: forward [enter][leave], backward [leave][enter].
template <typename T> struct Layer {
    int64_t inputs = 0, outputs = 0;
    int64_t enter = 0, leave = 0; // the same, padded
    std::vector<T> forward, backward, bias;
};

template <typename T>
Layer<T> make_layer(const double* weight, const double* bias, int64_t enter, int64_t leave) {
    Layer<T> layer;
    layer.inputs = enter;
    layer.outputs = leave;
    layer.enter = round_up(enter, simd::most_lanes<T>);
    layer.leave = round_up(leave, simd::most_lanes<T>);
    layer.forward.assign(layer.enter * layer.leave, T(0));
    layer.backward.assign(layer.enter * layer.leave, T(0));
    layer.bias.assign(layer.leave, T(0));
    for (int64_t b = 0; b < leave; ++b) {
        layer.bias[b] = T(bias[b]);
        for (int64_t a = 0; a < enter; ++a) {
            layer.forward[a * layer.leave + b] = T(weight[a * leave + b]);
            layer.backward[b * layer.enter + a] = T(weight[a * leave + b]);
        }
    }
    return layer;
}

/// The network of one element, and its linear term.
template <typename T> struct Network {
    std::vector<Layer<T>> hidden;
    std::vector<T> last; // [width of the last hidden layer, padded]
    std::vector<T> skip; // [features, padded]
    T at_zero = T(0);
};

template <typename T> struct Model {
    int64_t species = 0, features = 0;
    T cutoff = T(0), angular_cutoff = T(0), scale = T(1);
    Bank<T> phi, rho, f, g, embedding;
    std::vector<int64_t> pair_cases, radial_cases, angle_cases, network_cases; // [S, S], .., [S, S, S], [S]
    std::vector<Network<T>> networks;
    std::vector<T> embedding_at_zero; // [S]
    std::vector<T> g_at_one;          // [cases of g, channels]: neighbour k with itself

    /// Of the splines that there are several of; phi looks for itself.
    bool few_pieces() const { return rho.few && f.few && g.few; }
    int64_t padded_features() const { return round_up(features, simd::most_lanes<T>); }
};

/// What a network without features gives.
template <typename T> T value_at_zero(const Network<T>& network) {
    std::vector<T> values;
    for (const Layer<T>& layer : network.hidden) {
        std::vector<T> next(layer.bias);
        for (int64_t o = 0; o < layer.outputs; ++o) {
            for (int64_t i = 0; i < int64_t(values.size()) && i < layer.inputs; ++i) {
                next[o] += values[i] * layer.forward[i * layer.leave + o];
            }
            next[o] /= T(1) + std::exp(-next[o]);
        }
        values = next;
    }
    T total = T(0);
    for (size_t o = 0; o < values.size(); ++o) {
        total += values[o] * network.last[o];
    }
    return total;
}

/// The constants that are taken off, and g of a neighbour with itself.
template <typename T> void find_constants(Model<T>& model) {
    T slope;
    for (Network<T>& network : model.networks) {
        network.at_zero = value_at_zero(network);
    }
    model.embedding_at_zero.assign(model.species, T(0));
    for (int64_t t = 0; model.embedding.channels > 0 && t < model.species; ++t) {
        model.embedding.at(t, 0, T(0), model.embedding_at_zero[t], slope);
    }
    const int64_t cases = int64_t(model.g.origin.size());
    model.g_at_one.assign(cases * model.g.channels, T(0));
    for (int64_t k = 0; k < cases * model.g.channels; ++k) {
        model.g.at(k / model.g.channels, k % model.g.channels, T(1), model.g_at_one[k], slope);
    }
}

/// A linear map of every network: weight [networks, enter, leave], bias [networks, leave].
struct LayerData {
    const double *weight = nullptr, *bias = nullptr;
    int64_t enter = 0, leave = 0;
};

/// The numbers of an s-NNP, wherever they lie.
struct ModelData {
    int64_t species = 0, networks = 0, features = 0;
    double cutoff = 0.0, angular_cutoff = 0.0, scale = 1.0;
    BankData phi, rho, f, g, embedding;
    const int64_t *pair_cases = nullptr, *radial_cases = nullptr;   // [S, S]
    const int64_t *angle_cases = nullptr, *network_cases = nullptr; // [S, S, S], [S]
    const double* skip = nullptr;                                   // [networks, features]
    std::vector<LayerData> layers; // at least two, the last with one output; or nothing
};

/// Network `which`; without layers only the linear term.
template <typename T> Network<T> make_network(const ModelData& data, int64_t which) {
    Network<T> network;
    const double* skip = data.skip + which * data.features;
    network.skip.assign(skip, skip + data.features);
    network.skip.resize(round_up(data.features, simd::most_lanes<T>), T(0));
    for (size_t k = 0; k + 1 < data.layers.size(); ++k) {
        const LayerData& layer = data.layers[k];
        network.hidden.push_back(make_layer<T>(layer.weight + which * layer.enter * layer.leave,
                                               layer.bias + which * layer.leave, layer.enter, layer.leave));
    }
    if (!network.hidden.empty()) {
        const LayerData& last = data.layers.back();
        const double* from = last.weight + which * last.enter;
        network.last.assign(from, from + last.enter);
        network.last.resize(network.hidden.back().leave, T(0));
    }
    return network;
}

template <typename T> Model<T> make_model(const ModelData& data) {
    Model<T> model;
    const int64_t s = data.species;
    model.species = s;
    model.features = data.features;
    model.cutoff = T(data.cutoff);
    model.angular_cutoff = T(data.angular_cutoff);
    model.scale = T(data.scale);
    model.phi = make_bank<T>(data.phi);
    model.rho = make_bank<T>(data.rho);
    model.f = make_bank<T>(data.f);
    model.g = make_bank<T>(data.g);
    model.embedding = make_bank<T>(data.embedding);
    model.pair_cases.assign(data.pair_cases, data.pair_cases + s * s);
    model.radial_cases.assign(data.radial_cases, data.radial_cases + s * s);
    model.angle_cases.assign(data.angle_cases, data.angle_cases + s * s * s);
    model.network_cases.assign(data.network_cases, data.network_cases + s);
    for (int64_t which = 0; which < data.networks; ++which) {
        model.networks.push_back(make_network<T>(data, which));
    }
    find_constants(model);
    return model;
}

} // namespace ase_mlip::snnp
