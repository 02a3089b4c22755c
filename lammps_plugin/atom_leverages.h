#pragma once
// The leverages of an s-NNP's atoms, in the precision of its kernel: the least-squares basis of each,
// whitened many atoms at a time. Knows neither libtorch nor a LAMMPS class.

#include "basis_sums.h"
#include "native_snnp.h"
#include "whitening.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace mlip {

/// What belongs to each other of the tables of an s-NNP.
struct BasisTables {
    SnnpTables held; // what the others point into; without the leverage
    ase_mlip::snnp::Kinds kinds;
    std::vector<int64_t> block_of_kind; // of the whitening, -1 for atoms without data
    ase_mlip::snnp::training::Tables tables;
    ase_mlip::snnp::basis::Columns columns;
    std::vector<ase_mlip::snnp::basis::Cases> cases;

    /// Throws std::runtime_error where the leverage is of another basis.
    BasisTables(const SnnpTables& given, const Description& model, const std::vector<int>& species_of_type);
    BasisTables(const BasisTables&) = delete;
    BasisTables& operator=(const BasisTables&) = delete;

    BasisLayout layout() const { return {tables, columns, cases}; }
};

template <typename T> class AtomLeverages {
  public:
    /// Of the blocks of the leverage in `given`, the tables of which are `basis`.
    AtomLeverages(const BasisTables& basis, const LeverageTables& given);

    /// Before `see` of as many threads; raises `leverages` [n_all] of the centres.
    void begin(const NativeDomain& domain, double* leverages, int threads);
    void see(int thread, int centre, int64_t count, const int* neighbours);
    /// The centres of one thread, without the native kernel.
    void see_all(int thread);
    /// Of those that still wait.
    void finish(int thread);

  private:
    static constexpr int64_t kAtOnce = 32; // centres, a multiple of Whitening::kAtoms

    /// Centres of one block of the whitening, until there are enough for a product.
    struct Waiting {
        std::vector<int> atoms;
        Numbers<T> dense; // [atoms, width] phi as the whitening takes it
        std::vector<double> lone_squares;
    };
    /// Of one thread.
    struct Worker {
        std::vector<Waiting> waiting; // by block
        std::vector<int> within;      // neighbours of a centre
        Numbers<T> values;            // of a centre
        Numbers<T> squares;           // [atoms, lanes]
        BasisRoom<T> room;
    };
    struct Row;

    Whitening<T> whitening_of(const LeverageTables& given, int64_t block) const;
    void whiten(const Whitening<T>& whitening, Waiting& waiting, Worker& worker);

    const BasisTables& basis_;
    Numbers<T> filters_; // f
    int64_t width_;      // numbers of one centre
    std::vector<Whitening<T>> blocks_;
    std::vector<Worker> workers_;
    NativeDomain domain_;
    double* leverages_ = nullptr;
};

template <typename T>
AtomLeverages<T>::AtomLeverages(const BasisTables& basis, const LeverageTables& given)
    : basis_(basis), filters_(BasisSums<T>::powers_of(basis.tables.banks[2])),
      width_(basis.layout().width()) {
    const int64_t size = basis.columns.count;
    const auto count = static_cast<int64_t>(given.whitening.size()) / (size * size);
    for (int64_t block = 0; block < count; ++block) {
        blocks_.push_back(whitening_of(given, block));
    }
}

/// With the columns that centres of its elements have; its squares are leverages.
template <typename T>
Whitening<T> AtomLeverages<T>::whitening_of(const LeverageTables& given, int64_t block) const {
    const int64_t size = basis_.columns.count;
    const BasisLayout layout = basis_.layout();
    std::vector<int64_t> places(size);
    std::vector<bool> used(size, false);
    for (int64_t column = 0; column < size; ++column) {
        places[column] = layout.place_of(column);
        for (size_t number = 0; number < given.block_of.size(); ++number) {
            if (given.block_of[number] == block && layout.has(basis_.held.type_of_number[number], column)) {
                used[column] = true;
            }
        }
    }
    const auto begin = given.whitening.begin() + block * size * size;
    std::vector<double> matrix(begin, begin + size * size);
    const double factor = 1.0 / std::sqrt(given.scale);
    for (double& number : matrix) {
        number *= factor;
    }
    return {matrix.data(), size, places, used};
}

template <typename T>
void AtomLeverages<T>::begin(const NativeDomain& domain, double* leverages, int threads) {
    domain_ = domain;
    leverages_ = leverages;
    workers_.resize(threads);
    for (Worker& worker : workers_) {
        worker.values.resize(width_);
        worker.waiting.resize(blocks_.size());
        for (Waiting& waiting : worker.waiting) {
            waiting.atoms.clear();
        }
    }
}

template <typename T> void AtomLeverages<T>::see_all(int thread) {
    const auto count = static_cast<int64_t>(workers_.size());
    const ase_mlip::snnp::Kinds& kinds = basis_.kinds;
    std::vector<int>& within = workers_[thread].within;
    const int64_t end = domain_.n_centres * (thread + int64_t{1}) / count;
    for (int64_t k = domain_.n_centres * int64_t{thread} / count; k < end; ++k) {
        const int atom = domain_.centres[k];
        if (kinds.type[domain_.kinds[atom]] < 0) {
            continue;
        }
        within.clear();
        edges_within(domain_, kinds, atom,
                     [&](int other, const double*, int64_t) { within.push_back(other); });
        see(thread, atom, static_cast<int64_t>(within.size()), within.data());
    }
}

