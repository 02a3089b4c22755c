#pragma once
// The features of an s-NNP and their derivatives by positions and coefficients: what training needs. All in
// float64; a lane is a filter, so that the coefficients of an interval are read and written together. A block
// is as many filters as a vector has lanes.
//
// With features F = (1/2 sum phi, G2, G3), vectors r, coefficients c and a direction d of the vectors:
//   features    F(r, c)
//   backward    sum_p w_p dF_p/dr
//   parameters  F' = dF/dr . d, and the gradient by c of sum_p (v_p F_p + w_p F'_p)
// The last one is the gradient of a loss of energies (v) and forces (w, d), without second derivatives by r.

#include "../simd/vectors.h"
#include "formulas.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace ase_mlip::snnp::training {

constexpr int64_t kMostLanes = simd::most_lanes<double>;

/// C splines for each of M cases; [M, K, C padded] for coefficients and their gradients.
struct Bank {
    int64_t cases = 0, channels = 0, size = 0;
    int64_t padded = 0; // channels, in whole vectors of any width
    std::vector<double> coefficients;
    const double* grid = nullptr; // [M, 3]

    int64_t blocks() const { return padded / kMostLanes; }
    int64_t row(int64_t which, int64_t k) const { return (which * size + k) * padded; }
};

inline Bank make_bank(const double* coefficients, const double* grid, int64_t cases, int64_t channels,
                      int64_t size) {
    const int64_t padded = (channels + kMostLanes - 1) / kMostLanes * kMostLanes;
    Bank bank{cases, channels, size, padded, {}, grid};
    bank.coefficients.assign(cases * size * padded, 0.0);
    for (int64_t m = 0; m < cases; ++m) {
        for (int64_t c = 0; c < channels; ++c) {
            for (int64_t k = 0; k < size; ++k) {
                bank.coefficients[bank.row(m, k) + c] = coefficients[(m * channels + c) * size + k];
            }
        }
    }
    return bank;
}

/// The four B-splines that do not vanish at x, and their derivatives by x.
struct Basis {
    int64_t first;
    double value[4], slope[4];

    ASE_MLIP_ALWAYS_INLINE Basis() = default;
    ASE_MLIP_ALWAYS_INLINE Basis(const Bank& bank, int64_t which, double x) {
        const double *grid = bank.grid + 3 * which, inverse = 1.0 / grid[1], last = grid[2] - 1.0;
        const double place = (x - grid[0]) * inverse;
        const double k = std::min(std::max(double(int64_t(std::max(place, 0.0))), 0.0), last);
        const double t = place - k, u = std::min(std::max(t, 0.0), 1.0), v = 1.0 - u;
        first = int64_t(k);
        value[0] = v * v * v / 6.0;
        value[1] = (u * u * (3.0 * u - 6.0) + 4.0) / 6.0;
        value[2] = (v * v * (3.0 * v - 6.0) + 4.0) / 6.0;
        value[3] = u * u * u / 6.0;
        slope[0] = -0.5 * v * v;
        slope[1] = u * (1.5 * u - 2.0);
        slope[2] = -v * (1.5 * v - 2.0);
        slope[3] = 0.5 * u * u;
        for (int m = 0; m < 4; ++m) { // the straight lines outside the knots
            value[m] += (t - u) * slope[m];
            slope[m] *= inverse;
        }
    }

    /// Of the filters from `channel` on.
    template <typename V>
    ASE_MLIP_ALWAYS_INLINE void evaluate(const Bank& bank, int64_t which, int64_t channel, V& f,
                                         V& d_f) const {
        const double* from = bank.coefficients.data() + bank.row(which, first) + channel;
        f = d_f = V{};
        for (int m = 0; m < 4; ++m) {
            const V c = simd::load<sizeof(V)>(from + m * bank.padded);
            f += c * value[m];
            d_f += c * slope[m];
        }
    }
    /// Adds the gradient by the coefficients of by_value * f + by_slope * f'.
    template <typename V>
    ASE_MLIP_ALWAYS_INLINE void add(const Bank& bank, int64_t which, int64_t channel, V by_value, V by_slope,
                                    double* gradients) const {
        double* to = gradients + bank.row(which, first) + channel;
        for (int m = 0; m < 4; ++m) {
            double* row = to + m * bank.padded;
            simd::store(row, simd::load<sizeof(V)>(row) + by_value * value[m] + by_slope * slope[m]);
        }
    }
};

struct Tables {
    int64_t species;
    double cutoff, angular_cutoff;
    const int64_t *pair_cases, *radial_cases, *angle_cases;
    Bank banks[4]; // phi, rho, f, g

    int64_t features() const { return banks[0].channels + banks[1].channels + banks[3].channels; }
};

struct Graph {
    const double* vectors;
    const int64_t *starts, *types, *neighbour_types;
};

