#pragma once
// The least-squares basis of one centre of an s-NNP without derivatives: the numbers of csrc/snnp/basis.h,
// from neighbours as the kernel arranges them. Knows neither libtorch nor a LAMMPS class.
//
// A cubic B-spline on a piece between two knots is a polynomial of the place u on it, so that sums over
// angles need the moments sum f u^p, p = 0 to 3, of each piece alone; B-splines follow from these.

#include "basis_angles.h"
#include "basis_layout.h"
#include "basis_room.h"
#include "basis_splines.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace mlip {

/// With vectors of one width.
template <typename T, int W> struct BasisSumsBy {
    using Wide = ase_mlip::simd::Vector<T, W>; // a lane is a neighbour, or an angle
    using Integers = ase_mlip::simd::Integers<T, W>;
    using Integer = typename BasisRoom<T>::Integer;
    using Bank = ase_mlip::snnp::training::Bank;
    using Arrangement = ase_mlip::snnp::Arrangement<T>;
    using Group = typename Arrangement::Group;
    using Knots = typename BasisSplines<T>::Knots;
    static constexpr int64_t L = ase_mlip::snnp::basis::kMostLanes;
    static constexpr int64_t kWide = ase_mlip::simd::lanes<T, W>;
    // A part of a block; a lane is a filter. Sums are read, added to and stored again at once, and there a
    // Zen 5 is slower with one vector of 64 bytes than with two of 32.
    using V = ase_mlip::simd::Vector<T, std::min<int>(W, 32)>;
    static constexpr int64_t kPart = ase_mlip::simd::lanes_of<V>;
    // Four lanes are a neighbour and its B-splines, so that there is a whole neighbour in any vector.
    using Four = ase_mlip::simd::Vector<T, 4 * sizeof(T)>;
    using Fours = ase_mlip::simd::Vector<T, std::max<int>(W, 4 * sizeof(T))>;
    static constexpr int64_t kFours = ase_mlip::simd::lanes_of<Fours>;

    const ase_mlip::snnp::training::Tables& tables;
    const ase_mlip::snnp::basis::Columns& columns;
    const std::vector<ase_mlip::snnp::basis::Cases>& cases;
    const BasisSplines<T>& splines;
    BasisRoom<T>& room;

    ASE_MLIP_ALWAYS_INLINE void centre(int64_t type, const Arrangement& neighbours, T* to) const {
        const int64_t *pairs = tables.pair_cases + type * tables.species,
                      *of_types = tables.radial_cases + type * tables.species;
        sum_lengths(0, pairs, neighbours);
        put_lengths(0, pairs, T(0.5), pairs, to);
        if (splines.same_lengths[type]) {
            put_lengths(1, of_types, T(1), pairs, to);
            clear_lengths(0, pairs);
        } else {
            clear_lengths(0, pairs);
            sum_lengths(1, of_types, neighbours);
            put_lengths(1, of_types, T(1), of_types, to);
            clear_lengths(1, of_types);
        }
        for (int64_t block = 0; block < tables.banks[3].blocks(); ++block) {
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

    // ---- lengths

    /// The pieces of lengths, the places on them, and how far beyond the knots they are, where splines go on
    /// in straight lines.
    ASE_MLIP_ALWAYS_INLINE void find_lengths(const Knots& knots, const T* lengths, int64_t begin,
                                             int64_t end) const {
        T *const at = room.at.data(), *const beyond = room.beyond.data();
        Integer* const firsts = room.firsts.data();
        for (int64_t k = begin; k < end; k += kWide) {
            Integers piece;
            const Wide t = knots.find(load<Wide>(lengths + k), piece), zero = {}, one = zero + T(1);
            const Wide u = t > zero ? (t > one ? one : t) : zero;
            store(at + k, u);
            store(beyond + k, t - u);
            std::memcpy(firsts + k, &piece, sizeof piece);
        }
    }

    /// Adds the B-splines of all lengths, by case of `table` and by piece.
    ASE_MLIP_ALWAYS_INLINE void sum_lengths(int number, const int64_t* table,
                                            const Arrangement& neighbours) const {
        if (tables.banks[number].channels == 0) {
            return;
        }
        for (const Group& group : neighbours.groups) {
            const int64_t which = table[group.type];
            find_lengths(splines.knots[number][which], neighbours.length, group.begin, group.far_end);
            add_splines(group.begin, group.far_end, pieces_of(number, which));
        }
    }

    /// Writes the columns of a bank with the cases of `table`; the sums are those of the cases of `summed`.
    ASE_MLIP_ALWAYS_INLINE void put_lengths(int number, const int64_t* table, T factor, const int64_t* summed,
                                            T* to) const {
        const Bank& bank = tables.banks[number];
        if (bank.channels == 0) {
            return;
        }
        for (int64_t t = 0; t < tables.species; ++t) {
            const int64_t which = table[t];
            if (std::find(table, table + t, which) != table + t) {
                continue; // as another species
            }
            put_splines(bank.size, pieces_of(number, summed[t]), factor);
            for (int64_t channel = 0; channel < bank.channels; ++channel) {
                const int64_t spline = which * bank.channels + channel;
                put_free(number, to + columns.first[number] + spline * columns.free[number]);
            }
        }
    }

    ASE_MLIP_ALWAYS_INLINE void clear_lengths(int number, const int64_t* table) const {
        if (tables.banks[number].channels > 0) {
            for (int64_t t = 0; t < tables.species; ++t) {
                std::fill_n(pieces_of(number, table[t]), 4 * tables.banks[number].size, T(0));
            }
        }
    }

    ASE_MLIP_ALWAYS_INLINE T* pieces_of(int number, int64_t which) const {
        return room.radial.data() + which * 4 * tables.banks[number].size;
    }

    ASE_MLIP_ALWAYS_INLINE void add_splines(int64_t begin, int64_t end, T* of_pieces) const {
        constexpr int64_t together = kFours / 4; // neighbours
        const T *const at = room.at.data(), *const beyond = room.beyond.data();
        T* const values = room.splines.data();
        for (int64_t j = begin; j < end; j += together) {
            store(values + 4 * j, splines_at(fourfold(at + j), fourfold(beyond + j)));
        }
        const Integer* const firsts = room.firsts.data();
        for (int64_t j = begin; j < end; ++j) {
            add(of_pieces + 4 * firsts[j], load<Four>(values + 4 * j));
        }
    }

    /// From the sums of a case by piece to those by B-spline: the pieces k - 3 to k have the B-spline k.
    ASE_MLIP_ALWAYS_INLINE void put_splines(int64_t size, const T* from, T factor) const {
        T* const sums = room.sums.data();
        for (int64_t k = 0; k < std::min<int64_t>(size, 3); ++k) {
            sums[k] = T(0);
            for (int64_t back = 0; back <= k; ++back) {
                sums[k] += factor * from[4 * k - 3 * back];
            }
        }
        for (int64_t k = 3; k < size; ++k) {
            sums[k] = factor * ((from[4 * k] + from[4 * k - 3]) + (from[4 * k - 6] + from[4 * k - 9]));
        }
    }

    /// As many numbers as fill a vector, each four times.
    static ASE_MLIP_ALWAYS_INLINE Fours fourfold(const T* from) {
#if defined(__GNUC__) && !defined(__clang__)
        ase_mlip::simd::Integers<T, sizeof(Fours)> lanes = {};
        for (int64_t lane = 0; lane < kFours; ++lane) {
            lanes[lane] = lane / 4;
        }
        return __builtin_shuffle(load<Fours>(from), lanes);
#else
        Fours found = {};
        for (int64_t lane = 0; lane < kFours; ++lane) {
            found[lane] = from[lane / 4];
        }
        return found;
#endif
    }
    /// Four numbers, again and again.
    static ASE_MLIP_ALWAYS_INLINE Fours again(T a, T b, T c, T d) {
        Fours found = {};
        for (int64_t lane = 0; lane < kFours; lane += 4) {
            found[lane] = a;
            found[lane + 1] = b;
            found[lane + 2] = c;
            found[lane + 3] = d;
        }
        return found;
    }

    /// The four B-splines that do not vanish at places on pieces, and the straight lines beyond the knots;
    /// four lanes are a neighbour.
    static ASE_MLIP_ALWAYS_INLINE Fours splines_at(Fours u, Fours beyond) {
        constexpr T sixth = T(1.0 / 6.0), third = T(2.0 / 3.0), half = T(0.5);
        const Fours c3 = again(-sixth, half, -half, sixth), c2 = again(half, T(-1), half, T(0)),
                    c1 = again(-half, T(0), half, T(0)), c0 = again(sixth, third, sixth, T(0));
        const Fours s2 = again(-half, T(1.5), T(-1.5), half), s1 = again(T(1), T(-2), T(1), T(0));
        return c0 + u * (c1 + u * (c2 + u * c3)) + beyond * (c1 + u * (s1 + u * s2));
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

    ASE_MLIP_ALWAYS_INLINE int64_t pieces() const { return splines.pieces(tables.banks[3]); }

    /// f of the near ones of a group.
    ASE_MLIP_ALWAYS_INLINE void evaluate(int64_t which, const Group& group, const T* lengths,
                                         int64_t block) const {
        const Bank& bank = tables.banks[2];
        find_lengths(splines.knots[2][which], lengths, group.begin, group.near_end);
        const int64_t stride = bank.blocks() * 4 * L;
        const T* const powers =
            splines.f.data() + (which * splines.pieces(bank) * bank.blocks() + block) * 4 * L;
        const T *const at = room.at.data(), *const beyond = room.beyond.data();
        const Integer* const firsts = room.firsts.data();
        T* const f = room.f.data();
        for (int64_t j = group.begin; j < group.near_end; ++j) {
            const T *row = powers + firsts[j] * stride, u = at[j];
            for (int64_t lane = 0; lane < L; lane += kPart) {
                const V one = load<V>(row + L + lane), two = load<V>(row + 2 * L + lane),
                        three = load<V>(row + 3 * L + lane);
                V value = load<V>(row + lane) + u * (one + u * (two + u * three));
                if (beyond[j] != T(0)) {
                    value += beyond[j] * (one + u * (T(2) * two + T(3) * u * three));
                }
                store(f + j * L + lane, value);
            }
        }
    }

    /// The moments of all angles, for one block of filters.
    ASE_MLIP_ALWAYS_INLINE void angles(int64_t type, const Arrangement& neighbours) const {
        const BasisAngles<T, W> all{splines.knots[3][0], pieces(),     neighbours.x,
                                    neighbours.y,        neighbours.z, room};
        const std::vector<Group>& groups = neighbours.groups;
        for (size_t a = 0; a < groups.size(); ++a) {
            for (size_t b = a; b < groups.size(); ++b) {
                const int64_t place = cases[type].place[groups[a].type * tables.species + groups[b].type];
                all.between(groups[a], groups[b], room.moments.data() + place * pieces() * 4 * L);
            }
        }
    }

    /// From moments to columns: a B-spline has its last piece where its number is.
    ASE_MLIP_ALWAYS_INLINE void put_moments(int64_t type, int64_t block, T* to) const {
        constexpr T sixth = T(1.0 / 6.0);
        const Bank& bank = tables.banks[3];
        const int64_t count = pieces(), width = bank.size * L, blocks = bank.blocks();
        T *moments = room.moments.data(), *const begin = to + columns.first[2] + block * width;
        for (const int64_t which : cases[type].all) {
            for (int64_t lane = 0; lane < L; lane += kPart) {
                T *from = moments + lane, *sums = begin + which * blocks * width + lane;
                V next[3] = {};
                for (int64_t piece = 0; piece < count; ++piece) {
                    V a[4];
                    for (int p = 0; p < 4; ++p) {
                        a[p] = load<V>(from + p * L);
                        store(from + p * L, V{}); // for the next centre
                    }
                    from += 4 * L;
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
            moments += 4 * L * count;
        }
    }
};

/// All cases of g have the same knots, which begin at -1 and end at 1.
template <typename T> struct BasisSums {
    const ase_mlip::snnp::training::Tables& tables;
    const ase_mlip::snnp::basis::Columns& columns;
    const std::vector<ase_mlip::snnp::basis::Cases>& cases;
    const BasisSplines<T>& splines;
    BasisRoom<T>& room;

    /// Writes the sums of a centre, those that its type has, to `to` [width of the layout]; `room` has room
    /// for its neighbours.
    template <int W>
    ASE_MLIP_ALWAYS_INLINE void centre(int64_t type, const ase_mlip::snnp::Arrangement<T>& neighbours,
                                       T* to) const {
        BasisSumsBy<T, W>{tables, columns, cases, splines, room}.centre(type, neighbours, to);
    }
};

} // namespace mlip
