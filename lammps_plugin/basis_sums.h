#pragma once
// The least-squares basis of one centre of an s-NNP without derivatives: the numbers of csrc/snnp_basis.h,
// with whole vectors of neighbours and of angles. Knows neither libtorch nor a LAMMPS class.
//
// A cubic B-spline on a piece between two knots is a polynomial of the place u on it, so that sums over
// angles need the moments sum f u^p, p = 0 to 3, of each piece alone; B-splines follow from these. Angles are
// listed by their piece first, so that the moments of a piece stay in registers while its angles are added.

#include "basis_room.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace mlip {

/// All cases of g have the same knots.
struct BasisSums {
    using V = ase_mlip::snnp::basis::V;
    using Integers = ase_mlip::simd::Lanes<double>::integers;
    using Bank = ase_mlip::snnp::training::Bank;
    static constexpr int64_t L = ase_mlip::snnp::basis::L;
    static constexpr int64_t kTail = ase_mlip::snnp::basis::kZeroTail;

    const ase_mlip::snnp::training::Tables& tables;
    const ase_mlip::snnp::basis::Columns& columns;
    const std::vector<ase_mlip::snnp::basis::Cases>& cases;
    BasisRoom& room;

    /// Where the sum of a column is: those of g lie as [cases, blocks of filters, K, lanes].
    int64_t place_of(int64_t column) const {
        const Bank& g = tables.banks[3];
        if (column < columns.first[2]) {
            return column;
        }
        const int64_t spline = (column - columns.first[2]) / g.size, k = (column - columns.first[2]) % g.size;
        const int64_t which = spline / g.channels, channel = spline % g.channels;
        return columns.first[2] + ((which * g.blocks + channel / L) * g.size + k) * L + channel % L;
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
        return columns.first[2] + g.cases * g.blocks * g.size * L;
    }

    /// Adds the sums of a centre to `to` [width]. Its `count` neighbours, all within the cutoff, are vectors
    /// and types in `room`.
    ASE_MLIP_ALWAYS_INLINE void centre(int64_t type, int64_t count, double* to) const {
        directions(count);
        radial(0, tables.pair_cases, 0.5, type, count, to);
        radial(1, tables.radial_cases, 1.0, type, count, to);
        const int64_t near = choose(count);
        if (near < 2) {
            return;
        }
        find_splines(tables.banks[2], tables.radial_cases + type * tables.species, room.near_types.data(),
                     room.far.data(), near);
        for (int64_t block = 0; block < tables.banks[3].blocks; ++block) {
            evaluate(type, near, block);
            angles(type, near, block, to);
        }
    }

  private:
    static ASE_MLIP_ALWAYS_INLINE V load(const double* from) { return ase_mlip::simd::load(from); }
    static ASE_MLIP_ALWAYS_INLINE void store(double* to, V values) {
        ase_mlip::simd::store<double>(to, values);
    }

    /// 1 / sqrt(x) of normal numbers, by Newton's iteration from a guess that is right to 4 %.
    static ASE_MLIP_ALWAYS_INLINE V inverse_root(V x) {
        const Integers magic = Integers{} + 0x5fe6eb50c7b537a9;
        Integers bits;
        std::memcpy(&bits, &x, sizeof bits);
        bits = magic - (bits >> 1);
        V y;
        std::memcpy(&y, &bits, sizeof y);
        const V half = 0.5 * x;
        for (int k = 0; k < 4; ++k) {
            y += y * (0.5 - half * y * y);
        }
        return y;
    }

    ASE_MLIP_ALWAYS_INLINE void directions(int64_t count) const {
        double *const to_x = room.x.data(), *const to_y = room.y.data(), *const to_z = room.z.data(),
                      *const lengths = room.length.data();
        for (int64_t k = 0; k < count; k += L) {
            const V x = load(to_x + k), y = load(to_y + k), z = load(to_z + k);
            const V squared = x * x + y * y + z * z + 1e-30;
            const V inverse = inverse_root(squared);
            store(lengths + k, squared * inverse);
            store(to_x + k, x * inverse);
            store(to_y + k, y * inverse);
            store(to_z + k, z * inverse);
        }
    }

    struct Knots {
        V origin, inverse, last; // the first one, 1 over their distance, the number of the last piece
    };

