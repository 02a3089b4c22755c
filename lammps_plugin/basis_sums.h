#pragma once
// The least-squares basis of one centre of an s-NNP without derivatives: the numbers of csrc/snnp/basis.h,
// from neighbours as the kernel arranges them. Knows neither libtorch nor a LAMMPS class.
//
// A cubic B-spline on a piece between two knots is a polynomial of the place u on it, so that sums over
// angles need the moments sum f u^p, p = 0 to 3, of each piece alone; B-splines follow from these.

#include "basis_layout.h"
#include "basis_room.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace mlip {

/// All cases of g have the same knots, which begin at -1 and end at 1.
template <typename T> struct BasisSums {
    using V = typename Filters<T>::vector;
    using Four = typename Filters<T>::four;
    using Wide = ase_mlip::simd::Vector<T>; // a lane is a neighbour, or an angle
    using Integers = typename ase_mlip::simd::Lanes<T>::integers;
    using Integer = typename BasisRoom<T>::Integer;
    using Bank = ase_mlip::snnp::training::Bank;
    using Arrangement = ase_mlip::snnp::Arrangement<T>;
    using Group = typename Arrangement::Group;
    static constexpr int64_t L = ase_mlip::snnp::basis::L;
    static constexpr int64_t kWide = ase_mlip::simd::lanes<T>;
    static constexpr int64_t kTail = ase_mlip::snnp::basis::kZeroTail;

    const ase_mlip::snnp::training::Tables& tables;
    const ase_mlip::snnp::basis::Columns& columns;
    const std::vector<ase_mlip::snnp::basis::Cases>& cases;
    const T* filters; // of `powers_of`
    BasisRoom<T>& room;

    /// The polynomials of the pieces of a bank's splines, [cases, pieces, blocks, 4, lanes].
    static Numbers<T> powers_of(const Bank& bank) {
        const int64_t stride = bank.blocks * L, pieces = bank.size - kTail;
        Numbers<T> powers(bank.cases * pieces * 4 * stride);
        for (int64_t k = 0; k < bank.cases * pieces * stride; ++k) {
            const int64_t which = k / (pieces * stride), piece = k / stride % pieces, filter = k % stride;
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

    /// Writes the sums of a centre, those that its type has, to `to` [width of the layout]; `room` has room
    /// for its neighbours.
    ASE_MLIP_ALWAYS_INLINE void centre(int64_t type, const Arrangement& neighbours, T* to) const {
        const int64_t *pairs = tables.pair_cases + type * tables.species,
                      *of_types = tables.radial_cases + type * tables.species;
        radial(0, pairs, T(0.5), neighbours, to);
        radial(1, of_types, T(1), neighbours, to);
        for (int64_t block = 0; block < tables.banks[3].blocks; ++block) {
            for (const Group& group : neighbours.groups) {
                evaluate(of_types[group.type], group, neighbours.length, block);
            }
            angles(type, neighbours);
            put_moments(type, block, to);
        }
    }

  private:
    template <typename Vector> static ASE_MLIP_ALWAYS_INLINE Vector load(const T* from) {
        Vector vector;
        std::memcpy(&vector, from, sizeof vector);
        return vector;
    }
    template <typename Vector> static ASE_MLIP_ALWAYS_INLINE void store(T* to, Vector values) {
        std::memcpy(to, &values, sizeof values);
    }
    template <typename Vector> static ASE_MLIP_ALWAYS_INLINE void add(T* to, Vector values) {
        store(to, load<Vector>(to) + values);
    }

    struct Knots {
        Wide origin, inverse, last; // the first one, 1 over their distance, the number of the last piece

        explicit ASE_MLIP_ALWAYS_INLINE Knots(const double* grid)
            : origin(Wide{} + T(grid[0])), inverse(Wide{} + T(1.0 / grid[1])),
              last(Wide{} + T(grid[2] - 1.0)) {}
    };

    /// The piece of arguments x, and the place on it: between 0 and 1 if x is between the knots.
    static ASE_MLIP_ALWAYS_INLINE Wide find(const Knots& knots, Wide x, Integers& piece) {
        const Wide zero = {}, place = (x - knots.origin) * knots.inverse;
        const Wide above = place > zero ? place : zero; // also where it is not a number
        const Wide inside = above > knots.last ? knots.last : above;
        piece = __builtin_convertvector(inside, Integers);
        return place - __builtin_convertvector(piece, Wide);
    }

    // ---- lengths

    /// The pieces of lengths, the places on them, and how far beyond the knots they are, where splines go on
    /// in straight lines.
    ASE_MLIP_ALWAYS_INLINE void find_lengths(const double* grid, const T* lengths, int64_t begin,
                                             int64_t end) const {
        const Knots knots(grid);
        for (int64_t k = begin; k < end; k += kWide) {
            Integers piece;
            const Wide t = find(knots, load<Wide>(lengths + k), piece), zero = {}, one = zero + T(1);
            const Wide u = t > zero ? (t > one ? one : t) : zero;
            store(room.at.data() + k, u);
            store(room.beyond.data() + k, t - u);
            std::memcpy(room.firsts.data() + k, &piece, sizeof piece);
        }
    }

    ASE_MLIP_ALWAYS_INLINE void radial(int number, const int64_t* table, T factor,
                                       const Arrangement& neighbours, T* to) const {
        const Bank& bank = tables.banks[number];
        if (bank.channels == 0) {
            return;
        }
        const int64_t width = 4 * bank.size; // of a case
        for (const Group& group : neighbours.groups) {
            const int64_t which = table[group.type];
            find_lengths(bank.grid + 3 * which, neighbours.length, group.begin, group.far_end);
            add_splines(group.begin, group.far_end, room.radial.data() + which * width);
        }
        for (int64_t which = 0; which < bank.cases; ++which) {
            put_splines(bank.size, room.radial.data() + which * width, factor);
            for (int64_t channel = 0; channel < bank.channels; ++channel) {
                const int64_t spline = which * bank.channels + channel;
                put_free(number, to + columns.first[number] + spline * columns.free[number]);
            }
        }
    }

    ASE_MLIP_ALWAYS_INLINE void add_splines(int64_t begin, int64_t end, T* of_pieces) const {
        const T *const at = room.at.data(), *const beyond = room.beyond.data();
        const Integer* const firsts = room.firsts.data();
        for (int64_t j = begin; j < end; ++j) {
            Four sums = splines(at[j]);
            if (beyond[j] != T(0)) {
                sums += beyond[j] * slopes(at[j]);
            }
            add(of_pieces + 4 * firsts[j], sums);
        }
    }

    /// From the sums of a case by piece, which are cleared for the next centre, to those by B-spline: the
    /// pieces k - 3 to k have the B-spline k.
    ASE_MLIP_ALWAYS_INLINE void put_splines(int64_t size, T* of_pieces, T factor) const {
        T* const sums = room.sums.data();
        T next[3] = {};
        for (int64_t k = 0; k < size; ++k) {
            const Four found = load<Four>(of_pieces + 4 * k);
            store(of_pieces + 4 * k, Four{});
            sums[k] = factor * (next[0] + found[0]);
            next[0] = next[1] + found[1];
            next[1] = next[2] + found[2];
            next[2] = found[3];
        }
    }

    /// The four B-splines that do not vanish at a place on a piece, and their slopes.
    static ASE_MLIP_ALWAYS_INLINE Four splines(T u) {
        constexpr T sixth = T(1.0 / 6.0);
        const Four cubic = {-sixth, T(0.5), T(-0.5), sixth}, square = {T(0.5), T(-1), T(0.5), T(0)},
                   linear = {T(-0.5), T(0), T(0.5), T(0)}, constant = {sixth, T(2.0 / 3.0), sixth, T(0)};
        return constant + u * (linear + u * (square + u * cubic));
    }
    static ASE_MLIP_ALWAYS_INLINE Four slopes(T u) {
        const Four square = {T(-0.5), T(1.5), T(-1.5), T(0.5)}, linear = {T(1), T(-2), T(1), T(0)},
                   constant = {T(-0.5), T(0), T(0.5), T(0)};
        return constant + u * (linear + u * square);
    }

    /// From the coefficients of a spline to those that are columns.
    ASE_MLIP_ALWAYS_INLINE void put_free(int number, T* to) const {
        const T* const sums = room.sums.data();
        const int64_t before = columns.before[number], free = columns.free[number];
        std::copy_n(sums + before, free, to);
        for (int64_t k = 0; k < before; ++k) { // c_k = c_0 + (k - before) (c_1 - c_0)
            const auto steps = static_cast<T>(k - before);
            to[0] += (T(1) - steps) * sums[k];
            to[1] += steps * sums[k];
        }
    }

    // ---- angles

    ASE_MLIP_ALWAYS_INLINE int64_t pieces() const { return tables.banks[3].size - kTail; }

    /// f of the near ones of a group.
    ASE_MLIP_ALWAYS_INLINE void evaluate(int64_t which, const Group& group, const T* lengths,
                                         int64_t block) const {
        const Bank& bank = tables.banks[2];
        find_lengths(bank.grid + 3 * which, lengths, group.begin, group.near_end);
        const int64_t stride = bank.blocks * 4 * L;
        const T* const powers = filters + which * (bank.size - kTail) * stride + block * 4 * L;
        const T *const at = room.at.data(), *const beyond = room.beyond.data();
        const Integer* const firsts = room.firsts.data();
        T* const f = room.f.data();
        for (int64_t j = group.begin; j < group.near_end; ++j) {
            const T *row = powers + firsts[j] * stride, u = at[j];
            const V one = load<V>(row + L), two = load<V>(row + 2 * L), three = load<V>(row + 3 * L);
            V value = load<V>(row) + u * (one + u * (two + u * three));
            if (beyond[j] != T(0)) {
                value += beyond[j] * (one + u * (T(2) * two + T(3) * u * three));
            }
            store(f + j * L, value);
        }
    }

    /// The moments of all angles, for one block of filters.
    ASE_MLIP_ALWAYS_INLINE void angles(int64_t type, const Arrangement& neighbours) const {
        const Knots knots(tables.banks[3].grid);
        const std::vector<Group>& groups = neighbours.groups;
        for (size_t a = 0; a < groups.size(); ++a) {
            for (size_t b = a; b < groups.size(); ++b) {
                const int64_t place = cases[type].place[groups[a].type * tables.species + groups[b].type];
                T* const moments = room.moments.data() + place * pieces() * 4 * L;
                between(neighbours, knots, groups[a], groups[b], moments);
            }
        }
    }

    /// Of each of a group with all of another, or with those before it in its own. Rows of angles are found
    /// together, and then added: numbers that were stored as a vector just before would be late.
    ASE_MLIP_ALWAYS_INLINE void between(const Arrangement& neighbours, const Knots& knots, const Group& group,
                                        const Group& others, T* moments) const {
        const bool same = group.type == others.type;
        const auto length = [&](int64_t j) {
            return same ? j - group.begin : others.near_end - others.begin;
        };
        for (int64_t next = group.begin; next < group.near_end;) {
            const int64_t begin = next;
            for (int64_t found = 0; next < group.near_end && found + length(next) <= room.angles; ++next) {
                find_row(neighbours, knots, next, others.begin, length(next), found);
                found += length(next);
            }
            int64_t number = 0;
            for (int64_t j = begin; j < next; ++j) {
                add_row(j, others.begin, length(j), number, moments);
                number += length(j);
            }
        }
    }

    /// The pieces of the angles of a neighbour with `length` others and the places on them, from number
    /// `begin` on.
    ASE_MLIP_ALWAYS_INLINE void find_row(const Arrangement& neighbours, const Knots& knots, int64_t j,
                                         int64_t first, int64_t length, int64_t begin) const {
        const T *const x = neighbours.x, *const y = neighbours.y, *const z = neighbours.z;
        const T own_x = x[j], own_y = y[j], own_z = z[j];
        T* const places = room.places.data() + begin;
        Integer* const pieces = room.pieces.data() + begin;
        for (int64_t k = 0; k < length; k += kWide) {
            Integers piece;
            const Wide cosine = own_x * load<Wide>(x + first + k) + own_y * load<Wide>(y + first + k) +
                                own_z * load<Wide>(z + first + k);
            store(places + k, find(knots, cosine, piece));
            piece *= Integer(4 * L);
            std::memcpy(pieces + k, &piece, sizeof piece);
        }
    }

    ASE_MLIP_ALWAYS_INLINE void add_row(int64_t j, int64_t first, int64_t length, int64_t begin,
                                        T* moments) const {
        const T *const places = room.places.data() + begin, *const f = room.f.data() + first * L;
        const Integer* const pieces = room.pieces.data() + begin;
        const V own = load<V>(room.f.data() + j * L);
        for (int64_t k = 0; k < length; ++k) {
            T* const to = moments + pieces[k];
            const V product = own * load<V>(f + k * L);
            const T u = places[k];
            const V once = product * u, twice = once * u;
            add(to, product);
            add(to + L, once);
            add(to + 2 * L, twice);
            add(to + 3 * L, twice * u);
        }
    }

    /// From moments to columns: a B-spline has its last piece where its number is.
    ASE_MLIP_ALWAYS_INLINE void put_moments(int64_t type, int64_t block, T* to) const {
        constexpr T sixth = T(1.0 / 6.0);
        const Bank& bank = tables.banks[3];
        T* moments = room.moments.data();
        for (const int64_t which : cases[type].all) {
            T* sums = to + columns.first[2] + (which * bank.blocks + block) * bank.size * L;
            V next[3] = {};
            for (int64_t piece = 0; piece < pieces(); ++piece) {
                V a[4];
                for (int p = 0; p < 4; ++p) {
                    a[p] = load<V>(moments + p * L);
                    store(moments + p * L, V{}); // for the next centre
                }
                moments += 4 * L;
                store<V>(sums, next[0] + sixth * (a[0] - T(3) * (a[1] - a[2]) - a[3]));
                next[0] = next[1] + sixth * (T(4) * a[0] - T(6) * a[2] + T(3) * a[3]);
                next[1] = next[2] + sixth * (a[0] + T(3) * (a[1] + a[2] - a[3]));
                next[2] = sixth * a[3];
                sums += L;
            }
            for (const V& one : next) {
                store(sums, one);
                sums += L;
            }
        }
    }
};

} // namespace mlip
