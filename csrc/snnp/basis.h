#pragma once
// The functions in whose coefficients an s-NNP without a network is linear, summed for each atom, and the
// derivatives of these sums by the positions: rows of its least-squares fit. With B_k the B-splines of a
// bank,
//   phi  1/2 sum_j B_k(r_j)        rho  sum_j B_k(r_j)        g  sum_{j<k} f_b(r_j) f_b(r_k) B_m(c_jk)
// for each case of species and each filter b. All in float64; a lane is a filter.
//
// A column is a coefficient that a fit is free to choose, numbered as they lie in the banks of
// ase_mlip/networks/snnp/splines.py, [M, C, K] of phi, then of rho, then of g. The last three coefficients of
// phi and rho are zero and no columns; the first `before` ones of phi lie on the line through the next two.
//
// It knows nothing of libtorch.

#include "../common/voigt.h"
#include "training.h"

namespace ase_mlip::snnp::basis {

using snnp::kZeroTail;
using training::Bank;
using training::Basis;
using training::Graph;
using training::kMostLanes;
using training::Neighbour;
using training::Tables;

/// Where the columns are.
struct Columns {
    int64_t before[2]; // coefficients of a spline of phi and of rho that lie on a line
    int64_t free[2];   // coefficients of one that are columns
    int64_t first[3];  // first column of phi, of rho and of g
    int64_t count;
};

inline Columns columns_of(const Tables& tables, int64_t before) {
    Columns columns{{before, 0}, {}, {}, 0};
    for (int k = 0; k < 2; ++k) {
        const Bank& bank = tables.banks[k];
        columns.free[k] = bank.size - kZeroTail - columns.before[k];
        columns.first[k] = columns.count;
        columns.count += bank.cases * bank.channels * columns.free[k];
    }
    const Bank& g = tables.banks[3];
    columns.first[2] = columns.count;
    columns.count += g.cases * g.channels * g.size;
    return columns;
}

/// The cases of g that centres of one type need, and the place of each pair of neighbours' types among them.
struct Cases {
    std::vector<int64_t> all, place;
};

inline std::vector<Cases> cases_of(const Tables& tables) {
    const int64_t s = tables.species;
    std::vector<Cases> found(s);
    for (int64_t type = 0; type < s; ++type) {
        Cases& cases = found[type];
        for (int64_t pair = 0; pair < s * s; ++pair) {
            const int64_t which = tables.angle_cases[type * s * s + pair];
            const auto at = std::find(cases.all.begin(), cases.all.end(), which);
            cases.place.push_back(at - cases.all.begin());
            if (at == cases.all.end()) {
                cases.all.push_back(which);
            }
        }
    }
    return found;
}

/// What is written; zero before.
struct Sums {
    double* values = nullptr;            // [N, P]
    double* forces = nullptr;            // [N, 3, P], minus the derivatives of their sum by the positions
    double* strains = nullptr;           // [6, P] of one structure, the derivatives of the sum by its strain
    const int64_t* neighbours = nullptr; // [E], the other node of each edge
};

/// Room that is used again for every centre.
struct Workspace {
    std::vector<Neighbour> neighbours;
    std::vector<double> numbers, sums, slopes; // f and f'; of one block of filters, [cases, K, lanes]