/// What a pass over some centres reads and writes; which of it is there depends on the pass.
struct Arrays {
    const double *values = nullptr, *slopes = nullptr; // [N, P] v and w
    const double* directions = nullptr;                // [E, 3]
    double* features = nullptr;                        // [N, P] F, or F' of the pass `parameters`
    double* by_vectors = nullptr;                      // [E, 3]
    double* by_coefficients[4] = {};                   // as the banks
};

enum class Pass { features, backward, parameters };

/// A neighbour within the cutoff.
struct Neighbour {
    int64_t edge, type;
    double x[3], length, turn[3], rate; // direction and length; their derivatives along `directions`
    bool near;
    Basis f; // of f_b
};

/// The centres from `begin` to `end`.
struct Range {
    const Tables& tables;
    const Graph& graph;
    const Arrays& arrays;
    int64_t begin, end;
    std::vector<Neighbour>& all;  // as many as a centre has edges
    std::vector<double>& numbers; // f, f', gradients by f and by its rate: 4 per near neighbour and lane
};

template <Pass pass, int W> struct OneByOne : Range {
    using V = simd::Vector<double, W>;
    static constexpr int64_t L = simd::lanes<double, W>;

    ASE_MLIP_ALWAYS_INLINE void centre(int64_t i) const {
        const int64_t count = collect(i);
        radial(tables.banks[0], tables.pair_cases, 0, 0.5, i, count, 0);
        radial(tables.banks[1], tables.radial_cases, 1, 1.0, i, count, tables.banks[0].channels);
        for (int64_t channel = 0; channel < tables.banks[3].channels; channel += L) {
            angles(i, count, channel);
        }
        for (int64_t j = 0; pass == Pass::backward && j < count; ++j) {
            finish(all[j]);
        }
    }

    ASE_MLIP_ALWAYS_INLINE int64_t collect(int64_t i) const {
        int64_t count = 0;
        for (int64_t e = graph.starts[i]; e < graph.starts[i + 1]; ++e) {
            const double* v = graph.vectors + 3 * e;
            const double length = std::sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2] + 1e-30);
            if (length >= tables.cutoff) {
                continue;
            }
            Neighbour& n = all[count++];
            n.edge = e;
            n.type = graph.neighbour_types[e];
            n.length = length;
            n.rate = 0.0;
            for (int k = 0; k < 3; ++k) {
                n.x[k] = v[k] / length;
                n.turn[k] = 0.0;
                n.rate += pass == Pass::parameters ? arrays.directions[3 * e + k] * n.x[k] : 0.0;
            }
            for (int k = 0; pass == Pass::parameters && k < 3; ++k) {
                n.turn[k] = (arrays.directions[3 * e + k] - n.rate * n.x[k]) / length;
            }
            n.near = length < tables.angular_cutoff && tables.banks[2].channels > 0;
        }
        return count;
    }

    /// phi or rho: a sum over neighbours. In `backward`, n.rate collects the derivative by the length.
    ASE_MLIP_ALWAYS_INLINE void radial(const Bank& bank, const int64_t* cases, int number, double factor,
                                       int64_t i, int64_t count, int64_t offset) const {
        if (bank.channels == 0) {
            return;
        }
        const int64_t at = i * tables.features() + offset, type = graph.types[i];
        for (int64_t channel = 0; channel < bank.channels; channel += L) {
            const int64_t lanes = std::min(L, bank.channels - channel), first = at + channel;
            V total = {}, v = {}, w = {};
            if (pass == Pass::parameters) {
                v = factor * simd::load<W>(arrays.values + first, lanes);
            }
            if (pass != Pass::features) {
                w = factor * simd::load<W>(arrays.slopes + first, lanes);
            }
            for (int64_t j = 0; j < count; ++j) {
                Neighbour& n = all[j];
                const int64_t which = cases[type * tables.species + n.type];
                const Basis basis(bank, which, n.length);
                V f, d_f;
                basis.evaluate(bank, which, channel, f, d_f);
                if (pass == Pass::features) {
                    total += f;
                } else if (pass == Pass::backward) {
                    n.rate += simd::sum(w * d_f);
                } else {
                    total += d_f * n.rate;
                    basis.add(bank, which, channel, v, w * n.rate, arrays.by_coefficients[number]);
                }
            }
            if (pass != Pass::backward) {
                simd::store(arrays.features + first, factor * total, lanes);
            }
        }
    }

    /// Lane vectors of near neighbour j: 0 f, 1 its rate (or f'), 2 gradient by f, 3 by the rate.
    ASE_MLIP_ALWAYS_INLINE double* number(int64_t j, int which) const {
        return numbers.data() + (4 * j + which) * L;
    }

    ASE_MLIP_ALWAYS_INLINE void angles(int64_t i, int64_t count, int64_t channel) const {
        const Bank &bank_f = tables.banks[2], &bank_g = tables.banks[3];
        const int64_t type = graph.types[i], lanes = std::min(L, bank_g.channels - channel);
        const int64_t at =
            i * tables.features() + tables.banks[0].channels + tables.banks[1].channels + channel;
        V v = {}, w = {}, total = {};
        if (pass == Pass::parameters) {
            v = simd::load<W>(arrays.values + at, lanes);
        }
        if (pass != Pass::features) {
            w = simd::load<W>(arrays.slopes + at, lanes);
        }
        for (int64_t j = 0; j < count; ++j) {
            Neighbour& n = all[j];
            if (n.near) {
                const int64_t which = tables.radial_cases[type * tables.species + n.type];
                n.f = Basis(bank_f, which, n.length);
                V f, d_f;
                n.f.evaluate(bank_f, which, channel, f, d_f);
                simd::store(number(j, 0), f);
                simd::store(number(j, 1), pass == Pass::parameters ? d_f * n.rate : d_f);
                simd::store(number(j, 2), V{});
                simd::store(number(j, 3), V{});
            }
        }
        for (int64_t j = 0; j < count; ++j) {
            for (int64_t k = 0; all[j].near && k < j; ++k) {
                if (all[k].near) {
                    pair(type, j, k, channel, bank_g, v, w, total);
                }
            }
        }
        for (int64_t j = 0; j < count; ++j) {
            Neighbour& n = all[j];
            if (n.near && pass == Pass::backward) {
                n.rate += simd::sum(simd::load<W>(number(j, 1)) * simd::load<W>(number(j, 2)));
            } else if (n.near && pass == Pass::parameters) {
                const int64_t which = tables.radial_cases[type * tables.species + n.type];
                n.f.add(bank_f, which, channel, simd::load<W>(number(j, 2)),
                        simd::load<W>(number(j, 3)) * n.rate, arrays.by_coefficients[2]);
            }
        }
        if (pass != Pass::backward) {
            simd::store(arrays.features + at, total, lanes);
        }
    }

    ASE_MLIP_ALWAYS_INLINE void pair(int64_t type, int64_t j, int64_t k, int64_t channel, const Bank& bank,
                                     V v, V w, V& total) const {
        Neighbour &a = all[j], &b = all[k];
        const int64_t which = tables.angle_cases[(type * tables.species + a.type) * tables.species + b.type];
        const double cosine = a.x[0] * b.x[0] + a.x[1] * b.x[1] + a.x[2] * b.x[2];
        const Basis basis(bank, which, cosine);
        V g, d_g;
        basis.evaluate(bank, which, channel, g, d_g);
        const V f_a = simd::load<W>(number(j, 0)), f_b = simd::load<W>(number(k, 0)), f = f_a * f_b;
        if (pass == Pass::features) {
            total += f * g;
            return;
        }
        double *to_a = number(j, 2), *to_b = number(k, 2);
        if (pass == Pass::backward) {
            simd::store(to_a, simd::load<W>(to_a) + w * f_b * g);
            simd::store(to_b, simd::load<W>(to_b) + w * f_a * g);
            const double slope = simd::sum(w * f * d_g);
            for (int m = 0; m < 3; ++m) { // across the directions; the part along them is taken off later
                a.turn[m] += slope * b.x[m];
                b.turn[m] += slope * a.x[m];
            }
            return;
        }
        const double rate = a.turn[0] * b.x[0] + a.turn[1] * b.x[1] + a.turn[2] * b.x[2] +
                            b.turn[0] * a.x[0] + b.turn[1] * a.x[1] + b.turn[2] * a.x[2];
        const V r_a = simd::load<W>(number(j, 1)), r_b = simd::load<W>(number(k, 1));
        const V rate_f = r_a * f_b + f_a * r_b, rate_g = d_g * rate;
        total += rate_f * g + f * rate_g;
        const V both = v * g + w * rate_g, w_g = w * g;
        simd::store(to_a, simd::load<W>(to_a) + both * f_b + w_g * r_b);
        simd::store(to_b, simd::load<W>(to_b) + both * f_a + w_g * r_a);
        simd::store(number(j, 3), simd::load<W>(number(j, 3)) + w_g * f_b);
        simd::store(number(k, 3), simd::load<W>(number(k, 3)) + w_g * f_a);
        basis.add(bank, which, channel, v * f + w * rate_f, w * f * rate, arrays.by_coefficients[3]);
    }

    ASE_MLIP_ALWAYS_INLINE void finish(const Neighbour& n) const {
        double found[3];
        gradient(n.x, 1.0 / n.length, n.rate, n.turn, found);
        for (int k = 0; k < 3; ++k) {
            arrays.by_vectors[3 * n.edge + k] = found[k];
        }
    }
};

template <Pass pass> struct Centres : Range {
    template <int W> ASE_MLIP_ALWAYS_INLINE void operator()(simd::Width<W> /*width*/) const {
        const OneByOne<pass, W> centres{*this};
        for (int64_t i = begin; i < end; ++i) {
            centres.centre(i);
        }
    }
};

} // namespace ase_mlip::snnp::training
