#pragma once
// What basis_sums.h needs of the banks of an s-NNP for every centre, in float or double.

#include "../../csrc/simd/aligned.h"
#include "../../csrc/simd/vectors.h"
#include "../../csrc/snnp/basis.h"

#include <algorithm>
#include <cstdint>
#include <vector>

namespace mlip {

using ase_mlip::simd::Numbers;

template <typename T> struct BasisSplines {
    using Bank = ase_mlip::snnp::training::Bank;
    static constexpr int64_t L = ase_mlip::snnp::basis::kMostLanes; // filters of a block

    struct Knots {
        T origin, inverse, last; // the first one, 1 over their distance, the number of the last piece

        /// The pieces of arguments x, and the places on them: between 0 and 1 if x is between the knots.
        template <typename Wide, typename Integers>
        ASE_MLIP_ALWAYS_INLINE Wide find(Wide x, Integers& piece) const {
            return split((x - origin) * inverse, piece);
        }
        /// As `find`, with the number of pieces from the first knot to the argument.
        template <typename Wide, typename Integers>
        ASE_MLIP_ALWAYS_INLINE Wide split(Wide place, Integers& piece) const {
            const Wide zero = {}, top = zero + last;
            const Wide above = place > zero ? place : zero; // also where it is not a number
            const Wide inside = above > top ? top : above;
            return place - ase_mlip::simd::whole(inside, piece);
        }
    };
    std::vector<Knots> knots[4];    // of the cases of phi, rho, f and g
    std::vector<bool> same_lengths; // by type of a centre: whether rho has the knots and cases of phi
    Numbers<T> f;                   // the polynomials of its pieces, [cases, pieces, blocks, 4, lanes]

    explicit BasisSplines(const ase_mlip::snnp::training::Tables& tables) : f(powers_of(tables.banks[2])) {
        for (int number = 0; number < 4; ++number) {
            const Bank& bank = tables.banks[number];
            for (const double* grid = bank.grid; grid != bank.grid + 3 * bank.cases; grid += 3) {
                knots[number].push_back({T(grid[0]), T(1.0 / grid[1]), T(grid[2] - 1.0)});
            }
        }
        for (int64_t type = 0; type < tables.species; ++type) {
            same_lengths.push_back(has_same_lengths(tables, type));
        }
    }

    static int64_t pieces(const Bank& bank) { return bank.size - ase_mlip::snnp::basis::kZeroTail; }

  private:
    static bool has_same_lengths(const ase_mlip::snnp::training::Tables& tables, int64_t type) {
        const Bank &phi = tables.banks[0], &rho = tables.banks[1];
        const int64_t *pairs = tables.pair_cases + type * tables.species,
                      *of_types = tables.radial_cases + type * tables.species;
        bool same = phi.channels > 0 && rho.channels > 0 && phi.size == rho.size;
        for (int64_t t = 0; same && t < tables.species; ++t) {
            const double *one = phi.grid + 3 * pairs[t], *other = rho.grid + 3 * of_types[t];
            same = std::equal(one, one + 3, other);
            for (int64_t u = 0; u < t; ++u) {
                same = same && (pairs[t] == pairs[u]) == (of_types[t] == of_types[u]);
            }
        }
        return same;
    }

    static Numbers<T> powers_of(const Bank& bank) {
        const int64_t stride = bank.blocks() * L, count = bank.cases * pieces(bank);
        Numbers<T> powers(count * 4 * stride);
        for (int64_t k = 0; k < count * stride; ++k) {
            const int64_t which = k / (pieces(bank) * stride), piece = k / stride % pieces(bank),
                          filter = k % stride;
            const double* c = bank.coefficients.data() + bank.row(which, piece) + filter;
            const double c0 = c[0], c1 = c[stride], c2 = c[2 * stride], c3 = c[3 * stride];
            T* to = powers.data() + (k / stride * stride + filter / L * L) * 4 + filter % L;
            to[0] = T((c0 + 4.0 * c1 + c2) / 6.0);
            to[L] = T((c2 - c0) / 2.0);
            to[2 * L] = T((c0 - 2.0 * c1 + c2) / 2.0);
            to[3 * L] = T((c3 - c0 + 3.0 * (c1 - c2)) / 6.0);
        }
        return powers;
    }
};

} // namespace mlip
