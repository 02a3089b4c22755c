// Without torch: the sums of an s-NNP's basis with whole vectors of neighbours and angles are those of
// csrc/snnp/basis.h, and whitened squares those of a plain product, in double and in float.

#include "expect.h"
#include "instruction_sets.h"
#include "leverage/basis_sums.h"
#include "leverage/whitening.h"

#include <cmath>
#include <numeric>
#include <random>

using namespace ase_mlip;
using mlip::BasisLayout;
using mlip::BasisRoom;
using mlip::BasisSums;
using mlip::Whitening;

namespace {

std::mt19937 generator(7);

double normal() {
    static std::normal_distribution<double> distribution;
    return distribution(generator);
}

double largest_difference(const std::vector<double>& one, const std::vector<double>& other) {
    double largest = 0.0, scale = 0.0;
    for (size_t k = 0; k < one.size(); ++k) {
        largest = std::max(largest, std::fabs(one[k] - other[k]));
        scale = std::max(scale, std::fabs(other[k]));
    }
    return largest / std::max(scale, 1.0);
}

/// Splines with random coefficients; lengths reach below the knots of phi.
struct Random {
    std::vector<int64_t> pairs, radial, angles;
    std::vector<std::vector<double>> coefficients, grids;
    snnp::training::Tables tables;

    Random(int64_t species, int64_t filters, bool has_pair) {
        const int64_t kinds = species * (species + 1) / 2;
        const auto pair = [](int64_t i, int64_t j) {
            return std::max(i, j) * (std::max(i, j) + 1) / 2 + std::min(i, j);
        };
        for (int64_t i = 0; i < species; ++i) {
            for (int64_t j = 0; j < species; ++j) {
                pairs.push_back(pair(i, j));
                radial.push_back(j);
                for (int64_t k = 0; k < species; ++k) {
                    angles.push_back(i * kinds + pair(j, k));
                }
            }
        }
        coefficients.reserve(4); // banks point into what is here
        grids.reserve(4);
        tables.species = species;
        tables.cutoff = 5.0;
        tables.angular_cutoff = 4.0;
        tables.banks[0] = bank(kinds, has_pair ? 1 : 0, 17, 1.5, 5.0, true);
        tables.banks[1] = bank(species, has_pair ? 0 : 1, 15, 1.0, 5.0, true);
        tables.banks[2] = bank(species, filters, 13, 1.0, 4.0, true);
        tables.banks[3] = bank(species * kinds, filters, 11, -1.0, 1.0, false);
        tables.pair_cases = pairs.data();
        tables.radial_cases = radial.data();
        tables.angle_cases = angles.data();
    }