    Workspace(const Tables& tables, const std::vector<Cases>& cases, int64_t most, bool rows)
        : neighbours(most), numbers(4 * most * kMostLanes) {
        size_t widest = 0;
        for (const Cases& one : cases) {
            widest = std::max(widest, one.all.size());
        }
        const int64_t width = int64_t(widest) * tables.banks[3].size * kMostLanes;
        sums.resize(width);
        slopes.resize(rows ? 3 * most * width : 0);
    }
};

/// The centres from `begin` to `end`; with `rows`, they and their neighbours are those of one structure.
struct Range {
    const Tables& tables;
    const Columns& columns;
    const std::vector<Cases>& cases;
    const Graph& graph;
    const Sums& to;
    int64_t begin, end;
    Workspace& room;
};

template <bool rows, int W> struct OneByOne : Range {
    using V = simd::Vector<double, W>;
    static constexpr int64_t L = simd::lanes<double, W>;

    ASE_MLIP_ALWAYS_INLINE void all() const {
        const training::Arrays none;
        const training::OneByOne<training::Pass::features, W> walk{
            {tables, graph, none, begin, end, room.neighbours, room.numbers}};
        for (int64_t i = begin; i < end; ++i) {
            const int64_t count = walk.collect(i);
            radial(0, tables.pair_cases, 0.5, i, count);
            radial(1, tables.radial_cases, 1.0, i, count);
            for (int64_t channel = 0; channel < tables.banks[3].channels; channel += L) {
                angles(i, count, channel);
            }
        }
    }

    ASE_MLIP_ALWAYS_INLINE void radial(int number, const int64_t* table, double factor, int64_t i,
                                       int64_t count) const {
        const Bank& bank = tables.banks[number];
        const int64_t free = columns.free[number], type = graph.types[i];
        for (int64_t j = 0; bank.channels > 0 && j < count; ++j) {
            const Neighbour& n = room.neighbours[j];
            const int64_t which = table[type * tables.species + n.type];
            const Basis basis(bank, which, n.length);
            for (int64_t channel = 0; channel < bank.channels; ++channel) {
                const int64_t start = columns.first[number] + (which * bank.channels + channel) * free;
                for (int m = 0; m < 4; ++m) {
                    const int64_t k = basis.first + m - columns.before[number];
                    const double value = factor * basis.value[m], slope = factor * basis.slope[m];
                    if (k >= 0 && k < free) {
                        add(i, n, start + k, value, slope);
                    } else if (k < 0) { // c_k = c_0 + k (c_1 - c_0)
                        add(i, n, start, double(1 - k) * value, double(1 - k) * slope);
                        add(i, n, start + 1, double(k) * value, double(k) * slope);
                    }
                }
            }
        }
    }

    /// A function of the length alone.
    ASE_MLIP_ALWAYS_INLINE void add(int64_t i, const Neighbour& n, int64_t column, double value,
                                    double slope) const {
        to.values[i * columns.count + column] += value;
        if (rows) {
            const double gradient[3] = {slope * n.x[0], slope * n.x[1], slope * n.x[2]};
            add_gradient(i, n, column, gradient);
        }
    }

    ASE_MLIP_ALWAYS_INLINE void add_gradient(int64_t i, const Neighbour& n, int64_t column,
                                             const double gradient[3]) const {
        const int64_t p = columns.count, j = to.neighbours[n.edge];
        for (int x = 0; x < 3; ++x) {
            to.forces[(3 * i + x) * p + column] += gradient[x];
            to.forces[(3 * j + x) * p + column] -= gradient[x];
        }
        for (int v = 0; v < 6; ++v) {
            const int x = kVoigt[v][0], y = kVoigt[v][1];
            to.strains[v * p + column] += 0.5 * n.length * (n.x[x] * gradient[y] + n.x[y] * gradient[x]);
        }
    }

    ASE_MLIP_ALWAYS_INLINE double* number(int64_t j, int which) const {
        return room.numbers.data() + (4 * j + which) * L;
    }

    ASE_MLIP_ALWAYS_INLINE int64_t width(const Cases& of_type) const {
        return int64_t(of_type.all.size()) * tables.banks[3].size * L;
    }

    ASE_MLIP_ALWAYS_INLINE void angles(int64_t i, int64_t count, int64_t first) const {
        const int64_t type = graph.types[i], size = width(cases[type]);
        std::fill_n(room.sums.data(), size, 0.0);
        for (int64_t j = 0; j < count; ++j) {
            Neighbour& n = room.neighbours[j];
            if (n.near) {
                const int64_t which = tables.radial_cases[type * tables.species + n.type];
                n.f = Basis(tables.banks[2], which, n.length);
                V f, d_f;
                n.f.evaluate(tables.banks[2], which, first, f, d_f);
                simd::store(number(j, 0), f);
                simd::store(number(j, 1), d_f);
                if (rows) {
                    std::fill_n(room.slopes.data() + 3 * j * size, 3 * size, 0.0);
                }
            }
        }
        for (int64_t j = 0; j < count; ++j) {
            for (int64_t k = 0; room.neighbours[j].near && k < j; ++k) {
                if (room.neighbours[k].near) {
                    pair(type, j, k, size);
                }
            }
        }
        collect(i, count, first, size);
    }

    ASE_MLIP_ALWAYS_INLINE void pair(int64_t type, int64_t j, int64_t k, int64_t size) const {
        const Bank& bank = tables.banks[3];
        const Neighbour &a = room.neighbours[j], &b = room.neighbours[k];
        const int64_t kinds = a.type * tables.species + b.type;
        const int64_t which = tables.angle_cases[type * tables.species * tables.species + kinds];
        const double cosine = a.x[0] * b.x[0] + a.x[1] * b.x[1] + a.x[2] * b.x[2];
        const Basis basis(bank, which, cosine);
        const V f_a = simd::load<W>(number(j, 0)), f_b = simd::load<W>(number(k, 0)), f = f_a * f_b;
        const int64_t at = (cases[type].place[kinds] * bank.size + basis.first) * L;
        double* sums = room.sums.data() + at;
        for (int m = 0; m < 4; ++m) {
            simd::store(sums + m * L, simd::load<W>(sums + m * L) + f * basis.value[m]);
        }
        if (!rows) {
            return;
        }
        const V along_a = simd::load<W>(number(j, 1)) * f_b, along_b = f_a * simd::load<W>(number(k, 1));
        for (int x = 0; x < 3; ++x) {
            double* to_a = room.slopes.data() + (3 * j + x) * size + at;
            double* to_b = room.slopes.data() + (3 * k + x) * size + at;
            const V turn_a = f * ((b.x[x] - cosine * a.x[x]) / a.length), ahead_a = along_a * a.x[x];
            const V turn_b = f * ((a.x[x] - cosine * b.x[x]) / b.length), ahead_b = along_b * b.x[x];
            for (int m = 0; m < 4; ++m) {
                const V by_a = ahead_a * basis.value[m] + turn_a * basis.slope[m];
                const V by_b = ahead_b * basis.value[m] + turn_b * basis.slope[m];
                simd::store(to_a + m * L, simd::load<W>(to_a + m * L) + by_a);
                simd::store(to_b + m * L, simd::load<W>(to_b + m * L) + by_b);
            }
        }
    }

    /// From one block of filters to the columns.
    ASE_MLIP_ALWAYS_INLINE void collect(int64_t i, int64_t count, int64_t first, int64_t size) const {
        const Bank& bank = tables.banks[3];
        const Cases& of_type = cases[graph.types[i]];
        const int64_t lanes = std::min(L, bank.channels - first);
        for (size_t place = 0; place < of_type.all.size(); ++place) {
            for (int64_t lane = 0; lane < lanes; ++lane) {
                const int64_t spline = of_type.all[place] * bank.channels + first + lane;
                const int64_t column = columns.first[2] + spline * bank.size;
                for (int64_t k = 0; k < bank.size; ++k) {
                    const int64_t at = (int64_t(place) * bank.size + k) * L + lane;
                    to.values[i * columns.count + column + k] += room.sums[at];
                    for (int64_t j = 0; rows && j < count; ++j) {
                        const Neighbour& n = room.neighbours[j];
                        if (n.near) {
                            const double* slope = room.slopes.data() + 3 * j * size + at;
                            const double gradient[3] = {slope[0], slope[size], slope[2 * size]};
                            add_gradient(i, n, column + k, gradient);
                        }
                    }
                }
            }
        }
    }
};

template <bool rows> struct Centres : Range {
    template <int W> ASE_MLIP_ALWAYS_INLINE void operator()(simd::Width<W> /*width*/) const {
        OneByOne<rows, W>{*this}.all();
    }
};

} // namespace ase_mlip::snnp::basis
