#include "snnp_leverage.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <string>

namespace mlip {
namespace {

namespace basis = ase_mlip::snnp::basis;
namespace simd = ase_mlip::simd;
namespace training = ase_mlip::snnp::training;
using basis::L;
using basis::V;
using training::Bank;

constexpr int64_t kAtOnce = 16; // centres

/// The first `channels` splines of each case.
Bank bank_of(SnnpTables::Bank& bank, int64_t channels) {
    std::vector<double> kept;
    for (int64_t m = 0; m < bank.cases; ++m) {
        const auto begin = bank.coefficients.begin() + m * bank.channels * bank.size;
        kept.insert(kept.end(), begin, begin + channels * bank.size);
    }
    return training::make_bank(kept.data(), bank.grid.data(), bank.cases, channels, bank.size);
}

/// Which columns have to do with others; the rest of the matrix is its diagonal.
Whitening whitening_of(const double* matrix, int64_t size) {
    std::vector<unsigned char> is_dense(size, 0);
    for (int64_t row = 0; row < size; ++row) {
        for (int64_t column = 0; column < row; ++column) {
            if (matrix[row * size + column] != 0.0) {
                is_dense[row] = is_dense[column] = 1;
            }
        }
    }
    Whitening whitening;
    for (int64_t column = 0; column < size; ++column) {
        if (is_dense[column] != 0) {
            whitening.dense.push_back(column);
        } else {
            whitening.lone.push_back(column);
            whitening.lone_weights.push_back(matrix[column * size + column]);
        }
    }
    const auto count = static_cast<int64_t>(whitening.dense.size());
    for (int64_t row = 0; row < count; ++row) {
        for (int64_t k = 0; k < (row / L + 1) * L; ++k) {
            const bool is_there = k <= row;
            whitening.rows.push_back(is_there ? matrix[whitening.dense[row] * size + whitening.dense[k]]
                                              : 0.0);
        }
    }
    whitening.rows.resize(whitening.rows.size() + L / 2 * (count + L), 0.0); // Square reads a few rows more
    return whitening;
}

/// |W phi|^2 of the dense part. L rows have the same number of whole vectors, and half of them are summed at
/// once.
struct Square {
    const Whitening& whitening;
    const double* phi;
    double& total;

    ASE_MLIP_ALWAYS_INLINE void operator()() const {
        constexpr int64_t kRows = L / 2;
        const auto count = static_cast<int64_t>(whitening.dense.size());
        const double* at = whitening.rows.data();
        for (int64_t row = 0; row < count; row += kRows) {
            const int64_t length = (row / L + 1) * L, rows = std::min(kRows, count - row);
            V sums[kRows] = {};
            for (int64_t k = 0; k < length; k += L) {
                const V values = simd::load(phi + k);
                for (int64_t r = 0; r < kRows; ++r) { // behind the last row there is room
                    sums[r] += simd::load(at + r * length + k) * values;
                }
            }
            for (int64_t r = 0; r < rows; ++r) {
                const double found = simd::sum<double>(sums[r]);
                total += found * found;
            }
            at += rows * length;
        }
    }
};

/// The basis of some centres: basis::Centres without derivatives, with the B-splines of L angles at a time.
struct Fast {
    const training::Tables& tables;
    const basis::Columns& columns;
    const std::vector<basis::Cases>& cases;
    const training::Graph& graph;
    const basis::Sums& to;
    int64_t end;
    basis::Workspace& room;
    NearNeighbours& near;

    using Integers = simd::Lanes<double>::integers;

    ASE_MLIP_ALWAYS_INLINE void operator()() const {
        const training::Arrays none;
        const training::Centres<training::Pass::features> walk{tables, graph,           none,        0,
                                                               end,    room.neighbours, room.numbers};
        const basis::Centres<false> plain{tables, columns, cases, graph, to, 0, end, room};
        for (int64_t i = 0; i < end; ++i) {
            const int64_t count = walk.collect(i);
            plain.radial(0, tables.pair_cases, 0.5, i, count);
            plain.radial(1, tables.radial_cases, 1.0, i, count);
            const int64_t found = choose(count);
            for (int64_t block = 0; block < tables.banks[3].blocks; ++block) {
                angles(plain, i, found, block);
            }
        }
    }

    ASE_MLIP_ALWAYS_INLINE int64_t choose(int64_t count) const {
        int64_t found = 0;
        for (int64_t j = 0; j < count; ++j) {
            const training::Neighbour& n = room.neighbours[j];
            if (n.near) {
                for (int x = 0; x < 3; ++x) {
                    near.directions[x][found] = n.x[x];
                }
                near.lengths[found] = n.length;
                near.types[found++] = n.type;
            }
        }
        return found;
    }

