#pragma once
// The leverages of an s-NNP's atoms, in the precision of its kernel: the least-squares basis of each,
// whitened many atoms at a time. Knows neither libtorch nor a LAMMPS class.

#include "../snnp_atoms/native_domain.h"
#include "basis_sums.h"
#include "whitening.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <set>
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
    using Arrangement = ase_mlip::snnp::Arrangement<T>;

    /// Of the blocks of the leverage in `given`, the tables of which are `basis`.
    AtomLeverages(const BasisTables& basis, const LeverageTables& given);

    /// Before `see` of as many threads; raises `leverages` [n_all] of the centres.
    void begin(const NativeDomain& domain, double* leverages, int threads);
    void see(int thread, int centre, const Arrangement& neighbours);
    /// The centres of one thread, without the native kernel.
    void see_all(int thread);
    /// Of those that still wait.
    void finish(int thread);

  private:
    static constexpr int64_t kAtOnce = 32; // centres, a multiple of Whitening::kAtoms

    /// Centres of one block of the whitening, until there are enough for a product.
    struct Waiting {
        std::vector<int> atoms;
        Numbers<T> phi; // [kAtOnce, width]
    };
    /// Of one thread.
    struct Worker {
        std::vector<Waiting> waiting; // by block
        Numbers<T> squares;           // [kAtOnce, lanes]
        BasisRoom<T> room;
        // Without the native kernel:
        std::vector<T> vectors;
        std::vector<int64_t> types;
        std::unique_ptr<Arrangement> arrangement;
    };
    struct Row;
    struct Arrange;

    std::set<int64_t> types_of(const LeverageTables& given, int64_t block) const;
    Whitening<T> whitening_of(const LeverageTables& given, int64_t block) const;
    const Arrangement& arrange(int centre, Worker& worker) const;
    void whiten(const Whitening<T>& whitening, Waiting& waiting, Worker& worker);

    const BasisTables& basis_;
    BasisSplines<T> splines_;
    int64_t width_; // numbers of one centre
    std::vector<Whitening<T>> blocks_;
    std::vector<bool> is_mixed_; // whether a block is of several types, which have other columns each
    std::vector<Worker> workers_;
    NativeDomain domain_;
    double* leverages_ = nullptr;
};

template <typename T>
AtomLeverages<T>::AtomLeverages(const BasisTables& basis, const LeverageTables& given)
    : basis_(basis), splines_(basis.tables), width_(basis.layout().width()) {
    const int64_t size = basis.columns.count;
    const auto count = static_cast<int64_t>(given.whitening.size()) / (size * size);
    for (int64_t block = 0; block < count; ++block) {
        blocks_.push_back(whitening_of(given, block));
        is_mixed_.push_back(types_of(given, block).size() > 1);
    }
}

template <typename T>
std::set<int64_t> AtomLeverages<T>::types_of(const LeverageTables& given, int64_t block) const {
    std::set<int64_t> types;
    for (size_t number = 0; number < given.block_of.size(); ++number) {
        if (given.block_of[number] == block) {
            types.insert(basis_.held.type_of_number[number]);
        }
    }
    return types;
}

/// With the columns that centres of its elements have; its squares are leverages.
template <typename T>
Whitening<T> AtomLeverages<T>::whitening_of(const LeverageTables& given, int64_t block) const {
    const int64_t size = basis_.columns.count;
    const BasisLayout layout = basis_.layout();
    std::vector<int64_t> places(size);
    std::vector<bool> used(size, false);
    const std::set<int64_t> types = types_of(given, block);
    for (int64_t column = 0; column < size; ++column) {
        places[column] = layout.place_of(column);
        used[column] =
            std::any_of(types.begin(), types.end(), [&](int64_t type) { return layout.has(type, column); });
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
        worker.waiting.resize(blocks_.size());
        for (Waiting& waiting : worker.waiting) {
            waiting.atoms.clear();
        }
    }
}

