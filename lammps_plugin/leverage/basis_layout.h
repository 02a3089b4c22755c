#pragma once
// Where basis_sums.h puts the sum of a column: those of g lie as [cases, blocks of filters, K, lanes].

#include "../../csrc/snnp/basis.h"

#include <algorithm>
#include <cstdint>
#include <vector>

namespace mlip {

struct BasisLayout {
    using Bank = ase_mlip::snnp::training::Bank;
    static constexpr int64_t L = ase_mlip::snnp::basis::kMostLanes; // filters of a block

    const ase_mlip::snnp::training::Tables& tables;
    const ase_mlip::snnp::basis::Columns& columns;
    const std::vector<ase_mlip::snnp::basis::Cases>& cases;

    int64_t place_of(int64_t column) const {
        const Bank& g = tables.banks[3];
        if (column < columns.first[2]) {
            return column;
        }
        const int64_t spline = (column - columns.first[2]) / g.size, k = (column - columns.first[2]) % g.size;
        const int64_t which = spline / g.channels, channel = spline % g.channels;
        return columns.first[2] + ((which * g.blocks() + channel / L) * g.size + k) * L + channel % L;
    }

    /// Whether centres of a type can have a sum other than zero there.
    bool has(int64_t type, int64_t column) const {
        const int64_t species = tables.species;
        for (int number = 0; number < 2; ++number) {
            const int64_t first = columns.first[number], free = columns.free[number];
            if (column < columns.first[number + 1]) {
                const int64_t which = (column - first) / (free * tables.banks[number].channels);
                const int64_t* table =
                    (number == 0 ? tables.pair_cases : tables.radial_cases) + type * species;
                return std::find(table, table + species, which) != table + species;
            }
        }
        const Bank& g = tables.banks[3];
        const int64_t which = (column - columns.first[2]) / (g.channels * g.size);
        const std::vector<int64_t>& all = cases[type].all;
        return std::find(all.begin(), all.end(), which) != all.end();
    }

    /// How many numbers the sums of one centre are.
    int64_t width() const {
        const Bank& g = tables.banks[3];
        return columns.first[2] + g.cases * g.blocks() * g.size * L;
    }
};

} // namespace mlip
