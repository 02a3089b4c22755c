#pragma once
// Where basis_sums.h keeps the neighbours of a centre and their angles.

#include "aligned.h"

#include "../csrc/snnp/basis.h"

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

namespace mlip {

/// What the sums of one thread need, in float or double. Neighbours lie component by component, with room for
/// a vector more.
template <typename T> struct BasisRoom {
    static constexpr int64_t lanes = ase_mlip::snnp::basis::L;
    static constexpr int64_t kAngles = 256; // found together; more where a neighbour has more
    using Integer = std::conditional_t<std::is_same_v<T, float>, int32_t, int64_t>;

    Numbers<T> x, y, z, length;             // [most], Å; then the directions
    std::vector<int64_t> types;             // [most]
    Numbers<T> near_x, near_y, near_z, far; // directions of those with angles, [2 most]; their lengths
    std::vector<int64_t> near_types;        // [2 most]
    std::vector<int64_t> first_pairs;       // [most] their types times the number of types
    std::vector<int64_t> starts;            // [species, species] first piece of a pair of types
    std::vector<int> near;                  // [most] numbers of those with angles
    Numbers<T> at, beyond;                  // [most] places of lengths on the pieces, and beyond the knots
    Numbers<Integer> firsts;                // [most] numbers of the pieces
    Numbers<T> radial;                      // [cases, K, 4] sums of B-splines by piece; zero between centres
    Numbers<T> sums;                        // [K]
    Numbers<T> f;                           // [2 most, lanes]
    Numbers<T> places;                      // [angles] places on the pieces
    Numbers<Integer> pieces;                // [angles]
    Numbers<T> moments; // [2, cases, pieces, 4, lanes] sums of f f u^p; zero between centres
    int64_t most = 0, angles = 0;

    /// For as many neighbours.
    void make_room(const ase_mlip::snnp::training::Tables& tables, int64_t neighbours) {
        if (most > 0 && neighbours + lanes <= most) {
            return;
        }
        most = (neighbours + neighbours / 4 + 2 * lanes) / lanes * lanes;
        for (Numbers<T>* one : {&x, &y, &z}) {
            one->assign(most, T(0));
        }
        for (Numbers<T>* one : {&near_x, &near_y, &near_z}) {
            one->assign(2 * most, T(0));
        }
        for (Numbers<T>* one : {&length, &far}) {
            one->assign(most, T(1));
        }
        types.assign(most, 0);
        near.assign(most, 0);
        near_types.assign(2 * most, 0);
        first_pairs.assign(most, 0);
        starts.assign(tables.species * tables.species, 0);
        firsts.assign(most, 0);
        at.assign(most, T(0));
        beyond.assign(most, T(0));
        f.assign(2 * most * lanes, T(0));
        int64_t width = 0;
        for (int k = 0; k < 2; ++k) {
            const auto& bank = tables.banks[k];
            width = std::max(width, 4 * bank.cases * bank.size);
            sums.resize(std::max<size_t>(sums.size(), bank.size + lanes));
        }
        radial.assign(width + lanes, T(0));
        angles = std::max(kAngles, most);
        places.assign(angles + lanes, T(0));
        pieces.assign(angles + lanes, 0);
        const auto& g = tables.banks[3];
        moments.assign(2 * g.cases * g.size * 4 * lanes, T(0));
    }
};

/// A vector of as many numbers as a block has filters, in float or double.
template <typename T> struct Filters {
    typedef T vector __attribute__((vector_size(ase_mlip::snnp::basis::L * sizeof(T))));
    typedef typename BasisRoom<T>::Integer integers
        __attribute__((vector_size(ase_mlip::snnp::basis::L * sizeof(T))));
    typedef T four __attribute__((vector_size(4 * sizeof(T)))); // B-splines
};

} // namespace mlip
