// Without torch: the passes of csrc/snnp/training.h with each instruction set this processor has, against
// sums of splines that are evaluated one by one, and against differences of these.

#include "expect.h"
#include "instruction_sets.h"
#include "snnp/model.h"
#include "snnp/training.h"

#include <random>

using namespace ase_mlip;
using snnp::training::Arrays;
using snnp::training::Pass;

namespace {

std::mt19937 generator(3);

std::vector<double> random_numbers(size_t count) {
    std::normal_distribution<double> normal;
    std::vector<double> numbers(count);
    for (double& number : numbers) {
        number = normal(generator);
    }
    return numbers;
}

/// Coefficients and knots of phi, rho, f and g; one species, so that all cases are 0.
struct Splines {
    static constexpr int64_t kSize = 11;
    int64_t channels[4];
    std::vector<double> coefficients[4], grids[4];

    explicit Splines(int64_t filters) : channels{1, 2, filters, filters} {
        const double first[4] = {1.0, 1.0, 1.0, -1.0}, last[4] = {5.0, 5.0, 4.0, 1.0};
        for (int b = 0; b < 4; ++b) {
            coefficients[b] = random_numbers(channels[b] * kSize);
            grids[b] = {first[b], (last[b] - first[b]) / double(kSize - 3), double(kSize - 3)};
            for (int64_t k = 0; b < 3 && k < channels[b]; ++k) { // they vanish at their cutoff
                std::fill_n(coefficients[b].begin() + (k + 1) * kSize - 3, 3, 0.0);
            }
        }
    }
    snnp::BankData data(int b) const {
        return {1, channels[b], kSize, coefficients[b].data(), grids[b].data()};
    }
};

using Vectors = std::vector<double>;

double length_of(const double* v) { return std::sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]); }

/// What the header of training.h defines, from the pieces of splines that the kernel for evaluation has.
std::vector<double> features(const Splines& splines, const Vectors& vectors) {
    const auto phi = snnp::make_bank<double>(splines.data(0)), rho = snnp::make_bank<double>(splines.data(1)),
               f = snnp::make_bank<double>(splines.data(2)), g = snnp::make_bank<double>(splines.data(3));
    const auto at = [](const snnp::Bank<double>& bank, int64_t channel, double x) {
        double value, slope;
        bank.at(0, channel, x, value, slope);
        return value;
    };
    std::vector<double> found(3 + f.channels, 0.0);
    for (size_t j = 0; j < vectors.size(); j += 3) {
        const double* a = vectors.data() + j;
        const double r = length_of(a);
        if (r >= 5.0) {
            continue;
        }
        found[0] += 0.5 * at(phi, 0, r);
        found[1] += at(rho, 0, r);
        found[2] += at(rho, 1, r);
        for (size_t k = 0; r < 4.0 && k < j; k += 3) {
            const double *b = vectors.data() + k, s = length_of(b);
            const double cosine = (a[0] * b[0] + a[1] * b[1] + a[2] * b[2]) / (r * s);
            for (int64_t c = 0; s < 4.0 && c < f.channels; ++c) {
                found[3 + c] += at(f, c, r) * at(f, c, s) * at(g, c, cosine);
            }
        }
    }
    return found;
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
    double sum = 0.0;
    for (size_t k = 0; k < a.size(); ++k) {
        sum += a[k] * b[k];
    }
    return sum;
}

Vectors moved(const Vectors& vectors, const Vectors& directions, double step) {
    Vectors found(vectors);
    for (size_t k = 0; k < found.size(); ++k) {
        found[k] += step * directions[k];
    }
    return found;
}

