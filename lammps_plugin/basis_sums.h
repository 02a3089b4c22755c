#pragma once
// The least-squares basis of one centre of an s-NNP without derivatives: the numbers of csrc/snnp/basis.h,
// with whole vectors of neighbours and of angles. Knows neither libtorch nor a LAMMPS class.
//
// A cubic B-spline on a piece between two knots is a polynomial of the place u on it, so that sums over
// angles need the moments sum f u^p, p = 0 to 3, of each piece alone; B-splines follow from these.

#include "basis_layout.h"
#include "basis_room.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

namespace mlip {

/// All cases of g have the same knots, which begin at -1 and end at 1.
template <typename T> struct BasisSums {
    using V = typename Filters<T>::vector;
    using Integers = typename Filters<T>::integers;
    using Four = typename Filters<T>::four;
    using Integer = typename BasisRoom<T>::Integer;
    using Bank = ase_mlip::snnp::training::Bank;
    static constexpr int64_t L = ase_mlip::snnp::basis::L;
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

    /// Writes the sums of a centre, those that its type has, to `to` [width of the layout]. Its `count`
    /// neighbours, all within the cutoff, are vectors and types in `room`.
    ASE_MLIP_ALWAYS_INLINE void centre(int64_t type, int64_t count, T* to) const {
        directions(count);
        radial(0, tables.pair_cases, T(0.5), type, count, to);
        radial(1, tables.radial_cases, T(1), type, count, to);
        const int64_t near = choose(count);
        if (near < 2) {
            clear_angles(type, to);
            return;
        }
        find_lengths(tables.banks[2], tables.radial_cases + type * tables.species, room.near_types.data(),
                     room.far.data(), near);
        for (int64_t block = 0; block < tables.banks[3].blocks; ++block) {
            evaluate(type, near, block);
            angles(type, near);
            put_moments(type, block, to);
        }
    }

  private:
    static ASE_MLIP_ALWAYS_INLINE V load(const T* from) {
        V vector;
        std::memcpy(&vector, from, sizeof vector);
        return vector;
    }
    static ASE_MLIP_ALWAYS_INLINE void store(T* to, V values) { std::memcpy(to, &values, sizeof values); }
    static ASE_MLIP_ALWAYS_INLINE void add(T* to, V values) { store(to, load(to) + values); }

    /// 1 / sqrt(x) of normal numbers, by Newton's iteration from a guess that is right to 4 %.
    static ASE_MLIP_ALWAYS_INLINE V inverse_root(V x) {
        constexpr bool is_single = std::is_same_v<T, float>;
        const Integers magic = Integers{} + Integer(is_single ? 0x5f3759df : 0x5fe6eb50c7b537a9);
        Integers bits;
        std::memcpy(&bits, &x, sizeof bits);
        bits = magic - (bits >> 1);
        V y;
        std::memcpy(&y, &bits, sizeof y);
        const V half = T(0.5) * x;
        for (int k = 0; k < (is_single ? 3 : 4); ++k) {
            y += y * (T(0.5) - half * y * y);
        }
        return y;
    }

    ASE_MLIP_ALWAYS_INLINE void directions(int64_t count) const {
        T *const to_x = room.x.data(), *const to_y = room.y.data(), *const to_z = room.z.data(),
                 *const lengths = room.length.data();
        for (int64_t k = 0; k < count; k += L) {
            const V x = load(to_x + k), y = load(to_y + k), z = load(to_z + k);
            const V squared = x * x + y * y + z * z + T(1e-30);
            const V inverse = inverse_root(squared);
            store(lengths + k, squared * inverse);
            store(to_x + k, x * inverse);
            store(to_y + k, y * inverse);
            store(to_z + k, z * inverse);
        }
    }

    struct Knots {
        V origin, inverse, last; // the first one, 1 over their distance, the number of the last piece

        explicit Knots(const double* grid)
            : origin(V{} + T(grid[0])), inverse(V{} + T(1.0 / grid[1])), last(V{} + T(grid[2] - 1.0)) {}
    };

    /// The piece of arguments x, and the place on it: between 0 and 1 if x is between the knots.
    static ASE_MLIP_ALWAYS_INLINE V find(const Knots& knots, V x, Integers& piece) {
        const V zero = {}, place = (x - knots.origin) * knots.inverse;
        const V above = place > zero ? place : zero; // also where it is not a number
        const V inside = above > knots.last ? knots.last : above;
        piece = __builtin_convertvector(inside, Integers);
        return place - __builtin_convertvector(piece, V);
    }

    /// The pieces of lengths, the places on them, and how far beyond the knots they are, where splines go on
    /// in straight lines; `table` has the case of each type.
    ASE_MLIP_ALWAYS_INLINE void find_lengths(const Bank& bank, const int64_t* table, const int64_t* types,
                                             const T* lengths, int64_t count) const {
        const double* grid = bank.grid + 3 * table[0];
        Knots knots(grid);
        bool alike = true;
        for (int64_t type = 1; type < tables.species; ++type) {
            for (int k = 0; k < 3; ++k) {
                alike = alike && bank.grid[3 * table[type] + k] == grid[k];
            }
        }
        for (int64_t k = 0; k < count; k += L) {
            for (int64_t lane = 0; !alike && lane < L; ++lane) {
                const double* own = bank.grid + 3 * table[types[k + lane]];
                knots.origin[lane] = T(own[0]);
                knots.inverse[lane] = T(1.0 / own[1]);
                knots.last[lane] = T(own[2] - 1.0);
            }
            Integers piece;
            const V t = find(knots, load(lengths + k), piece), zero = {}, one = zero + T(1);
            const V u = t > zero ? (t > one ? one : t) : zero;
            store(room.at.data() + k, u);
            store(room.beyond.data() + k, t - u);
            std::memcpy(room.firsts.data() + k, &piece, sizeof piece);
        }
    }

    ASE_MLIP_ALWAYS_INLINE void radial(int number, const int64_t* all, T factor, int64_t type, int64_t count,
                                       T* to) const {
        const Bank& bank = tables.banks[number];
        if (bank.channels == 0) {
            return;
        }
        const int64_t *const table = all + type * tables.species, *const types = room.types.data();
        const T *const at = room.at.data(), *const beyond = room.beyond.data();
        const Integer* const firsts = room.firsts.data();
        find_lengths(bank, table, types, room.length.data(), count);
        const int64_t width = 4 * bank.size;
        T* const of_pieces = room.radial.data();
        for (int64_t j = 0; j < count; ++j) {
            T* const own = of_pieces + table[types[j]] * width + 4 * firsts[j];
            Four sums = load_four(own) + splines(at[j]);
            if (beyond[j] != T(0)) {
                sums += beyond[j] * slopes(at[j]);
            }
            std::memcpy(own, &sums, sizeof sums);
        }
        const Four zero = {};
        for (int64_t which = 0; which < bank.cases; ++which) {
            T* own = of_pieces + which * width;
            T* const sums = room.sums.data();
            T next[3] = {};
            for (int64_t k = 0; k < bank.size; ++k) { // the pieces k - 3 to k have the B-spline k
                sums[k] = factor * (next[0] + own[0]);
                next[0] = next[1] + own[1];
                next[1] = next[2] + own[2];
                next[2] = own[3];
                std::memcpy(own, &zero, sizeof zero); // for the next centre
                own += 4;
            }
            for (int64_t channel = 0; channel < bank.channels; ++channel) {
                const int64_t spline = which * bank.channels + channel;
                put_free(number, sums, to + columns.first[number] + spline * columns.free[number]);
            }
        }
    }

    static ASE_MLIP_ALWAYS_INLINE Four load_four(const T* from) {
        Four vector;
        std::memcpy(&vector, from, sizeof vector);
        return vector;
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
    ASE_MLIP_ALWAYS_INLINE void put_free(int number, const T* sums, T* to) const {
        const int64_t before = columns.before[number];
        int64_t k = 0;
        for (; k + L <= columns.free[number]; k += L) {
            store(to + k, load(sums + before + k));
        }
        for (; k < columns.free[number]; ++k) {
            to[k] = sums[before + k];
        }
        for (k = 0; k < before; ++k) { // c_k = c_0 + (k - before) (c_1 - c_0)
            const auto steps = static_cast<T>(k - before);
            to[0] += (T(1) - steps) * sums[k];
            to[1] += steps * sums[k];
        }
    }

    /// Of a centre that has none.
    ASE_MLIP_ALWAYS_INLINE void clear_angles(int64_t type, T* to) const {
        const int64_t size = tables.banks[3].blocks * tables.banks[3].size * L;
        for (const int64_t which : cases[type].all) {
            std::fill_n(to + columns.first[2] + which * size, size, T(0));
        }
    }

    /// Those with angles, together, and the first half of them once more: round about.
    ASE_MLIP_ALWAYS_INLINE int64_t choose(int64_t count) const {
        if (tables.banks[2].channels == 0) {
            return 0;
        }
        int* const near = room.near.data();
        const T *lengths = room.length.data(), limit = T(tables.angular_cutoff);
        int64_t found = 0;
        for (int64_t j = 0; j < count; ++j) { // each is written, and the next one over it if it was too far
            near[found] = static_cast<int>(j);
            found += static_cast<int64_t>(lengths[j] < limit);
        }
        const T* const from[4] = {room.x.data(), room.y.data(), room.z.data(), lengths};
        T* const to[4] = {room.near_x.data(), room.near_y.data(), room.near_z.data(), room.far.data()};
        for (int component = 0; component < 4; ++component) {
            const T* one = from[component];
            T* other = to[component];
            for (int64_t k = 0; k < found; ++k) {
                other[k] = one[near[k]];
            }
            if (component < 3) {
                std::copy_n(other, found / 2, other + found);
            }
        }
        int64_t* const types = room.near_types.data();
        for (int64_t k = 0; k < found; ++k) {
            types[k] = room.types[near[k]];
        }
        std::copy_n(types, found / 2, types + found);
        for (int64_t k = 0; k < found; ++k) {
            room.first_pairs[k] = types[k] * tables.species;
        }
        return found;
    }

    ASE_MLIP_ALWAYS_INLINE int64_t pieces() const { return tables.banks[3].size - kTail; }
    /// Every other angle has moments of its own, so that additions seldom wait for others.
    ASE_MLIP_ALWAYS_INLINE int64_t half_moments(int64_t type) const {
        return static_cast<int64_t>(cases[type].all.size()) * pieces() * 4 * L;
    }

    /// f of each neighbour, round about.
    ASE_MLIP_ALWAYS_INLINE void evaluate(int64_t type, int64_t count, int64_t block) const {
        const Bank& bank = tables.banks[2];
        const int64_t *table = tables.radial_cases + type * tables.species, *types = room.near_types.data();
        const Integer* firsts = room.firsts.data();
        const T *const at = room.at.data(), *const beyond = room.beyond.data();
        const T* powers = filters + block * 4 * L;
        const int64_t stride = bank.blocks * 4 * L, count_of_pieces = bank.size - kTail;
        T* const to = room.f.data();
        for (int64_t j = 0; j < count; ++j) {
            const T *row = powers + (table[types[j]] * count_of_pieces + firsts[j]) * stride, u = at[j];
            const V one = load(row + L), two = load(row + 2 * L), three = load(row + 3 * L);
            V f = load(row) + u * (one + u * (two + u * three));
            if (beyond[j] != T(0)) {
                f += beyond[j] * (one + u * (T(2) * two + T(3) * u * three));
            }
            store(to + j * L, f);
            store(to + (count + j) * L, f);
        }
    }

    /// The moments of all angles, for one block of filters. A row has the angles of each neighbour with the
    /// one that comes `apart` later, so that rows are long and alike. They are added when several rows are
    /// found: numbers that were stored as a vector just before would be late.
    ASE_MLIP_ALWAYS_INLINE void angles(int64_t type, int64_t count) const {
        const auto length = [count](int64_t apart) { return 2 * apart == count ? apart : count; };
        const auto& of_type = cases[type];
        for (size_t pair = 0; pair < of_type.place.size(); ++pair) {
            room.starts[pair] = of_type.place[pair] * pieces();
        }
        const int64_t half = count / 2, row = (count + L - 1) / L * L;
        for (int64_t next = 1; next <= half;) {
            const int64_t begin = next;
            for (int64_t found = 0; next <= half && found + row <= room.angles; ++next, found += row) {
                find_row(next, length(next), found);
            }
            for (int64_t apart = begin; apart < next; ++apart) {
                if (tables.species == 1) {
                    add_row<true>(type, apart, length(apart), (apart - begin) * row);
                } else {
                    add_row<false>(type, apart, length(apart), (apart - begin) * row);
                }
            }
        }
    }

    /// The pieces of a row of angles and the places on them, from number `begin` on.
    ASE_MLIP_ALWAYS_INLINE void find_row(int64_t apart, int64_t length, int64_t begin) const {
        const Knots knots(tables.banks[3].grid);
        const T* const directions[3] = {room.near_x.data(), room.near_y.data(), room.near_z.data()};
        T* const places = room.places.data() + begin;
        Integer* const pieces = room.pieces.data() + begin;
        for (int64_t j = 0; j < length; j += L) {
            V cosine = {};
            for (const T* component : directions) {
                cosine += load(component + j) * load(component + j + apart);
            }
            Integers piece;
            store(places + j, find(knots, cosine, piece));
            std::memcpy(pieces + j, &piece, sizeof piece);
        }
    }

    template <bool alone>
    ASE_MLIP_ALWAYS_INLINE void add_row(int64_t type, int64_t apart, int64_t length, int64_t begin) const {
        const T *const places = room.places.data() + begin, *const f = room.f.data();
        const Integer* const pieces = room.pieces.data() + begin;
        const int64_t *const starts = room.starts.data(), *const others = room.near_types.data() + apart,
                             *const first_pairs = room.first_pairs.data();
        T* const moments[2] = {room.moments.data(), room.moments.data() + half_moments(type)};
        for (int64_t j = 0; j < length; ++j) {
            const int64_t start = alone ? 0 : starts[first_pairs[j] + others[j]];
            T* const to = moments[j % 2] + (start + pieces[j]) * 4 * L;
            const V product = load(f + j * L) * load(f + (j + apart) * L);
            const T u = places[j];
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
        T *moments = room.moments.data(), *others = moments + half_moments(type);
        for (const int64_t which : cases[type].all) {
            T* sums = to + columns.first[2] + (which * bank.blocks + block) * bank.size * L;
            V next[3] = {};
            for (int64_t piece = 0; piece < pieces(); ++piece) {
                V a[4];
                for (int p = 0; p < 4; ++p) {
                    a[p] = load(moments + p * L) + load(others + p * L);
                    store(moments + p * L, V{}); // for the next centre
                    store(others + p * L, V{});
                }
                moments += 4 * L;
                others += 4 * L;
                store(sums, next[0] + sixth * (a[0] - T(3) * (a[1] - a[2]) - a[3]));
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
