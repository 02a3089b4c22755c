#pragma once
// The least-squares basis of one centre of an s-NNP without derivatives: the numbers of csrc/snnp_basis.h,
// with whole vectors of neighbours and of angles. Knows neither libtorch nor a LAMMPS class.
//
// A cubic B-spline on a piece between two knots is a polynomial of the place u on it, so that sums over
// angles need the moments sum f u^p, p = 0 to 3, of each piece alone; B-splines follow from these, once for
// each centre.

#include "aligned.h"

#include "../csrc/snnp_basis.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace mlip {

/// What the sums of one thread need. Neighbours lie component by component, with room for a vector more.
struct BasisRoom {
    static constexpr int64_t lanes = ase_mlip::snnp::basis::L;

    /// Of a row of angles: where the moments of each are, and the powers of its place on the piece.
    struct Row {
        std::vector<int64_t> at;
        Numbers first, second, third;
    };

    Numbers x, y, z, length;             // [most], Å; then the directions
    std::vector<int64_t> types;          // [most]
    Numbers near_x, near_y, near_z, far; // directions of those with angles, [2 most]; their lengths
    std::vector<int64_t> near_types;     // [2 most]
    Numbers splines;                     // [4, most] the B-splines of lengths that do not vanish
    std::vector<int64_t> firsts;         // [most] numbers of the first ones
    Numbers radial;                      // [cases, K] sums of phi or rho
    Numbers f;                           // [2 most, lanes]
    Row rows[2];
    Numbers moments; // [copies, cases, pieces, 4, lanes] of angles
    Numbers sums;    // [K, lanes] of g
    int64_t most = 0;

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
        near_types.assign(2 * most, 0);
        firsts.assign(most, 0);
        splines.assign(4 * most, 0.0);
        f.assign(2 * most * lanes, 0.0);
        for (Row& row : rows) {
            row.at.assign(most, 0);
            for (Numbers* one : {&row.first, &row.second, &row.third}) {
                one->assign(most, 0.0);
            }
        }
        int64_t width = 0;
        for (int k = 0; k < 2; ++k) {
            width = std::max(width, tables.banks[k].cases * tables.banks[k].size);
        }
        radial.assign(width, 0.0);
        const auto& g = tables.banks[3];
        moments.assign(std::max<int64_t>(4, 2 * g.cases) * g.size * 4 * lanes, 0.0);
        sums.assign(g.size * lanes, 0.0);
    }
};

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

    /// Adds the sums of a centre to `to` [P]. Its `count` neighbours, all within the cutoff, are vectors and
    /// types in `room`.
    ASE_MLIP_ALWAYS_INLINE void centre(int64_t type, int64_t count, double* to) const {
        directions(count);
        radial(0, tables.pair_cases, 0.5, type, count, to);
        radial(1, tables.radial_cases, 1.0, type, count, to);
        const int64_t near = choose(count);
        if (near < 2) {
            return;
        }
        find_splines(tables.banks[2], tables.radial_cases + type * tables.species, room.near_types, room.far,
                     near);
        for (int64_t block = 0; block < tables.banks[3].blocks; ++block) {
            angles(type, near, block);
            finish(type, block, to);
        }
    }

  private:
    static ASE_MLIP_ALWAYS_INLINE V load(const Numbers& from, int64_t k) {
        return ase_mlip::simd::load(from.data() + k);
    }
    static ASE_MLIP_ALWAYS_INLINE void store(Numbers& to, int64_t k, V values) {
        ase_mlip::simd::store<double>(to.data() + k, values);
    }

    ASE_MLIP_ALWAYS_INLINE void directions(int64_t count) const {
        for (int64_t k = 0; k < count; k += L) {
            const V x = load(room.x, k), y = load(room.y, k), z = load(room.z, k);
            const V squared = x * x + y * y + z * z + 1e-30;
            V length = {};
            for (int64_t lane = 0; lane < L; ++lane) {
                length[lane] = std::sqrt(squared[lane]);
            }
            const V inverse = 1.0 / length;
            store(room.length, k, length);
            store(room.x, k, x * inverse);
            store(room.y, k, y * inverse);
            store(room.z, k, z * inverse);
        }
    }

    struct Knots {
        V origin, inverse, last; // the first one, 1 over their distance, the number of the last piece
    };

    /// The piece of arguments x, the place on it between 0 and 1, and how far beyond x is.
    static ASE_MLIP_ALWAYS_INLINE void find(const Knots& knots, V x, Integers& piece, V& u, V& beyond) {
        const V zero = {}, one = zero + 1.0, place = (x - knots.origin) * knots.inverse;
        const V inside = place < zero ? zero : (place > knots.last ? knots.last : place);
        piece = __builtin_convertvector(inside, Integers);
        const V t = place - __builtin_convertvector(piece, V);
        u = t < zero ? zero : (t > one ? one : t);
        beyond = t - u;
    }

    /// The B-splines of lengths; `table` has the case of each type.
    ASE_MLIP_ALWAYS_INLINE void find_splines(const Bank& bank, const int64_t* table,
                                             const std::vector<int64_t>& types, const Numbers& lengths,
                                             int64_t count) const {
        constexpr double sixth = 1.0 / 6.0;
        for (int64_t k = 0; k < count; k += L) {
            V origin = {}, step = {}, last = {};
            for (int64_t lane = 0; lane < L; ++lane) {
                const double* grid = bank.grid + 3 * table[types[k + lane]];
                origin[lane] = grid[0];
                step[lane] = grid[1];
                last[lane] = grid[2] - 1.0;
            }
            Integers piece;
            V u, beyond;
            find({origin, 1.0 / step, last}, load(lengths, k), piece, u, beyond);
            const V v = 1.0 - u;
            store(room.splines, k, v * v * (v * sixth - 0.5 * beyond));
            store(room.splines, room.most + k,
                  (u * u * (3.0 * u - 6.0) + 4.0) * sixth + beyond * (u * (1.5 * u - 2.0)));
            store(room.splines, 2 * room.most + k,
                  (v * v * (3.0 * v - 6.0) + 4.0) * sixth - beyond * (v * (1.5 * v - 2.0)));
            store(room.splines, 3 * room.most + k, u * u * (u * sixth + 0.5 * beyond));
            std::memcpy(room.firsts.data() + k, &piece, sizeof piece);
        }
    }

    ASE_MLIP_ALWAYS_INLINE void radial(int number, const int64_t* all, double factor, int64_t type,
                                       int64_t count, double* to) const {
        const Bank& bank = tables.banks[number];
        if (bank.channels == 0) {
            return;
        }
        const int64_t* table = all + type * tables.species;
        find_splines(bank, table, room.types, room.length, count);
        std::fill_n(room.radial.data(), bank.cases * bank.size, 0.0);
        for (int64_t j = 0; j < count; ++j) {
            double* sums = room.radial.data() + table[room.types[j]] * bank.size + room.firsts[j];
            for (int m = 0; m < 4; ++m) {
                sums[m] += room.splines[m * room.most + j];
            }
        }
        const int64_t free = columns.free[number], before = columns.before[number];
        for (int64_t spline = 0; spline < bank.cases * bank.channels; ++spline) {
            const double* sums = room.radial.data() + spline / bank.channels * bank.size;
            double* first = to + columns.first[number] + spline * free;
            for (int64_t k = 0; k < before; ++k) { // c_k = c_0 + (k - before) (c_1 - c_0)
                const auto steps = static_cast<double>(k - before);
                first[0] += factor * (1.0 - steps) * sums[k];
                first[1] += factor * steps * sums[k];
            }
            for (int64_t k = before; k < bank.size - kTail; ++k) {
                first[k - before] += factor * sums[k];
            }
        }
    }

    /// Those with angles, together.
    ASE_MLIP_ALWAYS_INLINE int64_t choose(int64_t count) const {
        int64_t found = 0;
        for (int64_t j = 0; j < count; ++j) { // each is written, and the next one over it if it was too far
            room.near_x[found] = room.x[j];
            room.near_y[found] = room.y[j];
            room.near_z[found] = room.z[j];
            room.far[found] = room.length[j];
            room.near_types[found] = room.types[j];
            found += static_cast<int64_t>(room.length[j] < tables.angular_cutoff);
        }
        for (int64_t k = found; k % L != 0; ++k) {
            room.near_types[k] = 0;
        }
        for (int64_t k = 0; k < found / 2; ++k) { // round about
            room.near_x[found + k] = room.near_x[k];
            room.near_y[found + k] = room.near_y[k];
            room.near_z[found + k] = room.near_z[k];
            room.near_types[found + k] = room.near_types[k];
        }
        return tables.banks[2].channels > 0 ? found : 0;
    }

    ASE_MLIP_ALWAYS_INLINE int64_t pieces() const { return tables.banks[3].size - kTail; }

    /// The moments of all angles, for one block of filters. A row has the angles of each neighbour with the
    /// one that comes `apart` later, so that rows are long and alike; the next one is on its way while one is
    /// added.
    ASE_MLIP_ALWAYS_INLINE void angles(int64_t type, int64_t count, int64_t block) const {
        const auto used = static_cast<int64_t>(cases[type].all.size());
        const int64_t width = used * pieces() * 4 * L, half = count / 2;
        std::fill_n(room.moments.data(), (used == 1 ? 4 : 2) * width, 0.0);
        evaluate(type, count, block);
        const double* grid = tables.banks[3].grid;
        const Knots knots{V{} + grid[0], V{} + 1.0 / grid[1], V{} + (grid[2] - 1.0)};
        const auto length = [count](int64_t apart) { return 2 * apart == count ? apart : count; };
        find_row(knots, type, 1, length(1), room.rows[1]);
        for (int64_t apart = 1; apart <= half; ++apart) {
            if (apart < half) {
                find_row(knots, type, apart + 1, length(apart + 1), room.rows[(apart + 1) % 2]);
            }
            if (used == 1) {
                add_row<4>(apart, length(apart), width, room.rows[apart % 2]);
            } else {
                add_row<2>(apart, length(apart), width, room.rows[apart % 2]);
            }
        }
    }

    /// f of each neighbour, round about.
    ASE_MLIP_ALWAYS_INLINE void evaluate(int64_t type, int64_t count, int64_t block) const {
        const Bank& bank = tables.banks[2];
        const int64_t* table = tables.radial_cases + type * tables.species;
        for (int64_t j = 0; j < count; ++j) {
            const int64_t row = bank.row(table[room.near_types[j]], room.firsts[j]) + block * L;
            V f = {};
            for (int64_t m = 0; m < 4; ++m) {
                f += ase_mlip::simd::load(bank.coefficients.data() + row + m * bank.blocks * L) *
                     room.splines[m * room.most + j];
            }
            store(room.f, j * L, f);
            store(room.f, (count + j) * L, f);
        }
    }

    ASE_MLIP_ALWAYS_INLINE void find_row(const Knots& knots, int64_t type, int64_t apart, int64_t length,
                                         BasisRoom::Row& row) const {
        const double* const directions[3] = {room.near_x.data(), room.near_y.data(), room.near_z.data()};
        double *const first = row.first.data(), *const second = row.second.data(),
                      *const third = row.third.data();
        int64_t* const to = row.at.data();
        const int64_t *place = cases[type].place.data(), *const near_types = room.near_types.data();
        const int64_t species = tables.species, size = pieces();
        for (int64_t j = 0; j < length; j += L) {
            V cosine = {};
            for (const double* component : directions) {
                cosine += ase_mlip::simd::load(component + j) * ase_mlip::simd::load(component + j + apart);
            }
            Integers at;
            V u, beyond;
            find(knots, cosine, at, u, beyond);
            if (species > 1) {
                Integers start = {};
                const int64_t* types = near_types + j;
                for (int64_t lane = 0; lane < L; ++lane) {
                    start[lane] = place[types[lane] * species + types[lane + apart]];
                }
                at += start * size;
            }
            at *= 4 * L;
            std::memcpy(to + j, &at, sizeof at);
            ase_mlip::simd::store<double>(first + j, u + beyond); // u^p, on a straight line beyond the knots
            ase_mlip::simd::store<double>(second + j, u * (u + 2.0 * beyond));
            ase_mlip::simd::store<double>(third + j, u * u * (u + 3.0 * beyond));
        }
    }

    /// Into one copy of the moments after the other, so that an addition seldom waits for the one before.
    template <int Copies>
    ASE_MLIP_ALWAYS_INLINE void add_row(int64_t apart, int64_t length, int64_t width,
                                        const BasisRoom::Row& row) const {
        const double *f = room.f.data(), *first = row.first.data(), *second = row.second.data(),
                     *third = row.third.data(), *g = f + apart * L;
        const int64_t* at = row.at.data();
        double* const moments = room.moments.data();
        const auto one = [&](int64_t j, double* copy) {
            const V product = ase_mlip::simd::load(f + j * L) * ase_mlip::simd::load(g + j * L);
            double* to = copy + at[j];
            add(to, product);
            add(to + L, product * first[j]);
            add(to + 2 * L, product * second[j]);
            add(to + 3 * L, product * third[j]);
        };
        int64_t j = 0;
        for (; j + Copies <= length; j += Copies) {
            for (int copy = 0; copy < Copies; ++copy) {
                one(j + copy, moments + copy * width);
            }
        }
        for (; j < length; ++j) {
            one(j, moments + j % Copies * width);
        }
    }

    static ASE_MLIP_ALWAYS_INLINE void add(double* to, V values) {
        ase_mlip::simd::store<double>(to, ase_mlip::simd::load(to) + values);
    }

    /// From moments to columns.
    ASE_MLIP_ALWAYS_INLINE void finish(int64_t type, int64_t block, double* to) const {
        constexpr double sixth = 1.0 / 6.0;
        const Bank& bank = tables.banks[3];
        const std::vector<int64_t>& all = cases[type].all;
        const int64_t used = std::min(L, bank.channels - block * L), count = pieces();
        const int64_t width = static_cast<int64_t>(all.size()) * count * 4 * L,
                      copies = all.size() == 1 ? 4 : 2;
        for (size_t place = 0; place < all.size(); ++place) {
            for (int64_t k = 0; k < bank.size; ++k) {
                store(room.sums, k * L, V{});
            }
            for (int64_t piece = 0; piece < count; ++piece) {
                const int64_t at = (static_cast<int64_t>(place) * count + piece) * 4 * L;
                V a[4] = {};
                for (int64_t copy = 0; copy < copies; ++copy) {
                    for (int64_t p = 0; p < 4; ++p) {
                        a[p] += load(room.moments, copy * width + at + p * L);
                    }
                }
                double* sums = room.sums.data() + piece * L;
                add(sums, sixth * (a[0] - 3.0 * (a[1] - a[2]) - a[3]));
                add(sums + L, sixth * (4.0 * a[0] - 6.0 * a[2] + 3.0 * a[3]));
                add(sums + 2 * L, sixth * (a[0] + 3.0 * (a[1] + a[2] - a[3])));
                add(sums + 3 * L, sixth * a[3]);
            }
            for (int64_t lane = 0; lane < used; ++lane) {
                const int64_t spline = all[place] * bank.channels + block * L + lane;
                double* first = to + columns.first[2] + spline * bank.size;
                for (int64_t k = 0; k < bank.size; ++k) {
                    first[k] += room.sums[k * L + lane];
                }
            }
        }
    }
};

} // namespace mlip
