#pragma once
// Which knot intervals of an s-NNP hold training data, and how many neighbours and angles of a centre lie in
// others: there the splines were continued rather than learned. ase_mlip/calculators/diagnostics/visited.py
// says how data are counted. No libtorch in here.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace ase_mlip::snnp {

/// Equidistant knots; interval 0 lies before the first knot, 1 to `count` between the knots.
struct KnotGrid {
    double first = 0.0, last = 1.0;
    int64_t count = 1;

    /// From a spline's first knot, distance of knots and number of intervals.
    static KnotGrid of(const double row[3]) {
        return {row[0], row[0] + row[1] * row[2], static_cast<int64_t>(row[2])};
    }
    int64_t interval(double x) const {
        const auto number = static_cast<int64_t>(std::floor((x - first) * (count / (last - first)))) + 1;
        return std::clamp<int64_t>(number, 0, count);
    }
    double end(int64_t interval) const { return first + interval * ((last - first) / count); }
};

struct Coverage {
    int64_t species = 0;          // 0: the file does not say
    KnotGrid pairs, near, angles; // of phi and rho, of f, of g
    // Nonzero where there are data: [S, S, intervals + 1] twice, [S, S, S, intervals + 1].
    std::vector<uint8_t> has_pair, has_near, has_angle;
    bool all_angles = true;
    double reach = 0.0; // no pair farther apart than this lies in an interval without data, Å

    /// Finds `all_angles` and `reach` from the tables.
    void prepare() {
        all_angles = std::all_of(has_angle.begin(), has_angle.end(), [](uint8_t has) { return has != 0; });
        reach = std::max(farthest(pairs, has_pair), farthest(near, has_near));
    }

    /// Whether a structure with this shortest distance may hold anything to be counted.
    bool matters(double shortest) const { return species > 0 && (!all_angles || shortest < reach); }

  private:
    static double farthest(const KnotGrid& grid, const std::vector<uint8_t>& has) {
        double end = 0.0;
        for (size_t k = 0; k < has.size(); ++k) {
            end = has[k] ? end : std::max(end, grid.end(static_cast<int64_t>(k) % (grid.count + 1)));
        }
        return end;
    }
};

/// Neighbours and angles of a centre in intervals without data. Vectors [n, 3] in Å; `scratch` is reused.
template <typename T>
int64_t count_extrapolating(const Coverage& coverage, int64_t type, int64_t n, const T* vectors,
                            const int64_t* types, std::vector<double>& scratch) {
    const int64_t s = coverage.species;
    int64_t found = 0;
    scratch.clear(); // of the near ones: direction and type
    for (int64_t k = 0; k < n; ++k) {
        const double x = vectors[3 * k], y = vectors[3 * k + 1], z = vectors[3 * k + 2];
        const double r = std::sqrt(x * x + y * y + z * z);
        const int64_t pair = type * s + types[k];
        const KnotGrid &far = coverage.pairs, &near = coverage.near;
        bool known = coverage.has_pair[pair * (far.count + 1) + far.interval(r)] != 0;
        if (r < near.last) {
            known = known && coverage.has_near[pair * (near.count + 1) + near.interval(r)] != 0;
            if (!coverage.all_angles) {
                scratch.insert(scratch.end(), {x / r, y / r, z / r, static_cast<double>(types[k])});
            }
        }
        found += known ? 0 : 1;
    }
    const KnotGrid& angles = coverage.angles;
    for (size_t j = 0; j < scratch.size(); j += 4) {
        for (size_t k = 0; k < j; k += 4) {
            const double* a = scratch.data() + j;
            const double* b = scratch.data() + k;
            const double cosine = a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
            const auto low = static_cast<int64_t>(std::min(a[3], b[3]));
            const auto high = static_cast<int64_t>(std::max(a[3], b[3]));
            const int64_t interval = std::max<int64_t>(1, angles.interval(cosine)); // -1 may round to less
            const int64_t row = (type * s + low) * s + high;
            found += coverage.has_angle[row * (angles.count + 1) + interval] ? 0 : 1;
        }
    }
    return found;
}

} // namespace ase_mlip::snnp
