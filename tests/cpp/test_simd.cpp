// Without torch: exp against the standard library, products against plain sums, and attention with each
// instruction set this processor has.

#include "expect.h"
#include "instruction_sets.h"
#include "transformer/attention.h"
#include "transformer/products.h"

#include <cmath>
#include <limits>
#include <random>

using namespace ase_mlip;

namespace {

template <typename T> struct Exponentials {
    const std::vector<T>& x;
    std::vector<T>& y;

    template <int W> ASE_MLIP_ALWAYS_INLINE void operator()(simd::Width<W> /*width*/) const {
        for (size_t k = 0; k < x.size(); k += simd::lanes<T, W>) {
            const int64_t left = int64_t(x.size() - k);
            simd::store(&y[k], simd::exp(simd::load<W>(&x[k], left)), left);
        }
    }
};

template <typename T> void test_exp() {
    std::vector<T> x, y;
    for (double value = simd::Format<T>::lowest + 0.01; value < 88.0; value += 0.0173) {
        x.push_back(T(value));
    }
    y.resize(x.size());
    with_each(Exponentials<T>{x, y}, [&](const char* name) {
        double worst = 0.0;
        for (size_t k = 0; k < x.size(); ++k) {
            worst = std::max(worst, std::abs(double(y[k]) / std::exp(double(x[k])) - 1.0));
        }
        expect(worst < 3.0 * double(std::numeric_limits<T>::epsilon()), name, worst);
    });
    x = {T(-1e30), -std::numeric_limits<T>::infinity(), T(0), std::numeric_limits<T>::quiet_NaN(), T(1e30)};
    y.assign(5, T(-1));
    with_each(Exponentials<T>{x, y}, [&](const char* name) {
        const bool right = y[0] == T(0) && y[1] == T(0) && y[2] == T(1) && std::isnan(y[3]) && y[4] > T(1e38);
        expect(right && std::isfinite(y[4]), name, double(y[4]));
    });
}

/// Rows and columns that leave every kind of rest; the weights as they stand or transposed.
template <typename T> void test_product(int64_t rows, int64_t k, int64_t n, bool transposed) {
    std::mt19937 generator(1);
    std::uniform_int_distribution<int> digits(-8, 8); // all sums are exact
    std::vector<T> a(rows * k), b(k * n), bias(n), c(rows * n);
    for (auto* values : {&a, &b, &bias}) {
        for (T& value : *values) {
            value = T(digits(generator));
        }
    }
    const int64_t row = transposed ? 1 : n, column = transposed ? k : 1;
    const cpu::Panels<T> panels(k, n, b.data(), row, column, bias.data());
    with_each(cpu::Product<T>{rows, a.data(), &panels, c.data()}, [&](const char* name) {
        double worst = 0.0;
        for (int64_t i = 0; i < rows; ++i) {
            for (int64_t j = 0; j < n; ++j) {
                T sum = bias[j];
                for (int64_t l = 0; l < k; ++l) {
                    sum += a[i * k + l] * b[l * row + j * column];
                }
                worst = std::max(worst, std::abs(double(sum - c[i * n + j])));
            }
        }
        expect(worst == 0.0, name, worst);
        std::fill(c.begin(), c.end(), T(0));
    });
}

template <typename T> struct Both {
    const cpu::AttentionForward<T>& forward;
    const cpu::AttentionBackward<T>& backward;

    template <int W> ASE_MLIP_ALWAYS_INLINE void operator()(simd::Width<W> width) const {
        forward(width);
        backward(width);
    }
};

template <typename T> void test_attention(int64_t width) {
    const std::vector<int64_t> starts{0, 5, 5, 38};
    const int64_t heads = 2, size = heads * width, edges = 38, tokens = edges + 3;
    std::mt19937 generator(1);
    std::normal_distribution<T> normal;
    std::vector<T> projected(tokens * 3 * size), weights(edges), mixed(tokens * size), d_mixed(tokens * size);
    std::vector<T> d_projected(tokens * 3 * size), d_weights(edges), first;
    for (auto* values : {&projected, &weights, &d_mixed}) {
        for (T& value : *values) {
            value = normal(generator);
        }
    }
    cpu::AttentionTables<T> tables(width, 34);
    const cpu::AttentionForward<T> forward{{3, starts.data()}, size,           heads,        T(0.3),
                                           projected.data(),   weights.data(), mixed.data(), &tables};
    const cpu::AttentionBackward<T> backward{forward, d_mixed.data(), d_projected.data(), d_weights.data()};
    const auto compare = [&](const char* name) {
        std::vector<T> all(mixed);
        all.insert(all.end(), d_projected.begin(), d_projected.end());
        all.insert(all.end(), d_weights.begin(), d_weights.end());
        first = first.empty() ? all : first;
        double worst = 0.0;
        for (size_t k = 0; k < all.size(); ++k) {
            worst = std::max(worst, std::abs(double(all[k]) - double(first[k])));
        }
        expect(worst < 1e2 * double(std::numeric_limits<T>::epsilon()), name, worst);
    };
    with_each(Both<T>{forward, backward}, compare);
}

} // namespace

int main() {
    test_exp<float>();
    test_exp<double>();
    for (int64_t n : {64, 40, 5}) {
        test_product<float>(8 + 4 + 1, 7, n, n == 40);
        test_product<double>(8 + 4 + 1, 7, n, n == 40);
    }
    for (int64_t width : {16, 8, 5}) {
        test_attention<float>(width);
        test_attention<double>(width);
    }
    return failures == 0 ? 0 : 1;
}
