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

constexpr int64_t kAtOnce = 32; // centres, a multiple of Whitening::kAtoms

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
    BasisRoom none;
    width_ = BasisSums{tables_, columns_, cases_, none}.width();
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
    const auto count = static_cast<int64_t>(held_.leverage->whitening.size()) / (size * size);
    for (int64_t block = 0; block < count; ++block) {
        blocks_.push_back(whitening_of(block));
    }
    for (const int number : species_of_type) {
        block_of_kind_.push_back(number > 0 ? held_.leverage->block_of[number] : -1);
    }
    held_.leverage.reset(); // it is large
}

/// With the columns that centres of its elements have.
Whitening SnnpLeverage::whitening_of(int64_t block) const {
    const int64_t size = columns_.count;
    BasisRoom none;
    const BasisSums sums{tables_, columns_, cases_, none};
    std::vector<int64_t> places(size);
    std::vector<bool> used(size, false);
    for (int64_t column = 0; column < size; ++column) {
        places[column] = sums.place_of(column);
        for (size_t number = 0; number < held_.leverage->block_of.size(); ++number) {
            if (held_.leverage->block_of[number] == block && sums.has(held_.type_of_number[number], column)) {
                used[column] = true;
            }
        }
    }
    return {held_.leverage->whitening.data() + block * size * size, size, places, used};
}

void SnnpLeverage::raise(const NativeDomain& domain, double* leverages) {
    begin(domain, leverages);
    threads().run([this](int thread) {
        see_all(thread);
        whiten_all(workers_[thread]);
    });
}

void SnnpLeverage::begin(const NativeDomain& domain, double* leverages) {
    domain_ = domain;
    leverages_ = leverages;
    workers_.resize(std::max(threads_wanted_, 1));
    for (Worker& worker : workers_) {
        worker.values.resize(width_);
        worker.waiting.resize(blocks_.size());
        for (Waiting& waiting : worker.waiting) {
            waiting.places.clear();
        }
    }
}

void SnnpLeverage::finish() {
    if (workers_.size() == 1) {
        whiten_all(workers_[0]);
        return;
    }
    threads().run([this](int thread) { whiten_all(workers_[thread]); });
}

Threads& SnnpLeverage::threads() {
    if (!threads_) {
        threads_ = std::make_unique<Threads>(threads_wanted_);
    }
    return *threads_;
}

/// The centres of one thread, without the native kernel.
void SnnpLeverage::see_all(int thread) {
    const auto count = static_cast<int64_t>(workers_.size());
    std::vector<int>& within = workers_[thread].within;
    const int64_t end = domain_.n_centres * (thread + int64_t{1}) / count;
    for (int64_t k = domain_.n_centres * int64_t{thread} / count; k < end; ++k) {
        const int place = domain_.centres[k];
        if (kinds_.type[domain_.kinds[place]] < 0) {
            continue;
        }
        const double* from = domain_.positions + 3 * static_cast<int64_t>(place);
        const double* limits = kinds_.square_cutoff.data() + kinds_.count() * domain_.kinds[place];
        within.clear();
        for (int n = 0; n < domain_.counts[place]; ++n) {
            const int other = domain_.first[place][n] & domain_.mask;
            const double* at = domain_.positions + 3 * static_cast<int64_t>(other);
            const double x = at[0] - from[0], y = at[1] - from[1], z = at[2] - from[2];
            if (kinds_.type[domain_.kinds[other]] >= 0 &&
                x * x + y * y + z * z <= limits[domain_.kinds[other]]) {
                within.push_back(other);
            }
        }
        see(thread, place, static_cast<int64_t>(within.size()), within.data());
    }
}

/// The basis of one centre, as the whitening takes it.
struct SnnpLeverage::Row {
    const SnnpLeverage& self;
    const Whitening& whitening;
    Worker& worker;
    Waiting& waiting;
    int centre;
    int64_t count;
    const int* neighbours;

