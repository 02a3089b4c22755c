#pragma once
// Where basis_sums.h keeps what it finds for the neighbours of a centre and their angles.

#include "../../csrc/simd/aligned.h"
#include "../../csrc/snnp/arrangement.h"
#include "../../csrc/snnp/basis.h"

#include <algorithm>
#include <cstdint>
#include <vector>

namespace mlip {

using ase_mlip::simd::Numbers;

/// What the sums of one thread need, in float or double. Numbers of neighbours lie as these are arranged.
template <typename T> struct BasisRoom {
    static constexpr int64_t lanes = ase_mlip::snnp::basis::kMostLanes; // filters of a block
    static constexpr int64_t kAngles = 512; // found together; more where a neighbour has more
    using Integer = typename ase_mlip::simd::Format<T>::Integer;

    Numbers<T> at, beyond;           // [M] places of lengths on the pieces, and beyond the knots
    Numbers<Integer> firsts;         // [M] numbers of the pieces
    Numbers<T> splines;              // [M, 4] B-splines on the pieces
    Numbers<T> radial;               // [cases, K, 4] sums of B-splines by piece; zero between centres
    Numbers<T> sums;                 // [K]
    Numbers<T> f;                    // [M, lanes]
    Numbers<T> places;               // [angles] places on the pieces
    Numbers<Integer> pieces;         // [angles] their numbers, in float times a piece's numbers of moments
    Numbers<Integer> own, others;    // [angles] where the f of their two neighbours begin
    std::vector<int32_t> sorted;     // [pieces, stride] numbers of the angles of each piece
    std::vector<int64_t> ends;       // [pieces] where these end; between centres where they begin
    Numbers<T> moments;              // [cases, pieces, 4, lanes] sums of f f u^p; zero between centres
    int64_t entries = 0, angles = 0; // M
    int64_t stride = 0;

    void make_room(const ase_mlip::snnp::training::Tables& tables, int64_t wanted) {
        if (wanted <= entries) {
            return;
        }
        constexpr int64_t more = ase_mlip::simd::most_lanes<T>; // whole vectors are written
        entries = wanted;
        at.resize(entries + more);
        beyond.resize(entries + more);
        splines.resize(4 * entries + more);
        firsts.resize(entries);
        f.resize(entries * lanes);
        angles = std::max(kAngles, entries);
        places.resize(angles + more);
        pieces.resize(angles + more);
        own.resize(angles + more);
        others.resize(angles + more);
        int64_t width = 0, size = 0;
        for (int k = 0; k < 2; ++k) {
            const auto& bank = tables.banks[k];
            width = std::max(width, 4 * bank.cases * bank.size);
            size = std::max(size, bank.size);
        }
        radial.resize(width);
        sums.resize(size + lanes);
        const auto& g = tables.banks[3];
        moments.resize(g.cases * g.size * 4 * lanes);
        stride = angles + 32; // not 512 numbers, with which all pieces would share one place in the cache
        sorted.resize(g.size * stride);
        ends.resize(g.size);
        for (int64_t piece = 0; piece < g.size; ++piece) {
            ends[piece] = piece * stride;
        }
    }
};

} // namespace mlip
