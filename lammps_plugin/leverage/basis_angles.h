#pragma once
// The moments of the angles of a centre: sums of f f u^p, p = 0 to 3, over those whose cosine lies on one
// piece of g, with u its place there.
//
// Angles are found in rows. In double many of them are then sorted by piece, so that the sums of a piece stay
// in registers: every number that is added in memory is stored again, and there is a store in a cycle at
// most. Where a piece has few, or in float, where half as many vectors are stored, sorting would take longer
// than it saves.

#include "basis_room.h"
#include "basis_splines.h"

#include <algorithm>
#include <cstdint>

namespace mlip {

/// With vectors of one width. All of it is held here by value: rows are short, so that what comes before
/// their loops counts.
template <typename T, int W> struct BasisAngles {
    using Wide = ase_mlip::simd::Vector<T, W>; // a lane is an angle
    using Integers = ase_mlip::simd::Integers<T, W>;
    using Integer = typename BasisRoom<T>::Integer;
    using Group = typename ase_mlip::snnp::Arrangement<T>::Group;
    static constexpr int64_t L = ase_mlip::snnp::basis::kMostLanes;
    static constexpr int64_t kWide = ase_mlip::simd::lanes<T, W>;
    static constexpr bool kSorts = sizeof(T) == sizeof(double);
    static constexpr int64_t kSortFrom = 24; // angles for each piece
    // A part of a block of filters; a lane is a filter.
    template <int Bytes> struct Part {
        using V = ase_mlip::simd::Vector<T, Bytes>;
        static constexpr int64_t lanes = ase_mlip::simd::lanes<T, Bytes>, count = L / lanes;
        static ASE_MLIP_ALWAYS_INLINE V vector(const T* from) { return ase_mlip::simd::load<Bytes>(from); }
        static ASE_MLIP_ALWAYS_INLINE void increase(T* to, V values) {
            ase_mlip::simd::store(to, vector(to) + values);
        }
    };
    // Sums in memory are read, added to and stored again at once, and there a Zen 5 is slower with one vector
    // of 64 bytes than with two of 32.
    using InMemory = Part<std::min<int>(W, 32)>;
    using InRegisters = Part<std::min<int>(W, L * sizeof(T))>;

    typename BasisSplines<T>::Knots knots;
    int64_t count; // of pieces
    const T *x, *y, *z, *f;
    T* places;
    Integer *pieces, *own, *others;
    int32_t* sorted;
    int64_t* ends;
    int64_t most, stride; // angles found together, from the sorted ones of a piece to those of the next

    BasisAngles(const typename BasisSplines<T>::Knots& knots, int64_t count, const T* x, const T* y,
                const T* z, BasisRoom<T>& room)
        : knots(knots), count(count), x(x), y(y), z(z), f(room.f.data()), places(room.places.data()),
          pieces(room.pieces.data()), own(room.own.data()), others(room.others.data()),
          sorted(room.sorted.data()), ends(room.ends.data()), most(room.angles), stride(room.stride) {}

    /// Adds the angles of each of a group with all of another, or with those before it in its own, to
    /// `moments` [pieces, 4, L].
    ASE_MLIP_ALWAYS_INLINE void between(const Group& group, const Group& others, T* moments) const {
        const int64_t own = group.near_end - group.begin, other = others.near_end - others.begin;
        const int64_t angles = group.type == others.type ? own * (own - 1) / 2 : own * other;
        if (kSorts && std::min(angles, most) >= kSortFrom * count) {
            add_all<kSorts>(group, others, moments);
        } else {
            add_all<false>(group, others, moments);
        }
    }

  private:
    /// Rows of angles are found together, and then added: numbers that were stored as a vector just before
    /// would be late.
    template <bool Sorts>
    ASE_MLIP_ALWAYS_INLINE void add_all(const Group& group, const Group& others, T* moments) const {
        const int64_t more = group.type == others.type ? 1 : 0; // of a row than of the one before
        const int64_t first = others.begin, end = group.near_end;
        int64_t length = more == 1 ? 0 : others.near_end - first, next = group.begin;
        while (next < end) {
            const int64_t begin = next, shortest = length;
            int64_t found = 0;
            for (; next < end && found + length <= most; ++next) {
                find_row<Sorts>(next, first, length, found);
                found += length;
                length += more;
            }
            if constexpr (Sorts) {
                add_sorted(found, moments);
            } else {
                add_rows(begin, next, first, shortest, more, moments);
            }
        }
    }

    /// The angles of a neighbour with `length` others, from number `begin` on: their pieces and the places on
    /// them, and where they are sorted, the two neighbours.
    template <bool Sorts>
    ASE_MLIP_ALWAYS_INLINE void find_row(int64_t j, int64_t first, int64_t length, int64_t begin) const {
        using ase_mlip::simd::load;
        const T own_x = knots.inverse * x[j], own_y = knots.inverse * y[j], own_z = knots.inverse * z[j];
        const T origin = knots.inverse * knots.origin;
        for (int64_t k = 0; k < length; k += kWide) {
            const T *const other_x = x + first + k, *const other_y = y + first + k,
                           *const other_z = z + first + k;
            Integers piece;
            const Wide place =
                own_x * load<W>(other_x) + (own_y * load<W>(other_y) + (own_z * load<W>(other_z) - origin));
            ase_mlip::simd::store(places + begin + k, knots.split(place, piece));
            if constexpr (Sorts) {
                Integers other = {};
                for (int64_t lane = 0; lane < kWide; ++lane) {
                    other[lane] = Integer((first + k + lane) * L);
                }
                const Integers same = Integers{} + Integer(j * L);
                std::memcpy(own + begin + k, &same, sizeof same);
                std::memcpy(others + begin + k, &other, sizeof other);
            } else {
                piece *= Integer(4 * L);
            }
            std::memcpy(pieces + begin + k, &piece, sizeof piece);
        }
    }

    // ---- in memory

    ASE_MLIP_ALWAYS_INLINE void add_rows(int64_t begin, int64_t end, int64_t first, int64_t length,
                                         int64_t more, T* moments) const {
        int64_t number = 0;
        for (int64_t j = begin; j < end; ++j) {
            add_row(j, first, length, number, moments);
            number += length;
            length += more;
        }
    }

    ASE_MLIP_ALWAYS_INLINE void add_row(int64_t j, int64_t first, int64_t length, int64_t begin,
                                        T* moments) const {
        using V = typename InMemory::V;
        V one[InMemory::count];
        for (int64_t part = 0; part < InMemory::count; ++part) {
            one[part] = InMemory::vector(f + j * L + part * InMemory::lanes);
        }
        for (int64_t k = 0; k < length; ++k) {
            T* to = moments + pieces[begin + k];
            const T *other = f + (first + k) * L, u = places[begin + k];
            for (int64_t part = 0; part < InMemory::count; ++part) {
                const V product = one[part] * InMemory::vector(other + part * InMemory::lanes);
                const V once = product * u, twice = once * u;
                InMemory::increase(to, product);
                InMemory::increase(to + L, once);
                InMemory::increase(to + 2 * L, twice);
                InMemory::increase(to + 3 * L, twice * u);
                to += InMemory::lanes;
            }
        }
    }

    // ---- sorted

    ASE_MLIP_ALWAYS_INLINE void add_sorted(int64_t found, T* moments) const {
        for (int64_t k = 0; k < found; ++k) {
            sorted[ends[pieces[k]]++] = static_cast<int32_t>(k);
        }
        for (int64_t piece = 0; piece < count; ++piece) {
            const int64_t begin = piece * stride;
            add_piece(sorted + begin, ends[piece] - begin, moments + piece * 4 * L);
            ends[piece] = begin;
        }
    }

    /// Adds the moments of angles on one piece. Eight sums are under way at once, of two parts or of two
    /// angles: that hides how long an addition takes.
    ASE_MLIP_ALWAYS_INLINE void add_piece(const int32_t* angles, int64_t number, T* moments) const {
        using V = typename InRegisters::V;
        constexpr int64_t parts = std::min<int64_t>(InRegisters::count, 2), sets = 2 / parts;
        for (int64_t part = 0; part < InRegisters::count; part += parts) {
            V sums[2][4] = {};
            int64_t k = 0;
            for (; k + sets <= number; k += sets) {
                for (int64_t one = 0; one < 2; ++one) {
                    add(angles[k + one / parts], (part + one % parts) * InRegisters::lanes, sums[one]);
                }
            }
            if (k < number) { // of two sets
                add(angles[k], 0, sums[0]);
            }
            for (int64_t p = 0; p < 4; ++p) {
                T* const to = moments + p * L + part * InRegisters::lanes;
                for (int64_t one = 0; one < 2; ++one) {
                    InRegisters::increase(to + one % parts * InRegisters::lanes, sums[one][p]);
                }
            }
        }
    }

    ASE_MLIP_ALWAYS_INLINE void add(int64_t angle, int64_t lane, typename InRegisters::V* sums) const {
        const T u = places[angle];
        const auto product =
            InRegisters::vector(f + own[angle] + lane) * InRegisters::vector(f + others[angle] + lane);
        const auto twice = product * (u * u);
        sums[0] += product;
        sums[1] += product * u;
        sums[2] += twice;
        sums[3] += twice * u;
    }
};

} // namespace mlip
