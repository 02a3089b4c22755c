#pragma once
// Where basis_sums.h keeps the neighbours of a centre and their angles.

#include "aligned.h"

#include "../csrc/snnp_basis.h"

#include <algorithm>
#include <cstdint>
#include <vector>

namespace mlip {

/// What the sums of one thread need. Neighbours lie component by component, with room for a vector more.
struct BasisRoom {
    static constexpr int64_t lanes = ase_mlip::snnp::basis::L;
    static constexpr int64_t kAngles = 768; // listed together; more where a neighbour has more

    Numbers x, y, z, length;             // [most], Å; then the directions
    std::vector<int64_t> types;          // [most]
    Numbers near_x, near_y, near_z, far; // directions of those with angles, [2 most]; their lengths
    std::vector<int64_t> near_types;     // [2 most]
    std::vector<int64_t> first_pairs;    // [most] their types times the number of types
    std::vector<int64_t> starts;         // [species, species] first list of a pair of types
    std::vector<int> near;               // [most] numbers of those with angles
    Numbers splines;                     // [4, most] the B-splines of lengths that do not vanish
    std::vector<int64_t> firsts;         // [most] numbers of the first ones
    Numbers radial;                      // [cases, 4, 3 and pieces and 3] sums of phi or rho
    Numbers sums;                        // [K]
    Numbers f;                           // [2 most, lanes]
    Numbers first, second, third;        // [angles] powers of the places on the pieces
    std::vector<int64_t> pieces;         // [angles]
    std::vector<uint64_t> lists;         // [cases, pieces, stride] angles
    std::vector<uint64_t*> ends;         // [cases, pieces] of the lists
    int64_t most = 0, angles = 0, stride = 0;

    /// Of sums of the pieces of phi or rho.
    static int64_t stride_of(const ase_mlip::snnp::training::Bank& bank) {
        return (bank.size + 2 * ase_mlip::snnp::basis::kZeroTail + lanes - 1) / lanes * lanes;
    }

    /// For as many neighbours.
    void make_room(const ase_mlip::snnp::training::Tables& tables, int64_t neighbours) {
        if (most > 0 && neighbours + lanes <= most) {
            return;
        }
        most = (neighbours + neighbours / 4 + 2 * lanes) / lanes * lanes;
        for (Numbers* one : {&x, &y, &z}) {
            one->assign(most, 0.0);
        }
        for (Numbers* one : {&near_x, &near_y, &near_z}) {
            one->assign(2 * most, 0.0);
        }
        for (Numbers* one : {&length, &far}) {
            one->assign(most, 1.0);
        }
        types.assign(most, 0);
        near.assign(most, 0);
        near_types.assign(2 * most, 0);
        first_pairs.assign(most, 0);
        starts.assign(tables.species * tables.species, 0);
        firsts.assign(most, 0);
        splines.assign(4 * most, 0.0);
        f.assign(2 * most * lanes, 0.0);
        int64_t width = 0;
        for (int k = 0; k < 2; ++k) {
            const auto& bank = tables.banks[k];
            width = std::max(width, 4 * bank.cases * stride_of(bank));
            sums.resize(std::max<size_t>(sums.size(), stride_of(bank)));
        }
        radial.assign(width + lanes, 0.0);
        angles = std::max(kAngles, most);
        for (Numbers* one : {&first, &second, &third}) {
            one->assign(angles + lanes, 0.0);
        }
        pieces.assign(angles + lanes, 0);
        const auto& g = tables.banks[3];
        stride = ((angles + lanes - 1) / lanes | 1) * lanes; // not all lists in the same lines of the cache
        lists.assign(g.cases * g.size * stride, 0);
        ends.assign(g.cases * g.size, nullptr);
    }
};

} // namespace mlip
