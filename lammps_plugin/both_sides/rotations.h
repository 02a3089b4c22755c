#pragma once
// Rotations that a model is averaged over, as ase_mlip/rotations/schemes.py and averaging.py have them; a
// test compares.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace mlip {

using Matrix = std::array<double, 9>; // row-major

inline Matrix product(const Matrix& a, const Matrix& b) {
    Matrix c{};
    for (int i = 0; i < 3; ++i) {
        for (int j = 0; j < 3; ++j) {
            for (int k = 0; k < 3; ++k) {
                c[3 * i + j] += a[3 * i + k] * b[3 * k + j];
            }
        }
    }
    return c;
}

/// Rotation of a unit quaternion (x, y, z, w).
inline Matrix from_quaternion(double x, double y, double z, double w) {
    return {1 - 2 * (y * y + z * z), 2 * (x * y - z * w),     2 * (x * z + y * w),
            2 * (x * y + z * w),     1 - 2 * (x * x + z * z), 2 * (y * z - x * w),
            2 * (x * z - y * w),     2 * (y * z + x * w),     1 - 2 * (x * x + y * y)};
}

/// The group that two rotations generate.
inline std::vector<Matrix> generated_group(const Matrix& first, const Matrix& second) {
    const auto same = [](const Matrix& a, const Matrix& b) {
        double worst = 0.0;
        for (int k = 0; k < 9; ++k) {
            worst = std::max(worst, std::abs(a[k] - b[k]));
        }
        return worst < 1e-6;
    };
    std::vector<Matrix> group{{1, 0, 0, 0, 1, 0, 0, 0, 1}};
    for (size_t n = 0; n < group.size(); ++n) { // grows while it is read
        for (const Matrix& generator : {first, second}) {
            const Matrix found = product(generator, group[n]);
            if (std::none_of(group.begin(), group.end(), [&](const Matrix& m) { return same(m, found); })) {
                group.push_back(found);
            }
        }
    }
    return group;
}

/// Rotations that a model is averaged over; none for the plain model.
struct Averaging {
    std::string name = "none";
    std::vector<Matrix> rotations; // orthogonal, row-major
    std::vector<double> weights;   // sum 1
    bool lattice = false;          // a crystal's group: boxes have to be mapped onto themselves
};

/// `octahedral` (24) or `icosahedral` (60), in scipy's orientation; nothing for another name.
inline std::vector<Matrix> rotation_group(const std::string& name) {
    const Matrix threefold = from_quaternion(0.5, 0.5, 0.5, 0.5);
    if (name == "octahedral") {
        const double half = std::sqrt(0.5);
        return generated_group(threefold, from_quaternion(0.0, 0.0, half, half));
    }
    if (name == "icosahedral") {
        const double golden = 0.5 * (1.0 + std::sqrt(5.0));
        return generated_group(threefold, from_quaternion(0.5, 0.5 / golden, 0.5 * golden, 0.0));
    }
    return {};
}

/// One of those groups, also with `+inversion`; without rotations for any other name.
inline Averaging group_averaging(const std::string& name) {
    Averaging averaging;
    averaging.name = name;
    averaging.rotations = rotation_group(name.substr(0, name.find("+inversion")));
    if (name.find("+inversion") != std::string::npos) {
        const std::vector<Matrix> proper = averaging.rotations;
        for (Matrix matrix : proper) {
            std::transform(matrix.begin(), matrix.end(), matrix.begin(), std::negate<>());
            averaging.rotations.push_back(matrix);
        }
    }
    const size_t count = averaging.rotations.size();
    averaging.weights.assign(count, 1.0 / static_cast<double>(std::max<size_t>(1, count)));
    return averaging;
}

/// The output function of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
inline uint64_t mixed(uint64_t state) {
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9ULL;
    state = (state ^ (state >> 27)) * 0x94D049BB133111EBULL;
    return state ^ (state >> 31);
}

/// A uniformly distributed rotation that depends on both numbers only: the same on all ranks and after a
/// restart. K. Shoemake's formula for a unit quaternion (Graphics Gems III, 1992).
inline Matrix random_rotation(uint64_t seed, uint64_t evaluation) {
    constexpr uint64_t golden = 0x9E3779B97F4A7C15ULL;
    constexpr double pi = 3.14159265358979323846;
    uint64_t state = seed * golden + evaluation;
    double uniform[3];
    for (double& value : uniform) {
        state += golden;
        value = static_cast<double>(mixed(state) >> 11) * 0x1p-53;
    }
    const double first = std::sqrt(1.0 - uniform[0]), second = std::sqrt(uniform[0]);
    const double a = 2.0 * pi * uniform[1], b = 2.0 * pi * uniform[2];
    return from_quaternion(first * std::sin(a), first * std::cos(a), second * std::sin(b),
                           second * std::cos(b));
}

} // namespace mlip