    ASE_MLIP_ALWAYS_INLINE void angles(const basis::Centres<false>& plain, int64_t i, int64_t count,
                                       int64_t block) const {
        const int64_t type = graph.types[i], size = plain.width(cases[type]);
        for (int64_t k = 0; k < size; ++k) {
            room.sums[k] = near.others[k] = 0.0;
        }
        for (int64_t j = 0; j < count; ++j) {
            const int64_t which = tables.radial_cases[type * tables.species + near.types[j]];
            const training::Basis of_f(tables.banks[2], which, near.lengths[j]);
            V f, slope;
            of_f.evaluate(tables.banks[2], which, block, f, slope);
            simd::store<double>(near.f.data() + j * L, f);
        }
        for (int64_t j = 1; j < count; ++j) {
            for (int64_t k = 0; k < j; k += L) {
                several(type, j, k, std::min(L, j - k));
            }
        }
        for (int64_t k = 0; k < size; ++k) {
            room.sums[k] += near.others[k];
        }
        plain.collect(i, 0, block, size);
    }

    /// The angles of neighbour j with `count` from k on; all cases of g have the same knots.
    ASE_MLIP_ALWAYS_INLINE void several(int64_t type, int64_t j, int64_t k, int64_t count) const {
        const double* grid = tables.banks[3].grid;
        const double inverse = 1.0 / grid[1], last = grid[2] - 1.0;
        const V zero = {}, one = zero + 1.0;
        V cosine = zero;
        for (int x = 0; x < 3; ++x) {
            cosine += near.directions[x][j] * simd::load(near.directions[x].data() + k);
        }
        const V place = (cosine - grid[0]) * inverse;
        const V inside = place < zero ? zero : (place > zero + last ? zero + last : place);
        const Integers first = __builtin_convertvector(inside, Integers);
        const V t = place - __builtin_convertvector(first, V);
        const V u = t < zero ? zero : (t > one ? one : t), v = 1.0 - u, away = t - u;
        double values[4][L];
        simd::store<double>(values[0], v * v * v / 6.0 - away * (0.5 * v * v));
        simd::store<double>(values[1], (u * u * (3.0 * u - 6.0) + 4.0) / 6.0 + away * (u * (1.5 * u - 2.0)));
        simd::store<double>(values[2], (v * v * (3.0 * v - 6.0) + 4.0) / 6.0 - away * (v * (1.5 * v - 2.0)));
        simd::store<double>(values[3], u * u * u / 6.0 + away * (0.5 * u * u));
        int64_t intervals[L];
        std::memcpy(intervals, &first, sizeof intervals);
        const V own = simd::load(near.f.data() + j * L);
        const int64_t* places = cases[type].place.data() + near.types[j] * tables.species;
        for (int64_t s = 0; s < count; ++s) {
            const V f = own * simd::load(near.f.data() + (k + s) * L);
            const int64_t at = (places[near.types[k + s]] * tables.banks[3].size + intervals[s]) * L;
            double* sums = (s % 2 == 0 ? room.sums.data() : near.others.data()) + at; // in turns: no waiting
            for (int m = 0; m < 4; ++m) {
                simd::store<double>(sums + m * L, simd::load(sums + m * L) + f * values[m][s]);
            }
        }
    }
};

} // namespace

SnnpLeverage::SnnpLeverage(const SnnpTables& tables, const Description& model,
                           const std::vector<int>& species_of_type)
    : held_(tables), kinds_(kinds_of(tables, model, species_of_type)), scale_(tables.leverage->scale),
      threads_wanted_(model.threads) {
    tables_.species = static_cast<int64_t>(held_.network_cases.size());
    tables_.cutoff = held_.cutoff;
    tables_.angular_cutoff = held_.angular_cutoff;
    tables_.pair_cases = held_.pair_cases.data();
    tables_.radial_cases = held_.radial_cases.data();
    tables_.angle_cases = held_.angle_cases.data();
    const int64_t radial = held_.phi.channels > 0 ? 0 : 1; // of rho, which stands for phi where there is none
    tables_.banks[0] = bank_of(held_.phi, held_.phi.channels);
    tables_.banks[1] = bank_of(held_.rho, radial);
    tables_.banks[2] = bank_of(held_.f, held_.f.channels);
    tables_.banks[3] = bank_of(held_.g, held_.g.channels);
    columns_ = basis::columns_of(tables_, held_.before);
    cases_ = basis::cases_of(tables_);
    const int64_t size = held_.leverage->size;
    if (size != columns_.count) {
        throw std::runtime_error("`" + model.path + "` has a leverage of " + std::to_string(size) +
                                 " coefficients, expected " + std::to_string(columns_.count) +
                                 "; attach that of its training data with `ase-mlip design --attach`");
    }
    for (int64_t k = 3; k < 3 * held_.g.cases; ++k) {
        if (held_.g.grid[k] != held_.g.grid[k % 3]) {
            throw std::runtime_error("`" + model.path + "`: expected the same knots of all g, got others");
        }
    }
    const std::vector<double>& matrices = held_.leverage->whitening;
    for (size_t begin = 0; begin < matrices.size(); begin += size * size) {
        blocks_.push_back(whitening_of(matrices.data() + begin, size));
    }
    for (const int number : species_of_type) {
        block_of_kind_.push_back(number > 0 ? held_.leverage->block_of[number] : -1);
    }
    held_.leverage.reset(); // it is large
}

void SnnpLeverage::raise(const NativeDomain& domain, double* leverages) {
    if (!threads_) {
        threads_ = std::make_unique<Threads>(threads_wanted_);
        workers_.resize(threads_->count());
    }
    const auto count = static_cast<int64_t>(workers_.size());
    threads_->run([&](int thread) {
        const int64_t end = domain.n_centres * (thread + int64_t{1}) / count;
        for (int64_t begin = domain.n_centres * int64_t{thread} / count; begin < end; begin += kAtOnce) {
            work(domain, leverages, begin, std::min(begin + kAtOnce, end), workers_[thread]);
        }
    });
}

void SnnpLeverage::work(const NativeDomain& domain, double* leverages, int64_t begin, int64_t end,
                        Worker& worker) const {
    std::vector<int> places;
    worker.vectors.clear();
    worker.types.clear();
    worker.neighbour_types.clear();
    worker.starts.assign(1, 0);
    int64_t most = 0;
    for (int64_t k = begin; k < end; ++k) {
        const int place = domain.centres[k];
        if (kinds_.type[domain.kinds[place]] >= 0) {
            places.push_back(place);
            gather(domain, place, worker);
            most = std::max(most, worker.starts.back() - worker.starts.end()[-2]);
        }
    }
    if (most > worker.most) {
        worker.most = most + most / 4;
        worker.room = std::make_unique<basis::Workspace>(tables_, cases_, worker.most, false);
        worker.near.make_room(worker.most, static_cast<int64_t>(worker.room->sums.size()));
    }
    const auto count = static_cast<int64_t>(places.size());
    worker.values.assign(count * columns_.count, 0.0);
    const training::Graph graph{worker.vectors.data(), worker.starts.data(), worker.types.data(),
                                worker.neighbour_types.data()};
    basis::Sums sums;
    sums.values = worker.values.data();
    if (count > 0) {
        simd::run(Fast{tables_, columns_, cases_, graph, sums, count, *worker.room, worker.near});
    }
    for (int64_t k = 0; k < count; ++k) {
        const int64_t block = block_of_kind_[domain.kinds[places[k]]];
        const double found =
            block < 0 ? INFINITY
                      : leverage(blocks_[block], worker.values.data() + k * columns_.count, worker);
        leverages[places[k]] = std::max(leverages[places[k]], found);
    }
}

/// The neighbours within the cutoff, behind those of the centres before.
void SnnpLeverage::gather(const NativeDomain& domain, int place, Worker& worker) const {
    const double* from = domain.positions + 3 * static_cast<int64_t>(place);
    const double* limits = kinds_.square_cutoff.data() + kinds_.count() * domain.kinds[place];
    for (int k = 0; k < domain.counts[place]; ++k) {
        const int other = domain.first[place][k] & domain.mask;
        const double* at = domain.positions + 3 * static_cast<int64_t>(other);
        const double x = at[0] - from[0], y = at[1] - from[1], z = at[2] - from[2];
        const int64_t type = kinds_.type[domain.kinds[other]];
        if (type >= 0 && x * x + y * y + z * z <= limits[domain.kinds[other]]) {
            worker.vectors.insert(worker.vectors.end(), {x, y, z});
            worker.neighbour_types.push_back(type);
        }
    }
    worker.types.push_back(kinds_.type[domain.kinds[place]]);
    worker.starts.push_back(static_cast<int64_t>(worker.neighbour_types.size()));
}

double SnnpLeverage::leverage(const Whitening& whitening, const double* values, Worker& worker) const {
    const size_t count = whitening.dense.size();
    worker.dense.assign(count + L, 0.0);
    for (size_t k = 0; k < count; ++k) {
        worker.dense[k] = values[whitening.dense[k]];
    }
    double total = 0.0;
    simd::run(Square{whitening, worker.dense.data(), total});
    for (size_t k = 0; k < whitening.lone.size(); ++k) {
        const double white = whitening.lone_weights[k] * values[whitening.lone[k]];
        total += white * white;
    }
    return total / scale_;
}

} // namespace mlip
