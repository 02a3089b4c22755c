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
using training::Bank;

constexpr int64_t kAtOnce = 32; // centres

/// The first `channels` splines of each case.
Bank bank_of(SnnpTables::Bank& bank, int64_t channels) {
    std::vector<double> kept;
    for (int64_t m = 0; m < bank.cases; ++m) {
        const auto begin = bank.coefficients.begin() + m * bank.channels * bank.size;
        kept.insert(kept.end(), begin, begin + channels * bank.size);
    }
    return training::make_bank(kept.data(), bank.grid.data(), bank.cases, channels, bank.size);
}

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
        blocks_.emplace_back(matrices.data() + begin, size);
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

/// The bases of the worker's places.
struct SnnpLeverage::Sums {
    const SnnpLeverage& self;
    const NativeDomain& domain;
    Worker& worker;

    ASE_MLIP_ALWAYS_INLINE void operator()() const {
        const BasisSums sums{self.tables_, self.columns_, self.cases_, worker.room};
        double* to = worker.values.data();
        for (const int place : worker.places) {
            sums.centre(self.kinds_.type[domain.kinds[place]], gather(place), to);
            to += self.columns_.count;
        }
    }

    /// The neighbours within the cutoff; every candidate is written, and the next one over it if it was too
    /// far.
    ASE_MLIP_ALWAYS_INLINE int64_t gather(int place) const {
        BasisRoom& room = worker.room;
        const double* from = domain.positions + 3 * static_cast<int64_t>(place);
        const double *limits = self.kinds_.square_cutoff.data() + self.kinds_.count() * domain.kinds[place],
                     limit = self.tables_.cutoff * self.tables_.cutoff;
        int64_t n = 0;
        for (int k = 0; k < domain.counts[place]; ++k) {
            const int other = domain.first[place][k] & domain.mask;
            const double* at = domain.positions + 3 * static_cast<int64_t>(other);
            const double x = at[0] - from[0], y = at[1] - from[1], z = at[2] - from[2];
            const double squared = x * x + y * y + z * z;
            const int64_t type = self.kinds_.type[domain.kinds[other]];
            room.x[n] = x;
            room.y[n] = y;
            room.z[n] = z;
            room.types[n] = type;
            n += static_cast<int64_t>((type >= 0) & (squared <= limits[domain.kinds[other]]) &
                                      (squared < limit));
        }
        for (int64_t k = n; k % L != 0; ++k) { // what fills a vector
            room.x[k] = 1.0;
            room.y[k] = room.z[k] = 0.0;
            room.types[k] = 0;
        }
        return n;
    }
};

void SnnpLeverage::work(const NativeDomain& domain, double* leverages, int64_t begin, int64_t end,
                        Worker& worker) const {
    int64_t most = 0;
    worker.places.clear();
    for (int64_t k = begin; k < end; ++k) {
        const int place = domain.centres[k];
        if (kinds_.type[domain.kinds[place]] >= 0) {
            worker.places.push_back(place);
            most = std::max<int64_t>(most, domain.counts[place]);
        }
    }
    worker.room.make_room(tables_, most);
    const auto count = static_cast<int64_t>(worker.places.size());
    worker.values.assign(count * columns_.count, 0.0);
    simd::run(Sums{*this, domain, worker});
    for (size_t block = 0; block < blocks_.size(); ++block) {
        whiten(domain, leverages, static_cast<int64_t>(block), worker);
    }
    for (const int place : worker.places) {
        if (block_of_kind_[domain.kinds[place]] < 0) {
            leverages[place] = INFINITY;
        }
    }
}

/// The leverages of the worker's places whose elements belong to a block.
void SnnpLeverage::whiten(const NativeDomain& domain, double* leverages, int64_t block,
                          Worker& worker) const {
    const Whitening& whitening = blocks_[block];
    const int64_t width = whitening.width();
    worker.own.clear();
    for (size_t k = 0; k < worker.places.size(); ++k) {
        if (block_of_kind_[domain.kinds[worker.places[k]]] == block) {
            worker.own.push_back(k);
        }
    }
    const auto count = static_cast<int64_t>(worker.own.size());
    const int64_t padded = (count + Whitening::kAtoms - 1) / Whitening::kAtoms * Whitening::kAtoms;
    worker.dense.resize(padded * width);
    for (int64_t k = 0; k < padded; ++k) { // what fills up is the last atom again
        const auto number = static_cast<int64_t>(worker.own[std::min(k, count - 1)]);
        whitening.choose(worker.values.data() + number * columns_.count, worker.dense.data() + k * width);
    }
    worker.squares.assign(padded * L, 0.0);
    simd::run(DenseSquares{whitening, padded, worker.dense.data(), worker.squares.data()});
    for (int64_t k = 0; k < count; ++k) {
        const size_t number = worker.own[k];
        double total =
            whitening.lone_square(worker.values.data() + static_cast<int64_t>(number) * columns_.count);
        for (int64_t lane = 0; lane < L; ++lane) {
            total += worker.squares[k * L + lane];
        }
        double& leverage = leverages[worker.places[number]];
        leverage = std::max(leverage, total / scale_);
    }
}

} // namespace mlip
