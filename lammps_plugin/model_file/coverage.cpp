#include "coverage.h"

#include "../both_sides/elements.h"

#include <algorithm>
#include <numeric>

namespace mlip {
namespace {

using ase_mlip::snnp::Coverage;
using ase_mlip::snnp::KnotGrid;
using Counts = std::vector<int64_t>;

/// Atomic numbers by the model's types.
std::vector<int> species_of(const SnnpTables& tables) {
    std::vector<int> species(tables.network_cases.size(), 0);
    for (size_t number = 0; number < tables.type_of_number.size(); ++number) {
        if (tables.type_of_number[number] >= 0) {
            species[tables.type_of_number[number]] = static_cast<int>(number);
        }
    }
    return species;
}

/// Counts of every combination of types, [S^2 or S^3, intervals + 1]; the last two are neighbours in any
/// order.
Counts table_of(const Visits& visits, const char* kind, const std::vector<int>& species, int64_t width,
                bool with_centre) {
    const auto found = visits.find(kind);
    const size_t s = species.size(), centres = with_centre ? s : 1;
    Counts table(centres * s * s * width, 0);
    for (size_t row = 0; row < centres * s * s && found != visits.end(); ++row) {
        std::string low = element_symbol(species[row / s % s]), high = element_symbol(species[row % s]);
        if (row / s % s > row % s) {
            low.swap(high);
        }
        const std::string centre = with_centre ? element_symbol(species[row / s / s]) + ": " : "";
        const auto counts = found->second.find(centre + low + "-" + high);
        if (counts != found->second.end() && counts->second.size() == static_cast<size_t>(width)) {
            std::copy(counts->second.begin(), counts->second.end(), table.begin() + row * width);
        }
    }
    return table;
}

/// Whether the spline that serves each combination has data in each interval.
std::vector<uint8_t> served(const Counts& counts, const std::vector<int64_t>& cases, int64_t width) {
    const int64_t most = *std::max_element(cases.begin(), cases.end());
    Counts sums((most + 1) * width, 0);
    for (size_t k = 0; k < counts.size(); ++k) {
        sums[cases[k / width] * width + static_cast<int64_t>(k) % width] += counts[k];
    }
    std::vector<uint8_t> has(counts.size());
    for (size_t k = 0; k < counts.size(); ++k) {
        has[k] = sums[cases[k / width] * width + static_cast<int64_t>(k) % width] > 0 ? 1 : 0;
    }
    return has;
}

void both(std::vector<uint8_t>& has, const std::vector<uint8_t>& also) {
    for (size_t k = 0; k < has.size(); ++k) {
        has[k] = has[k] && also[k] ? 1 : 0;
    }
}

/// 1 in every interval of the pairs of elements that the data hold as neighbours, or of a centre with two.
std::vector<uint8_t> together(const Counts& counts, int64_t width, int64_t other_width) {
    std::vector<uint8_t> has;
    for (auto row = counts.begin(); row != counts.end(); row += width) {
        has.insert(has.end(), other_width, std::accumulate(row, row + width, int64_t(0)) > 0 ? 1 : 0);
    }
    return has;
}

} // namespace

Coverage coverage_of(const Visits& visits, const SnnpTables& tables) {
    Coverage coverage;
    if (visits.empty()) {
        return coverage;
    }
    const std::vector<int> species = species_of(tables);
    coverage.species = static_cast<int64_t>(species.size());
    coverage.pairs = KnotGrid::of(tables.rho.grid.data());
    coverage.near = KnotGrid::of(tables.f.grid.data());
    coverage.angles = KnotGrid::of(tables.g.grid.data());
    const int64_t far_width = coverage.pairs.count + 1, near_width = coverage.near.count + 1,
                  angle_width = coverage.angles.count + 1;
    const Counts far = table_of(visits, "radial", species, far_width, false);
    coverage.has_pair = together(far, far_width, far_width);
    if (tables.rho.channels > 0) {
        both(coverage.has_pair, served(far, tables.radial_cases, far_width));
    }
    if (tables.phi.channels > 0) {
        both(coverage.has_pair, served(far, tables.pair_cases, far_width));
    }
    const Counts near = table_of(visits, "angular", species, near_width, false);
    const Counts angle = table_of(visits, "angle", species, angle_width, true);
    coverage.has_near = together(far, far_width, near_width);
    both(coverage.has_near, served(near, tables.radial_cases, near_width));
    coverage.has_angle = together(angle, angle_width, angle_width);
    both(coverage.has_angle, served(angle, tables.angle_cases, angle_width));
    if (tables.g.channels == 0) {
        coverage.has_near.assign(coverage.has_near.size(), 1);
        coverage.has_angle.assign(coverage.has_angle.size(), 1);
    }
    for (size_t row = 0; row < coverage.has_angle.size(); row += angle_width) {
        coverage.has_angle[row] = 1; // no cosine lies before -1
    }
    return coverage;
}

} // namespace mlip