    ASE_MLIP_ALWAYS_INLINE void operator()() const {
        const BasisSums sums{self.tables_, self.columns_, self.cases_, worker.room};
        double* values = worker.values.data();
        std::fill_n(values, self.width_, 0.0);
        sums.centre(self.kinds_.type[self.domain_.kinds[centre]], gather(), values);
        const size_t number = waiting.places.size();
        whitening.choose(values, waiting.dense.data() + number * whitening.width());
        waiting.lone_squares[number] = whitening.lone_square(values);
    }

    /// Vectors and types of the neighbours; each is written, and the next one over it if it is at the cutoff.
    ASE_MLIP_ALWAYS_INLINE int64_t gather() const {
        double *const to_x = worker.room.x.data(), *const to_y = worker.room.y.data(),
                      *const to_z = worker.room.z.data();
        int64_t* const types = worker.room.types.data();
        const double *positions = self.domain_.positions,
                     *from = positions + 3 * static_cast<int64_t>(centre);
        const double a = from[0], b = from[1], c = from[2], limit = self.tables_.cutoff * self.tables_.cutoff;
        const int64_t* const type_of_kind = self.kinds_.type.data();
        const int* const kinds = self.domain_.kinds;
        int64_t n = 0;
        for (int64_t k = 0; k < count; ++k) {
            const int other = neighbours[k];
            const double* at = positions + 3 * static_cast<int64_t>(other);
            const double x = at[0] - a, y = at[1] - b, z = at[2] - c;
            to_x[n] = x;
            to_y[n] = y;
            to_z[n] = z;
            types[n] = type_of_kind[kinds[other]];
            n += static_cast<int64_t>(x * x + y * y + z * z < limit);
        }
        for (int64_t k = n; k % L != 0; ++k) { // what fills a vector
            to_x[k] = 1.0;
            to_y[k] = to_z[k] = 0.0;
            types[k] = 0;
        }
        return n;
    }
};

void SnnpLeverage::see(int thread, int centre, int64_t count, const int* neighbours) {
    const int64_t block = block_of_kind_[domain_.kinds[centre]];
    if (block < 0) {
        leverages_[centre] = INFINITY;
        return;
    }
    Worker& worker = workers_[thread];
    Waiting& waiting = worker.waiting[block];
    const Whitening& whitening = blocks_[block];
    worker.room.make_room(tables_, count);
    if (waiting.places.empty()) {
        waiting.dense.resize(kAtOnce * whitening.width());
        waiting.lone_squares.resize(kAtOnce);
    }
    simd::run(Row{*this, whitening, worker, waiting, centre, count, neighbours});
    waiting.places.push_back(centre);
    if (static_cast<int64_t>(waiting.places.size()) == kAtOnce) {
        whiten(whitening, waiting, worker);
    }
}

void SnnpLeverage::whiten_all(Worker& worker) {
    for (size_t block = 0; block < blocks_.size(); ++block) {
        if (!worker.waiting[block].places.empty()) {
            whiten(blocks_[block], worker.waiting[block], worker);
        }
    }
}

/// The leverages of those that wait.
void SnnpLeverage::whiten(const Whitening& whitening, Waiting& waiting, Worker& worker) {
    const auto count = static_cast<int64_t>(waiting.places.size());
    const int64_t width = whitening.width(),
                  padded = (count + Whitening::kAtoms - 1) / Whitening::kAtoms * Whitening::kAtoms;
    double* dense = waiting.dense.data();
    for (int64_t k = count; k < padded; ++k) { // what fills up is the last atom again
        std::copy_n(dense + (count - 1) * width, width, dense + k * width);
    }
    worker.squares.assign(padded * L, 0.0);
    simd::run(DenseSquares{whitening, padded, dense, worker.squares.data()});
    for (int64_t k = 0; k < count; ++k) {
        double total = waiting.lone_squares[k];
        for (int64_t lane = 0; lane < L; ++lane) {
            total += worker.squares[k * L + lane];
        }
        double& leverage = leverages_[waiting.places[k]];
        leverage = std::max(leverage, total / scale_);
    }
    waiting.places.clear();
}

} // namespace mlip