void test_passes(int64_t filters) {
    Splines splines(filters);
    const int64_t edges = 21, zero = 0, starts[2] = {0, edges};
    const std::vector<int64_t> types(edges, 0);
    Vectors vectors;
    std::uniform_real_distribution<double> place(-3.0, 3.0);
    while (vectors.size() < 3 * edges) {
        const double v[3] = {place(generator), place(generator), place(generator)};
        if (length_of(v) > 0.9) {
            vectors.insert(vectors.end(), v, v + 3);
        }
    }
    snnp::training::Tables tables{1, 5.0, 4.0, &zero, &zero, &zero, {}};
    for (int b = 0; b < 4; ++b) {
        tables.banks[b] = snnp::training::make_bank(splines.coefficients[b].data(), splines.grids[b].data(),
                                                    1, splines.channels[b], Splines::kSize);
    }
    const snnp::training::Graph graph{vectors.data(), starts, types.data(), types.data()};
    std::vector<snnp::training::Neighbour> room(edges);
    std::vector<double> numbers(4 * edges * snnp::training::kMostLanes);
    const std::vector<double> expected = features(splines, vectors), v = random_numbers(expected.size()),
                              w = random_numbers(expected.size()), directions = random_numbers(3 * edges);
    std::vector<double> found(expected.size()), by_vectors(3 * edges, 0.0), by_coefficients[4];
    const double step = 1e-5;
    const auto differences = [&](const Splines& one) { // F'
        std::vector<double> slopes = features(one, moved(vectors, directions, step));
        const std::vector<double> below = features(one, moved(vectors, directions, -step));
        for (size_t p = 0; p < slopes.size(); ++p) {
            slopes[p] = (slopes[p] - below[p]) / (2.0 * step);
        }
        return slopes;
    };
    const std::vector<double> slopes = differences(splines);
    const auto compare = [&](const char* name, const std::vector<double>& one, double tolerance) {
        double worst = 0.0;
        for (size_t p = 0; p < one.size(); ++p) {
            const double wanted = tolerance < 1e-10 ? expected[p] : slopes[p];
            worst = std::max(worst, std::abs(one[p] - wanted) / (1.0 + std::abs(wanted)));
        }
        expect(worst < tolerance, name, worst);
    };
    Arrays arrays;
    arrays.values = v.data();
    arrays.slopes = w.data();
    arrays.directions = directions.data();
    arrays.features = found.data();
    arrays.by_vectors = by_vectors.data();
    const snnp::training::Range all{tables, graph, arrays, 0, 1, room, numbers};
    with_each(snnp::training::Centres<Pass::features>{all},
              [&](const char* name) { compare(name, found, 1e-12); });
    with_each(snnp::training::Centres<Pass::backward>{all}, [&](const char* name) {
        const double along = dot(by_vectors, directions), wanted = dot(w, slopes);
        expect(std::abs(along - wanted) < 1e-6 * (1.0 + std::abs(wanted)), name, along - wanted);
    });
    Splines shifted(splines); // along a direction of all coefficients
    std::vector<double> turns[4];
    for (int b = 0; b < 4; ++b) {
        by_coefficients[b].assign(tables.banks[b].coefficients.size(), 0.0);
        arrays.by_coefficients[b] = by_coefficients[b].data();
        turns[b] = random_numbers(splines.coefficients[b].size());
    }
    double by_turns[2];
    for (int sign = 0; sign < 2; ++sign) {
        for (int b = 0; b < 4; ++b) {
            shifted.coefficients[b] = moved(splines.coefficients[b], turns[b], sign == 0 ? step : -step);
        }
        by_turns[sign] = dot(v, features(shifted, vectors)) + dot(w, differences(shifted));
    }
    const double wanted = (by_turns[0] - by_turns[1]) / (2.0 * step);
    with_each(snnp::training::Centres<Pass::parameters>{all}, [&](const char* name) {
        compare(name, found, 1e-6);
        double along = 0.0;
        for (int b = 0; b < 4; ++b) {
            const snnp::training::Bank& bank = tables.banks[b];
            for (int64_t c = 0; c < bank.channels; ++c) {
                for (int64_t k = 0; k < bank.size; ++k) {
                    along += by_coefficients[b][bank.row(0, k) + c] * turns[b][c * bank.size + k];
                }
            }
            std::fill(by_coefficients[b].begin(), by_coefficients[b].end(), 0.0); // it is added to
        }
        expect(std::abs(along - wanted) < 1e-4 * (1.0 + std::abs(wanted)), name, along - wanted);
    });
}

} // namespace

int main() {
    for (const int64_t filters : {1, 3, 9}) {
        test_passes(filters);
    }
    return failures == 0 ? 0 : 1;
}
