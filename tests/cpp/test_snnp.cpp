// Without torch: energy and gradient of a centre of an s-NNP with each instruction set this processor has,
// against one another and against finite differences.

#include "expect.h"
#include "instruction_sets.h"
#include "snnp/centre.h"

#include <limits>
#include <random>

using namespace ase_mlip;

namespace {

std::mt19937 generator(1);

std::vector<double> random_numbers(size_t count) {
    std::normal_distribution<double> normal;
    std::vector<double> numbers(count);
    for (double& number : numbers) {
        number = 0.5 * normal(generator);
    }
    return numbers;
}

/// A bank of `channels` random splines for each of `cases`, all on the same knots.
template <typename T>
snnp::Bank<T> random_bank(int64_t cases, int64_t channels, int64_t intervals, double first, double last,
                          bool vanishing) {
    const int64_t size = intervals + 3;
    std::vector<double> coefficients = random_numbers(cases * channels * size), grid;
    for (int64_t m = 0; m < cases; ++m) {
        grid.insert(grid.end(), {first, (last - first) / double(intervals), double(intervals)});
        for (int64_t k = 0; vanishing && k < channels; ++k) {
            double* end = coefficients.data() + ((m * channels + k) + 1) * size;
            std::fill(end - 3, end, 0.0);
        }
    }
    return snnp::make_bank<T>({cases, channels, size, coefficients.data(), grid.data()});
}

/// Two species that differ in everything; two layers.
template <typename T> snnp::Model<T> random_model(int64_t intervals) {
    snnp::Model<T> model;
    model.species = 2;
    model.features = 5;
    model.cutoff = T(5.0);
    model.angular_cutoff = T(4.0);
    model.phi = random_bank<T>(3, 1, intervals, 1.5, 5.0, true);
    model.rho = random_bank<T>(4, 2, intervals, 1.5, 5.0, true);
    model.f = random_bank<T>(4, 3, intervals, 1.5, 4.0, true);
    model.g = random_bank<T>(6, 3, 8, -1.0, 1.0, false);
    model.pair_cases = {0, 1, 1, 2};
    model.radial_cases = {0, 1, 2, 3};
    model.angle_cases = {0, 1, 1, 2, 3, 4, 4, 5};
    model.network_cases = {0, 1};
    for (int which = 0; which < 2; ++which) {
        snnp::Network<T> network;
        const std::vector<double> w = random_numbers(5 * 7), v = random_numbers(7 * 9), b = random_numbers(9);
        network.hidden = {snnp::make_layer<T>(w.data(), b.data(), 5, 7),
                          snnp::make_layer<T>(v.data(), b.data(), 7, 9)};
        for (double number : random_numbers(9)) {
            network.last.push_back(T(number));
        }
        network.last.resize(network.hidden.back().leave, T(0));
        network.skip.assign(model.padded_features(), T(0.3));
        std::fill(network.skip.begin() + 5, network.skip.end(), T(0));
        model.networks.push_back(network);
    }
    snnp::find_constants(model);
    return model;
}

template <typename T, bool Few> struct Job {
    const snnp::Model<T>& model;
    const std::vector<T>& vectors;
    const std::vector<int64_t>& types;
    T* energy;
    std::vector<T>& gradients;

    template <int W> ASE_MLIP_ALWAYS_INLINE void operator()(simd::Width<W> /*width*/) const {
        snnp::Workspace<T> workspace(model, int64_t(types.size()));
        snnp::Centre<T, W> centre{model, workspace, 1};
        *energy = centre.template evaluate<Few>({int64_t(types.size()), vectors.data(), types.data()}, T(1),
                                                gradients.data());
    }
};

template <typename T, bool Few> void test_centre(int64_t intervals) {
    const snnp::Model<T> model = random_model<T>(intervals);
    std::vector<T> vectors;
    std::vector<int64_t> types;
    std::uniform_real_distribution<double> place(-3.2, 3.2);
    while (types.size() < 37) { // some beyond the cutoff, some too close for the first knot
        const double v[3] = {place(generator), place(generator), place(generator)};
        if (v[0] * v[0] + v[1] * v[1] + v[2] * v[2] > 1.0) {
            vectors.insert(vectors.end(), {T(v[0]), T(v[1]), T(v[2])});
            types.push_back(int64_t(types.size()) % 3 == 0);
        }
    }
    T energy = T(0);
    std::vector<T> gradients(vectors.size(), T(0)), first;
    const Job<T, Few> job{model, vectors, types, &energy, gradients};
    simd::run_plain(job);
    const T plain = energy;
    first = gradients;
    T largest = T(1);
    for (T g : first) {
        largest = std::max(largest, std::abs(g));
    }
    const double tolerance = 300.0 * double(std::numeric_limits<T>::epsilon()) * double(largest);
    const auto compare = [&](const char* name) {
        double worst = std::abs(double(energy - plain));
        for (size_t k = 0; k < first.size(); ++k) {
            worst = std::max(worst, std::abs(double(gradients[k] - first[k])));
        }
        expect(worst < tolerance, name, worst);
    };
    with_each(job, compare);
    if (sizeof(T) == 8) {
        double worst = 0.0;
        for (size_t k = 0; k < vectors.size(); k += 5) {
            const T step = T(1e-6), kept = vectors[k];
            vectors[k] = kept + step;
            simd::run_plain(job);
            const T above = energy;
            vectors[k] = kept - step;
            simd::run_plain(job);
            vectors[k] = kept;
            worst = std::max(worst, std::abs(double((above - energy) / (2 * step) - first[k])));
        }
        expect(worst < 1e-7 * double(largest), "finite differences", worst);
    }
}

} // namespace

int main() {
    test_centre<double, true>(12);
    test_centre<double, false>(25);
    test_centre<float, true>(12);
    test_centre<float, false>(25);
    return failures == 0 ? 0 : 1;
}