template <typename T> void AtomLeverages<T>::see_all(int thread) {
    const auto count = static_cast<int64_t>(workers_.size());
    const int64_t end = domain_.n_centres * (thread + int64_t{1}) / count;
    for (int64_t k = domain_.n_centres * int64_t{thread} / count; k < end; ++k) {
        const int atom = domain_.centres[k];
        if (basis_.kinds.type[domain_.kinds[atom]] >= 0) {
            see(thread, atom, arrange(atom, workers_[thread]));
        }
    }
}

template <typename T> struct AtomLeverages<T>::Arrange {
    Arrangement& arrangement;
    ase_mlip::snnp::Neighbours<T> neighbours;

    template <int W> ASE_MLIP_ALWAYS_INLINE void operator()(ase_mlip::simd::Width<W> /*width*/) const {
        arrangement.template arrange<W>(neighbours);
    }
};

/// The neighbours of a centre, as the native kernel would have them.
template <typename T>
const ase_mlip::snnp::Arrangement<T>& AtomLeverages<T>::arrange(int centre, Worker& worker) const {
    worker.vectors.clear();
    worker.types.clear();
    edges_within(domain_, basis_.kinds, centre, [&](int, const double* vector, int64_t type) {
        worker.vectors.insert(worker.vectors.end(), vector, vector + 3);
        worker.types.push_back(type);
    });
    const auto count = static_cast<int64_t>(worker.types.size());
    if (!worker.arrangement || worker.arrangement->most < count) {
        worker.arrangement = std::make_unique<Arrangement>(basis_.tables.species, T(basis_.tables.cutoff),
                                                           T(basis_.tables.angular_cutoff), 2 * count);
    }
    ase_mlip::simd::run(Arrange{*worker.arrangement, {count, worker.vectors.data(), worker.types.data()}});
    return *worker.arrangement;
}

/// The basis of one centre.
template <typename T> struct AtomLeverages<T>::Row {
    const BasisSums<T>& sums;
    int64_t type;
    const Arrangement& neighbours;
    T* phi;

    template <int W> ASE_MLIP_ALWAYS_INLINE void operator()(ase_mlip::simd::Width<W> /*width*/) const {
        sums.template centre<W>(type, neighbours, phi);
    }
};

template <typename T> void AtomLeverages<T>::see(int thread, int centre, const Arrangement& neighbours) {
    const int kind = domain_.kinds[centre];
    const int64_t block = basis_.block_of_kind[kind];
    if (block < 0) {
        leverages_[centre] = INFINITY;
        return;
    }
    Worker& worker = workers_[thread];
    Waiting& waiting = worker.waiting[block];
    worker.room.make_room(basis_.tables, neighbours.entries);
    waiting.phi.resize(kAtOnce * width_);
    const BasisSums<T> sums{basis_.tables, basis_.columns, basis_.cases, splines_, worker.room};
    T* phi = waiting.phi.data() + static_cast<int64_t>(waiting.atoms.size()) * width_;
    if (is_mixed_[block]) {
        std::fill_n(phi, width_, T(0)); // what this type has not, the atom before may have had
    }
    ase_mlip::simd::run(Row{sums, basis_.kinds.type[kind], neighbours, phi});
    waiting.atoms.push_back(centre);
    if (static_cast<int64_t>(waiting.atoms.size()) == kAtOnce) {
        whiten(blocks_[block], waiting, worker);
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
    const int64_t padded = (count + atoms - 1) / atoms * atoms; // what fills up is from before, or zero
    worker.squares.resize(kAtOnce * lanes);
    ase_mlip::simd::run(
        WhiteSquares<T>{whitening, padded, width_, waiting.phi.data(), worker.squares.data()});
    for (int64_t k = 0; k < count; ++k) {
        double total = 0.0;
        for (int64_t lane = 0; lane < lanes; ++lane) {
            total += static_cast<double>(worker.squares[k * lanes + lane]);
        }
        double& leverage = leverages_[waiting.atoms[k]];
        leverage = std::max(leverage, total);
    }
    waiting.atoms.clear();
}

} // namespace mlip
