#pragma once
// An s-NNP worked through in stages, each a job for every edge or every centre: for CUDA, where a thread has
// one of them. The formulas are those of formulas.h. Everything is read and written by plain pointers,
// so that a loop on the host can do the same.

#include "../graph/runs.h"
#include "formulas.h"

#include <cmath>

namespace ase_mlip::snnp {

/// C splines for each of M cases, with the powers of their pieces: the line before, the intervals, the line
/// behind.
template <typename T> struct StagedBank {
    int64_t channels = 0, pieces = 0;     // the most of any case
    const double* grid = nullptr;         // [M, 3]: first knot, distance of knots, number of intervals
    const double* coefficients = nullptr; // [M, C, pieces + 1]
    T* powers = nullptr;                  // [M, C, pieces, 4]

    /// Job of PIECES: the powers of one piece of one spline.
    ASE_MLIP_INLINE void prepare(int64_t index) const {
        const int64_t piece = index % pieces, spline = index / pieces;
        const auto intervals = static_cast<int64_t>(grid[3 * (spline / channels) + 2]);
        const double* c = coefficients + spline * (pieces + 1);
        double p[4] = {0.0, 0.0, 0.0, 0.0};
        if (piece == 0) {
            line_before(c, p);
        } else if (piece <= intervals) {
            powers_of(c + piece - 1, p);
        } else if (piece == intervals + 1) {
            line_behind(c + intervals - 1, p);
        }
        for (int k = 0; k < 4; ++k) {
            powers[4 * index + k] = static_cast<T>(p[k]);
        }
    }

    /// Value and slope by x.
    ASE_MLIP_INLINE void at(int64_t which, int64_t channel, T x, T& value, T& slope) const {
        const double* row = grid + 3 * which;
        const T inverse = static_cast<T>(1.0 / row[1]), last = static_cast<T>(row[2] + 1.0);
        T u = (x - static_cast<T>(row[0])) * inverse + T(1);
        T bounded = u > T(0) ? u : T(0); // also for what is not a number
        bounded = bounded < last ? bounded : last;
        const auto piece = static_cast<int64_t>(bounded);
        u -= static_cast<T>(piece);
        cubic(powers + 4 * ((which * channels + channel) * pieces + piece), u, value, slope);
        slope *= inverse;
    }
};

/// A linear map of every network: weight [networks, enter, leave], bias [networks, leave].
template <typename T> struct StagedLayer {
    const T *weight = nullptr, *bias = nullptr;
    int64_t enter = 0, leave = 0;
};

constexpr int64_t kMaxLayers = 8; // hidden ones and the last

template <typename T> struct Stages {
    // the structure
    int64_t n_nodes = 0, n_edges = 0;
    const T* vectors = nullptr;               // [E, 3], Å
    const int64_t* starts = nullptr;          // [N + 1]
    const int64_t* types = nullptr;           // [N]
    const int64_t* neighbour_types = nullptr; // [E]
    const T* node_weights = nullptr;          // [N]
    // the potential
    int64_t species = 0, features = 0, n_layers = 0;
    T cutoff = T(0), angular_cutoff = T(0);
    const double* scale = nullptr; // [1]
    StagedBank<T> phi, rho, f, g, embedding;
    const int64_t *pair_cases = nullptr, *radial_cases = nullptr, *angle_cases = nullptr,
                  *network_cases = nullptr;
    const T* skip = nullptr; // [networks, features]
    StagedLayer<T> layers[kMaxLayers];
    // on the way
    int64_t* centres = nullptr;                  // [E]
    T *directions = nullptr, *inverse = nullptr; // [E, 3], [E]; 1/r is 0 beyond the cutoff, and
    uint8_t* near = nullptr;                     // [E] whether there are angles with it
    T* along = nullptr;                          // [E] phi'/2
    T* d_rho = nullptr;                          // [E, A]
    T *f_values = nullptr, *f_slopes = nullptr, *sums = nullptr;                     // [E, B]
    T* vector_sums = nullptr;                                                        // [E, B, 3]
    T *pair_energies = nullptr, *sums_of_features = nullptr, *by_features = nullptr; // [N], [N, F] twice
    T* scratch = nullptr;                                                            // [N, scratch_width()]
    // results
    T *energies = nullptr, *gradients = nullptr; // [N], [E, 3]

    /// Values and slopes of every hidden layer, and two gradients by a layer's values.
    ASE_MLIP_INLINE int64_t scratch_width() const { return 2 * hidden_width() + 2 * widest(); }
    ASE_MLIP_INLINE int64_t hidden_width() const {
        int64_t width = 0;
        for (int64_t k = 0; k + 1 < n_layers; ++k) {
            width += layers[k].leave;
        }
        return width;
    }
    ASE_MLIP_INLINE int64_t widest() const {
        int64_t width = features;
        for (int64_t k = 0; k + 1 < n_layers; ++k) {
            width = layers[k].leave > width ? layers[k].leave : width;
        }
        return width;
    }

    /// Job of an edge: what its length gives.
    ASE_MLIP_INLINE void edge(int64_t e) const {
        const int64_t i = centre_of(e);
        centres[e] = i;
        const T* v = vectors + 3 * e;
        const T squared = v[0] * v[0] + v[1] * v[1] + v[2] * v[2];
        near[e] = squared < angular_cutoff * angular_cutoff;
        if (node_weights[i] == T(0) || !(squared < cutoff * cutoff)) {
            near[e] = 0;
            inverse[e] = T(0);
            return;
        }
        const T r = std::sqrt(squared + T(1e-30)); // the smallest number keeps an edge without length finite
        inverse[e] = T(1) / r;
        for (int k = 0; k < 3; ++k) {
            directions[3 * e + k] = v[k] * inverse[e];
        }
        const int64_t pair = types[i] * species + neighbour_types[e];
        T value, slope;
        along[e] = T(0);
        if (phi.channels > 0) {
            phi.at(pair_cases[pair], 0, r, value, slope);
            along[e] = T(0.5) * slope;
            add_to(pair_energies + i, T(0.5) * value);
        }
        for (int64_t a = 0; a < rho.channels; ++a) {
            rho.at(radial_cases[pair], a, r, value, d_rho[e * rho.channels + a]);
            add_to(sums_of_features + i * features + a, value);
        }
        for (int64_t b = 0; near[e] && b < f.channels; ++b) {
            f.at(radial_cases[pair], b, r, f_values[e * f.channels + b], f_slopes[e * f.channels + b]);
        }
    }

    /// Job of an edge: S and V over the other neighbours of its centre.
    ASE_MLIP_INLINE void pairs(int64_t e) const {
        if (!near[e]) {
            return;
        }
        const int64_t i = centres[e], channels = f.channels;
        const T* own = directions + 3 * e;
        for (int64_t b = 0; b < channels; ++b) {
            T s = T(0), v[3] = {T(0), T(0), T(0)};
            for (int64_t j = starts[i]; j < starts[i + 1]; ++j) {
                if (j == e || !near[j]) {
                    continue;
                }
                const T* other = directions + 3 * j;
                const int64_t row = (types[i] * species + neighbour_types[j]) * species + neighbour_types[e];
                const T cosine = own[0] * other[0] + own[1] * other[1] + own[2] * other[2];
                const T f_j = f_values[j * channels + b];
                T value, slope;
                g.at(angle_cases[row], b, cosine, value, slope);
                s += f_j * value;
                for (int k = 0; k < 3; ++k) {
                    v[k] += f_j * slope * other[k];
                }
            }
            sums[e * channels + b] = s;
            for (int k = 0; k < 3; ++k) {
                vector_sums[3 * (e * channels + b) + k] = v[k];
            }
            add_to(sums_of_features + i * features + rho.channels + b,
                   T(0.5) * f_values[e * channels + b] * s);
        }
    }

    /// Job of a centre: its energy, and the energy's gradient by the features.
    ASE_MLIP_INLINE void centre(int64_t i) const {
        energies[i] = T(0);
        T* w = by_features + i * features;
        if (node_weights[i] == T(0)) {
            return;
        }
        const int64_t network = network_cases[types[i]];
        const T* in = sums_of_features + i * features;
        T energy = T(0), extra = T(0);
        if (embedding.channels > 0) {
            T total = T(0), zero, slope;
            for (int64_t d = 0; d < features; ++d) {
                total += in[d];
            }
            embedding.at(types[i], 0, T(0), zero, slope);
            embedding.at(types[i], 0, total, energy, extra);
            energy -= zero;
        }
        for (int64_t d = 0; d < features; ++d) {
            energy += skip[network * features + d] * in[d];
            w[d] = skip[network * features + d] + extra;
        }
        if (n_layers > 0) {
            T* mine = scratch + i * scratch_width();
            const T at_zero = through(network, nullptr, mine);
            energy += through(network, in, mine) - at_zero;
            backward(network, mine, w);
        }
        energies[i] = static_cast<T>(scale[0]) * (pair_energies[i] + energy);
    }

    /// Job of an edge: its gradient.
    ASE_MLIP_INLINE void gradient_of(int64_t e) const {
        T* to = gradients + 3 * e;
        to[0] = to[1] = to[2] = T(0);
        if (inverse[e] == T(0)) {
            return;
        }
        const int64_t i = centres[e], channels = f.channels;
        const T* w = by_features + i * features;
        T parallel = along[e], across[3] = {T(0), T(0), T(0)};
        for (int64_t a = 0; a < rho.channels; ++a) {
            parallel += w[a] * d_rho[e * rho.channels + a];
        }
        for (int64_t b = 0; near[e] && b < channels; ++b) {
            const int64_t at = e * channels + b;
            parallel += w[rho.channels + b] * f_slopes[at] * sums[at];
            for (int k = 0; k < 3; ++k) {
                across[k] += w[rho.channels + b] * f_values[at] * vector_sums[3 * at + k];
            }
        }
        gradient(directions + 3 * e, inverse[e], parallel, across, to);
        for (int k = 0; k < 3; ++k) {
            to[k] *= node_weights[i] * static_cast<T>(scale[0]);
        }
    }

  private:
    /// The node i with starts[i] <= e < starts[i + 1].
    ASE_MLIP_INLINE int64_t centre_of(int64_t e) const {
        int64_t low = 0, high = n_nodes;
        while (high - low > 1) {
            const int64_t middle = (low + high) / 2;
            (starts[middle] <= e ? low : high) = middle;
        }
        return low;
    }

    /// The value behind the last layer; values and slopes of the hidden ones stay in `mine`. No features:
    /// zero.
    ASE_MLIP_INLINE T through(int64_t network, const T* in, T* mine) const {
        T *values = mine, *slopes = mine + hidden_width();
        for (int64_t k = 0; k + 1 < n_layers; ++k) {
            const StagedLayer<T>& layer = layers[k];
            const T* weight = layer.weight + network * layer.enter * layer.leave;
            for (int64_t o = 0; o < layer.leave; ++o) {
                T x = layer.bias[network * layer.leave + o];
                for (int64_t d = 0; in != nullptr && d < layer.enter; ++d) {
                    x += in[d] * weight[d * layer.leave + o];
                }
                silu(x, T(1) / (T(1) + std::exp(-x)), values[o], slopes[o]);
            }
            in = values;
            values += layer.leave;
            slopes += layer.leave;
        }
        const StagedLayer<T>& last = layers[n_layers - 1];
        T total = T(0);
        for (int64_t o = 0; o < last.enter; ++o) {
            total += in[o] * last.weight[network * last.enter + o];
        }
        return total;
    }

    /// Adds the gradient of `through` by the features to `w`.
    ASE_MLIP_INLINE void backward(int64_t network, T* mine, T* w) const {
        const T* slopes = mine + 2 * hidden_width();
        T *now = mine + 2 * hidden_width(), *before = now + widest();
        const StagedLayer<T>& last = layers[n_layers - 1];
        for (int64_t o = 0; o < last.enter; ++o) {
            now[o] = last.weight[network * last.enter + o];
        }
        for (int64_t k = n_layers - 2; k >= 0; --k) {
            const StagedLayer<T>& layer = layers[k];
            const T* weight = layer.weight + network * layer.enter * layer.leave;
            slopes -= layer.leave;
            for (int64_t d = 0; d < layer.enter; ++d) {
                T sum = T(0);
                for (int64_t o = 0; o < layer.leave; ++o) {
                    sum += weight[d * layer.leave + o] * slopes[o] * now[o];
                }
                before[d] = sum;
            }
            T* swapped = now;
            now = before;
            before = swapped;
        }
        for (int64_t d = 0; d < features; ++d) {
            w[d] += now[d];
        }
    }
};

} // namespace ase_mlip::snnp