    /// The piece of arguments x, the place on it between 0 and 1, and how far beyond x is.
    static ASE_MLIP_ALWAYS_INLINE void find(const Knots& knots, V x, Integers& piece, V& u, V& beyond) {
        const V zero = {}, one = zero + 1.0, place = (x - knots.origin) * knots.inverse;
        const V above = place > zero ? place : zero; // also where it is not a number
        const V inside = above > knots.last ? knots.last : above;
        piece = __builtin_convertvector(inside, Integers);
        const V t = place - __builtin_convertvector(piece, V);
        u = t > zero ? (t > one ? one : t) : zero;
        beyond = t - u;
    }

    /// The B-splines of lengths; `table` has the case of each type.
    ASE_MLIP_ALWAYS_INLINE void find_splines(const Bank& bank, const int64_t* table, const int64_t* types,
                                             const double* lengths, int64_t count) const {
        constexpr double sixth = 1.0 / 6.0;
        double* const to = room.splines.data();
        int64_t* const firsts = room.firsts.data();
        const int64_t most = room.most;
        const double* grid = bank.grid + 3 * table[0];
        Knots knots{V{} + grid[0], V{} + 1.0 / grid[1], V{} + (grid[2] - 1.0)};
        bool alike = true;
        for (int64_t type = 1; type < tables.species; ++type) {
            for (int k = 0; k < 3; ++k) {
                alike = alike && bank.grid[3 * table[type] + k] == grid[k];
            }
        }
        for (int64_t k = 0; k < count; k += L) {
            for (int64_t lane = 0; !alike && lane < L; ++lane) {
                const double* own = bank.grid + 3 * table[types[k + lane]];
                knots.origin[lane] = own[0];
                knots.inverse[lane] = 1.0 / own[1];
                knots.last[lane] = own[2] - 1.0;
            }
            Integers piece;
            V u, beyond;
            find(knots, load(lengths + k), piece, u, beyond);
            const V v = 1.0 - u;
            store(to + k, v * v * (v * sixth - 0.5 * beyond));
            store(to + most + k, (u * u * (3.0 * u - 6.0) + 4.0) * sixth + beyond * (u * (1.5 * u - 2.0)));
            store(to + 2 * most + k,
                  (v * v * (3.0 * v - 6.0) + 4.0) * sixth - beyond * (v * (1.5 * v - 2.0)));
            store(to + 3 * most + k, u * u * (u * sixth + 0.5 * beyond));
            std::memcpy(firsts + k, &piece, sizeof piece);
        }
    }

    ASE_MLIP_ALWAYS_INLINE void radial(int number, const int64_t* all, double factor, int64_t type,
                                       int64_t count, double* to) const {
        const Bank& bank = tables.banks[number];
        if (bank.channels == 0) {
            return;
        }
        const int64_t* table = all + type * tables.species;
        const int64_t *types = room.types.data(), *firsts = room.firsts.data();
        find_splines(bank, table, types, room.length.data(), count);
        const int64_t most = room.most, stride = BasisRoom::stride_of(bank), width = 4 * stride;
        double* const of_pieces = room.radial.data();
        const double* splines = room.splines.data();
        std::fill_n(of_pieces, bank.cases * width, 0.0);
        for (int64_t j = 0; j < count;
             ++j) { // each piece has its own, so that additions seldom wait for others
            double* own = of_pieces + table[types[j]] * width + kTail + firsts[j];
            for (int m = 0; m < 4; ++m) {
                own[m * stride] += splines[m * most + j];
            }
        }
        for (int64_t which = 0; which < bank.cases; ++which) {
            const double* pieces = of_pieces + which * width;
            double* const sums = room.sums.data();
            for (int64_t k = 0; k < bank.size; k += L) { // the pieces k - 3 to k have the B-spline k
                const V low = load(pieces + kTail + k) + load(pieces + stride + kTail + k - 1);
                const V high = load(pieces + 2 * stride + kTail + k - 2) + load(pieces + 3 * stride + k);
                store(sums + k, factor * (low + high));
            }
            for (int64_t channel = 0; channel < bank.channels; ++channel) {
                const int64_t spline = which * bank.channels + channel;
                add_free(number, sums, to + columns.first[number] + spline * columns.free[number]);
            }
        }
    }