/// The basis of one centre, as the whitening takes it.
template <typename T> struct AtomLeverages<T>::Row {
    const AtomLeverages& self;
    const Whitening<T>& whitening;
    Worker& worker;
    Waiting& waiting;
    int centre;
    int64_t count;
    const int* neighbours;

    ASE_MLIP_ALWAYS_INLINE void operator()() const {
        const BasisTables& basis = self.basis_;
        const BasisSums<T> sums{basis.tables, basis.columns, basis.cases, self.filters_.data(), worker.room};
        T* values = worker.values.data();
        sums.centre(basis.kinds.type[self.domain_.kinds[centre]], gather(), values);
        const size_t number = waiting.atoms.size();
        whitening.choose(values, waiting.dense.data() + number * whitening.width());
        waiting.lone_squares[number] = whitening.lone_square(values);
    }

    /// Vectors and types of the neighbours; each is written, and the next one over it if it is at the cutoff.
    ASE_MLIP_ALWAYS_INLINE int64_t gather() const {
        constexpr int64_t lanes = BasisRoom<T>::lanes;
        T *const to_x = worker.room.x.data(), *const to_y = worker.room.y.data(),
                 *const to_z = worker.room.z.data();
        int64_t* const types = worker.room.types.data();
        const double *positions = self.domain_.positions,
                     *from = positions + 3 * static_cast<int64_t>(centre);
        const double a = from[0], b = from[1], c = from[2], cutoff = self.basis_.tables.cutoff,
                     limit = cutoff * cutoff;
        const int64_t* const type_of_kind = self.basis_.kinds.type.data();
        const int* const kinds = self.domain_.kinds;
        int64_t n = 0;
        for (int64_t k = 0; k < count; ++k) {
            const int other = neighbours[k];
            const double* at = positions + 3 * static_cast<int64_t>(other);
            const double x = at[0] - a, y = at[1] - b, z = at[2] - c;
            to_x[n] = static_cast<T>(x);
            to_y[n] = static_cast<T>(y);
            to_z[n] = static_cast<T>(z);
            types[n] = type_of_kind[kinds[other]];
            n += static_cast<int64_t>(x * x + y * y + z * z < limit);
        }
        for (int64_t k = n; k % lanes != 0; ++k) { // what fills a vector
            to_x[k] = T(1);
            to_y[k] = to_z[k] = T(0);
            types[k] = 0;
        }
        return n;
    }
};

template <typename T>
void AtomLeverages<T>::see(int thread, int centre, int64_t count, const int* neighbours) {
    const int64_t block = basis_.block_of_kind[domain_.kinds[centre]];
    if (block < 0) {
        leverages_[centre] = INFINITY;
        return;
    }
    Worker& worker = workers_[thread];
    Waiting& waiting = worker.waiting[block];
    const Whitening<T>& whitening = blocks_[block];
    worker.room.make_room(basis_.tables, count);
    if (waiting.atoms.empty()) {
        waiting.dense.resize(kAtOnce * whitening.width());
        waiting.lone_squares.resize(kAtOnce);
    }
    ase_mlip::simd::run(Row{*this, whitening, worker, waiting, centre, count, neighbours});
    waiting.atoms.push_back(centre);
    if (static_cast<int64_t>(waiting.atoms.size()) == kAtOnce) {
        whiten(whitening, waiting, worker);
    }
}

template <typename T> void AtomLeverages<T>::finish(int thread) {
    Worker& worker = workers_[thread];
    for (size_t block = 0; block < blocks_.size(); ++block) {
        if (!worker.waiting[block].atoms.empty()) {
            whiten(blocks_[block], worker.waiting[block], worker);
        }
    }
}

/// The leverages of those that wait.
template <typename T>
void AtomLeverages<T>::whiten(const Whitening<T>& whitening, Waiting& waiting, Worker& worker) {
    constexpr int64_t lanes = Whitening<T>::kLanes, atoms = Whitening<T>::kAtoms;
    const auto count = static_cast<int64_t>(waiting.atoms.size());
    const int64_t width = whitening.width(), padded = (count + atoms - 1) / atoms * atoms;
    T* dense = waiting.dense.data();
    for (int64_t k = count; k < padded; ++k) { // what fills up is the last atom again
        std::copy_n(dense + (count - 1) * width, width, dense + k * width);
    }
    worker.squares.assign(padded * lanes, T(0));
    ase_mlip::simd::run(DenseSquares<T>{whitening, padded, dense, worker.squares.data()});
    for (int64_t k = 0; k < count; ++k) {
        double total = waiting.lone_squares[k];
        for (int64_t lane = 0; lane < lanes; ++lane) {
            total += static_cast<double>(worker.squares[k * lanes + lane]);
        }
        double& leverage = leverages_[waiting.atoms[k]];
        leverage = std::max(leverage, total);
    }
    waiting.atoms.clear();
}

} // namespace mlip