    snnp::training::Bank bank(int64_t cases, int64_t channels, int64_t size, double begin, double end,
                              bool varies) {
        std::vector<double> values(cases * channels * size), grid;
        for (double& value : values) {
            value = normal();
        }
        for (int64_t m = 0; m < cases; ++m) {
            const double shift = varies ? 0.1 * static_cast<double>(m) : 0.0;
            const auto pieces = static_cast<double>(size - 3);
            grid.insert(grid.end(), {begin + shift, (end - begin - shift) / pieces, pieces});
        }
        coefficients.push_back(values);
        grids.push_back(grid);
        return snnp::training::make_bank(coefficients.back().data(), grids.back().data(), cases, channels,
                                         size);
    }
};

template <typename T> struct Sums {
    const BasisSums<T>& sums;
    int64_t type;
    snnp::Arrangement<T>& arrangement;
    const snnp::Neighbours<T>& neighbours;
    T* to;
    template <int W> ASE_MLIP_ALWAYS_INLINE void operator()(simd::Width<W> /*width*/) const {
        arrangement.template arrange<W>(neighbours);
        sums.template centre<W>(type, arrangement, to);
    }
};

template <typename T> double compare_sums(int64_t species, int64_t filters, bool has_pair, int64_t before) {
    const Random random(species, filters, has_pair);
    const auto columns = snnp::basis::columns_of(random.tables, before);
    const auto cases = snnp::basis::cases_of(random.tables);
    const BasisLayout layout{random.tables, columns, cases};
    const mlip::BasisSplines<T> splines(random.tables);
    BasisRoom<T> room;
    const BasisSums<T> sums{random.tables, columns, cases, splines, room};
    double largest = 0.0, outside = 0.0;
    for (const int64_t count : {0, 1, 2, 3, 40, 9, 16, 70}) {
        std::vector<double> vectors;
        std::vector<int64_t> starts{0, count}, types{static_cast<int64_t>(generator() % species)}, others;
        for (int64_t k = 0; k < count; ++k) {
            double v[3] = {normal(), normal(), normal()};
            const double length = 0.6 + 4.3 * (generator() % 1000) / 1000.0;
            const double scale = length / std::sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
            vectors.insert(vectors.end(), {scale * v[0], scale * v[1], scale * v[2]});
            others.push_back(static_cast<int64_t>(generator() % species));
        }
        snnp::basis::Workspace workspace(random.tables, cases, std::max<int64_t>(count, 1), false);
        const snnp::training::Graph graph{vectors.data(), starts.data(), types.data(), others.data()};
        std::vector<double> expected, summed(columns.count, 0.0);
        const auto compare = [&](const std::vector<double>& found) {
            largest = std::max(largest, largest_difference(found, expected));
        };
        snnp::basis::Sums to;
        to.values = summed.data();
        with_each(snnp::basis::Centres<false>{{random.tables, columns, cases, graph, to, 0, 1, workspace}},
                  [&](const char* /*name*/) {
                      expected = expected.empty() ? summed : expected;
                      compare(summed);
                      std::fill(summed.begin(), summed.end(), 0.0);
                  });
        for (int64_t column = 0; column < columns.count; ++column) {
            if (!layout.has(types[0], column)) {
                outside = std::max(outside, std::fabs(expected[column]));
            }
        }
        const std::vector<T> rounded(vectors.begin(), vectors.end());
        snnp::Arrangement<T> arrangement(species, T(random.tables.cutoff), T(random.tables.angular_cutoff),
                                         count);
        room.make_room(random.tables, arrangement.entries);
        const snnp::Neighbours<T> neighbours{count, rounded.data(), others.data()};
        std::vector<T> values(layout.width(), T(NAN)); // all that a centre has is written
        with_each(Sums<T>{sums, types[0], arrangement, neighbours, values.data()}, [&](const char* /*name*/) {
            std::vector<double> found(columns.count, 0.0);
            for (int64_t column = 0; column < columns.count; ++column) {
                if (layout.has(types[0], column)) {
                    found[column] = static_cast<double>(values[layout.place_of(column)]);
                }
            }
            compare(found);
            std::fill(values.begin(), values.end(), T(NAN));
        });
    }
    expect(outside == 0.0, "sums that centres of this type do not have", outside);
    return largest;
}

template <typename T> double compare_squares(int64_t size, int64_t atoms) {
    std::vector<double> matrix(size * size, 0.0), phi, expected, found;
    for (int64_t row = 0; row < size; ++row) { // every fifth column has nothing to do with others
        for (int64_t column = 0; column <= row; ++column) {
            const bool alone = row % 5 == 2 || column % 5 == 2;
            matrix[row * size + column] = row == column || !alone ? normal() : 0.0;
        }
    }
    for (int64_t k = 0; k < atoms * size; ++k) {
        phi.push_back(normal());
    }
    std::vector<int64_t> places(size);  // from the last to the first; one that has nothing to do with others
    std::vector<bool> used(size, true); // is always zero
    for (int64_t column = 0; column < size; ++column) {
        places[column] = size - 1 - column;
        used[column] = column != 7;
    }
    for (int64_t atom = 0; size > 7 && atom < atoms; ++atom) {
        phi[atom * size + 7] = 0.0;
    }
    const Whitening<T> whitening(matrix.data(), size, places, used);
    expect(size <= 7 || !std::count(whitening.lone.begin(), whitening.lone.end(), places[7]),
           "unused columns", 0.0);
    const int64_t padded = (atoms + Whitening<T>::kAtoms - 1) / Whitening<T>::kAtoms * Whitening<T>::kAtoms;
    std::vector<T> placed(padded * size, T(0)), squares(padded * Whitening<T>::kLanes, T(NAN));
    for (int64_t atom = 0; atom < atoms; ++atom) {
        std::reverse_copy(phi.begin() + atom * size, phi.begin() + (atom + 1) * size,
                          placed.begin() + atom * size);
    }
    for (int64_t atom = 0; atom < atoms; ++atom) {
        double total = 0.0;
        for (int64_t row = 0; row < size; ++row) {
            double white = 0.0;
            for (int64_t column = 0; column < size; ++column) {
                white += matrix[row * size + column] * phi[atom * size + column];
            }
            total += white * white;
        }
        expected.push_back(total);
    }
    double largest = 0.0;
    with_each(mlip::WhiteSquares<T>{whitening, padded, size, placed.data(), squares.data()},
              [&](const char* /*name*/) {
                  found.clear();
                  for (int64_t atom = 0; atom < atoms; ++atom) {
                      const T* of_atom = squares.data() + atom * Whitening<T>::kLanes;
                      found.push_back(std::accumulate(of_atom, of_atom + Whitening<T>::kLanes, 0.0));
                  }
                  largest = std::max(largest, largest_difference(found, expected));
                  std::fill(squares.begin(), squares.end(), T(NAN));
              });
    return largest;
}

/// All of them in one precision, to within `rounding` of the largest.
template <typename T> void compare(double rounding) {
    for (const int64_t species : {1, 2, 3}) {
        for (const int64_t filters : {0, 3, 9}) {
            for (const bool has_pair : {true, false}) {
                const double found = compare_sums<T>(species, filters, has_pair, has_pair ? 2 : 0);
                expect(found < rounding, "sums of the basis", found);
            }
        }
    }
    for (const int64_t size : {1, 7, 16, 17, 40, 61}) { // of 40 columns 32 are dense
        for (const int64_t atoms : {1, 8, 11}) {
            const double found = compare_squares<T>(size, atoms);
            expect(found < rounding, "whitened squares", found);
        }
    }
}

} // namespace

int main() {
    compare<double>(1e-13);
    compare<float>(5e-6);
    return failures > 0 ? 1 : 0;
}