    /// From the coefficients of a spline to those that are columns.
    ASE_MLIP_ALWAYS_INLINE void add_free(int number, const double* sums, double* to) const {
        const int64_t before = columns.before[number];
        for (int64_t k = 0; k < before; ++k) { // c_k = c_0 + (k - before) (c_1 - c_0)
            const auto steps = static_cast<double>(k - before);
            to[0] += (1.0 - steps) * sums[k];
            to[1] += steps * sums[k];
        }
        const double* free = sums + before;
        int64_t k = 0;
        for (; k + L <= columns.free[number]; k += L) {
            store(to + k, load(to + k) + load(free + k));
        }
        for (; k < columns.free[number]; ++k) {
            to[k] += free[k];
        }
    }

    /// Those with angles, together, and the first half of them once more: round about.
    ASE_MLIP_ALWAYS_INLINE int64_t choose(int64_t count) const {
        if (tables.banks[2].channels == 0) {
            return 0;
        }
        int* const near = room.near.data();
        const double* lengths = room.length.data();
        const double limit = tables.angular_cutoff;
        int64_t found = 0;
        for (int64_t j = 0; j < count; ++j) { // each is written, and the next one over it if it was too far
            near[found] = static_cast<int>(j);
            found += static_cast<int64_t>(lengths[j] < limit);
        }
        const double* const from[4] = {room.x.data(), room.y.data(), room.z.data(), lengths};
        double* const to[4] = {room.near_x.data(), room.near_y.data(), room.near_z.data(), room.far.data()};
        for (int component = 0; component < 4; ++component) {
            const double* one = from[component];
            double* other = to[component];
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

    /// f of each neighbour, round about.
    ASE_MLIP_ALWAYS_INLINE void evaluate(int64_t type, int64_t count, int64_t block) const {
        const Bank& bank = tables.banks[2];
        const int64_t* table = tables.radial_cases + type * tables.species;
        const int64_t *types = room.near_types.data(), *firsts = room.firsts.data();
        const double *coefficients = bank.coefficients.data() + block * L, *splines = room.splines.data();
        const int64_t stride = bank.blocks * L, size = bank.size, most = room.most;
        double* const to = room.f.data();
        for (int64_t j = 0; j < count; ++j) {
            const double* row = coefficients + (table[types[j]] * size + firsts[j]) * stride;
            const V low = load(row) * splines[j] + load(row + stride) * splines[most + j];
            const V high = load(row + 2 * stride) * splines[2 * most + j] +
                           load(row + 3 * stride) * splines[3 * most + j];
            store(to + j * L, low + high);
            store(to + (count + j) * L, low + high);
        }
    }

    /// The B-splines of all angles, for one block of filters. A row has the angles of each neighbour with the
    /// one that comes `apart` later, so that rows are long and alike. Lists are made when several rows are
    /// there: numbers that were stored as a vector just before would be late.
    ASE_MLIP_ALWAYS_INLINE void angles(int64_t type, int64_t count, int64_t block, double* to) const {
        const auto length = [count](int64_t apart) { return 2 * apart == count ? apart : count; };
        const int64_t half = count / 2;
        for (int64_t next = 1; next <= half;) {
            const int64_t begin = next;
            int64_t found = 0;
            for (; next <= half && found + length(next) <= room.angles; ++next) {
                find_row(next, length(next), found);
                found += length(next);
            }
            begin_lists(type);
            int64_t listed = 0;
            for (int64_t apart = begin; apart < next; ++apart) {
                if (tables.species == 1) {
                    list_row<true>(apart, length(apart), listed);
                } else {
                    list_row<false>(apart, length(apart), listed);
                }
                listed += length(apart);
            }
            add_listed(type, block, to);
        }
    }

    /// The pieces of a row of angles and the powers of its places on them, from number `begin` on.
    ASE_MLIP_ALWAYS_INLINE void find_row(int64_t apart, int64_t length, int64_t begin) const {
        const double* grid = tables.banks[3].grid;
        const Knots knots{V{} + grid[0], V{} + 1.0 / grid[1], V{} + (grid[2] - 1.0)};
        const double* const directions[3] = {room.near_x.data(), room.near_y.data(), room.near_z.data()};
        double *const first = room.first.data() + begin, *const second = room.second.data() + begin,
                      *const third = room.third.data() + begin;
        int64_t* const pieces = room.pieces.data() + begin;
        for (int64_t j = 0; j < length; j += L) {
            V cosine = {};
            for (const double* component : directions) {
                cosine += load(component + j) * load(component + j + apart);
            }
            Integers piece;
            V u, beyond;
            find(knots, cosine, piece, u, beyond);
            std::memcpy(pieces + j, &piece, sizeof piece);
            store(first + j, u + beyond); // u^p, on a straight line beyond the knots
            store(second + j, u * (u + 2.0 * beyond));
            store(third + j, u * u * (u + 3.0 * beyond));
        }
    }

    ASE_MLIP_ALWAYS_INLINE void begin_lists(int64_t type) const {
        const auto count = static_cast<int64_t>(cases[type].all.size()) * pieces();
        for (int64_t list = 0; list < count; ++list) {
            room.ends[list] = room.lists.data() + list * room.stride;
        }
        for (size_t pair = 0; pair < cases[type].place.size(); ++pair) {
            room.starts[pair] = cases[type].place[pair] * pieces();
        }
    }

    // An angle in a list: its number, and where the f of either neighbour are.
    static constexpr int kBits = 20;

    ASE_MLIP_ALWAYS_INLINE static uint64_t listed_angle(int64_t number, int64_t j, int64_t k) {
        return static_cast<uint64_t>(number) << 2 * kBits | static_cast<uint64_t>(k * L) << kBits |
               static_cast<uint64_t>(j * L);
    }

    template <bool alone>
    ASE_MLIP_ALWAYS_INLINE void list_row(int64_t apart, int64_t length, int64_t begin) const {
        const int64_t *const pieces_of = room.pieces.data() + begin, *const starts = room.starts.data(),
                             *const types = room.near_types.data(), *const others = types + apart,
                             *const first_pairs = room.first_pairs.data();
        uint64_t** const ends = room.ends.data();
        const uint64_t step = listed_angle(1, 1, 1);
        uint64_t angle = listed_angle(begin, 0, apart);
        for (int64_t j = 0; j < length; ++j) {
            const int64_t start = alone ? 0 : starts[first_pairs[j] + others[j]];
            *ends[start + pieces_of[j]]++ = angle;
            angle += step;
        }
    }

    /// From moments to columns: a B-spline has its last piece where its number is.
    ASE_MLIP_ALWAYS_INLINE void add_listed(int64_t type, int64_t block, double* to) const {
        constexpr double sixth = 1.0 / 6.0;
        const Bank& bank = tables.banks[3];
        const std::vector<int64_t>& all = cases[type].all;
        const int64_t count = pieces(), stride = room.stride;
        uint64_t* const* ends = room.ends.data();
        const uint64_t* list = room.lists.data();
        for (const int64_t which : all) {
            double* sums = to + columns.first[2] + (which * bank.blocks + block) * bank.size * L;
            V next[3] = {};
            for (int64_t piece = 0; piece < count; ++piece) {
                V a[4] = {};
                moments(list, *ends++, a);
                list += stride;
                store(sums, load(sums) + next[0] + sixth * (a[0] - 3.0 * (a[1] - a[2]) - a[3]));
                next[0] = next[1] + sixth * (4.0 * a[0] - 6.0 * a[2] + 3.0 * a[3]);
                next[1] = next[2] + sixth * (a[0] + 3.0 * (a[1] + a[2] - a[3]));
                next[2] = sixth * a[3];
                sums += L;
            }
            for (const V& one : next) {
                store(sums, load(sums) + one);
                sums += L;
            }
        }
    }

    ASE_MLIP_ALWAYS_INLINE void moments(const uint64_t* list, const uint64_t* end, V (&a)[4]) const {
        constexpr uint64_t mask = (uint64_t{1} << kBits) - 1;
        const double *f = room.f.data(), *first = room.first.data(), *second = room.second.data(),
                     *third = room.third.data();
        for (; list != end; ++list) {
            const uint64_t angle = *list, number = angle >> 2 * kBits;
            const V product = load(f + (angle & mask)) * load(f + (angle >> kBits & mask));
            a[0] += product;
            a[1] += product * first[number];
            a[2] += product * second[number];
            a[3] += product * third[number];
        }
    }
};

} // namespace mlip
