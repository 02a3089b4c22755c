#pragma once
// An s-NNP on atoms and ghosts with a list of neighbour candidates, by the kernel in centre.h: energies,
// forces, virials, without a graph. LAMMPS' arrays come as they are; the ASE calculator makes such ones. No
// libtorch in here.

#include "centre.h"
#include "coverage.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

namespace ase_mlip::snnp {

/// Atoms and ghosts; a place is either.
struct Domain {
    int n_centres = 0, n_places = 0;
    const int* centres = nullptr;      // [n_centres] places
    const int* counts = nullptr;       // by place
    const int* const* first = nullptr; // by place; entries masked with `mask`
    int mask = 0;
    const double* positions = nullptr; // [n_places, 3], Å
    const int* kinds = nullptr;        // [n_places], see Kinds
};

/// Is shown the neighbours of each centre, for what else they are good for.
struct Visitor {
    virtual ~Visitor() = default;
    /// `neighbours` [count]: places of those within the cutoff. Called by the thread that has the centre.
    virtual void see(int thread, int centre, int64_t count, const int* neighbours) = 0;
};

/// Where results are added, all by place, in units of `unit` eV; null for what is not wanted. A ghost's
/// share stands at the ghost.
struct Targets {
    double unit = 1.0;
    double* forces = nullptr;           // [n_places, 3]
    double* energies = nullptr;         // [n_places]
    double* virials = nullptr;          // [n_places, 9], half of an edge's at either end
    double* centroid_virials = nullptr; // [n_places, 9], -r (x) dE/dr at the neighbour
    int64_t* extrapolating = nullptr;   // [n_places], see coverage.h
    bool virial = false;                // whether the sum is wanted
    Visitor* visitor = nullptr;
};

struct Sums {
    double energy = 0.0, virial[9] = {0}; // eV, LAMMPS' sign, row-major
    int64_t n_edges = 0;
    double shortest = INFINITY;             // distance of a candidate, Å
    int bad_position = -1, bad_result = -1; // a place with a position, or a result, that is not finite

    void add(const Sums& other) {
        energy += other.energy;
        n_edges += other.n_edges;
        shortest = std::min(shortest, other.shortest);
        bad_position = std::max(bad_position, other.bad_position);
        bad_result = bad_result < 0 ? other.bad_result : bad_result;
        for (int k = 0; k < 9; ++k) {
            virial[k] += other.virial[k];
        }
    }
};

/// What the kinds of atoms of an engine are to the model.
struct Kinds {
    std::vector<int64_t> type;         // the model's, -1 for atoms that are not ours
    std::vector<double> reference;     // eV
    std::vector<double> square_cutoff; // [kinds, kinds], Å^2

    size_t count() const { return type.size(); }
};

/// What a thread adds to atoms and ghosts when others do so at the same time. Places are cleared a block at a
/// time, when the thread comes to one of them first: atoms that are near each other mostly have near numbers,
/// so that a thread clears, and later adds up, little more than its share.
struct OwnTargets {
    static constexpr int64_t block = 64; // places
    std::vector<double> forces, virials, centroid_virials;
    std::vector<unsigned char> touched; // by block; empty: the thread writes to the caller's arrays

    /// Takes the place of `targets` in what this thread is given.
    void take(Targets& targets, int64_t n_places) {
        touched.assign((n_places + block - 1) / block, 0);
        const auto own = [&](std::vector<double>& values, double*& target, size_t width) {
            values.resize(target == nullptr ? 0 : width * n_places); // what is not new is not cleared here
            target = target == nullptr ? nullptr : values.data();
        };
        own(forces, targets.forces, 3);
        own(virials, targets.virials, 9);
        own(centroid_virials, targets.centroid_virials, 9);
    }

    void clear(int64_t number) {
        touched[number] = 1;
        clear_block(forces, 3, number);
        clear_block(virials, 9, number);
        clear_block(centroid_virials, 9, number);
    }

    void add_to(const Targets& targets, int64_t number) const {
        add_block(forces, targets.forces, 3, number);
        add_block(virials, targets.virials, 9, number);
        add_block(centroid_virials, targets.centroid_virials, 9, number);
    }

    double memory() const {
        return sizeof(double) *
               static_cast<double>(forces.capacity() + virials.capacity() + centroid_virials.capacity());
    }

  private:
    static size_t end_of(const std::vector<double>& values, int64_t width, int64_t number) {
        return std::min(static_cast<size_t>(width * block * (number + 1)), values.size());
    }
    static void clear_block(std::vector<double>& values, int64_t width, int64_t number) {
        const size_t end = end_of(values, width, number);
        for (size_t k = width * block * number; k < end; ++k) {
            values[k] = 0.0;
        }
    }
    static void add_block(const std::vector<double>& values, double* target, int64_t width, int64_t number) {
        const size_t end = end_of(values, width, number);
        for (size_t k = width * block * number; k < end; ++k) {
            target[k] += values[k];
        }
    }
};

/// What one thread needs, and what it found.
template <typename T> struct Worker {
    std::unique_ptr<Workspace<T>> workspace;
    int thread = 0;
    int64_t room = -1;                 // neighbours there is room for
    std::vector<T> vectors, gradients; // [room, 3]
    std::vector<int64_t> types;        // [room]
    std::vector<int> places;           // [room]
    OwnTargets own;                    // of all threads but the first
    std::vector<double> scratch;
    Sums sums;

    void make_room(const Model<T>& model, int64_t neighbours) {
        if (neighbours > room) {
            room = neighbours + neighbours / 4;
            workspace = std::make_unique<Workspace<T>>(model, room);
            vectors.resize(3 * room + 3);
            gradients.resize(3 * room + 3);
            types.resize(room + 1);
            places.resize(room + 1);
        }
    }
};

/// A range of centres on one thread.
template <typename T, bool Few> struct Slice {
    const Model<T>& model;
    const Kinds& kinds;
    const Coverage& coverage;
    const Domain& domain;
    const Targets& to; // of this thread
    Worker<T>& worker;
    int begin, end;

    ASE_MLIP_ALWAYS_INLINE void operator()() const {
        for (int k = begin; k < end; ++k) {
            const int place = domain.centres[k];
            if (kinds.type[domain.kinds[place]] >= 0) {
                one(place);
            }
        }
    }

    ASE_MLIP_ALWAYS_INLINE void one(int place) const {
        double smallest = INFINITY;
        const int64_t count = gather(place, smallest);
        const int64_t type = kinds.type[domain.kinds[place]];
        worker.sums.shortest = std::min(worker.sums.shortest, smallest);
        if (to.extrapolating != nullptr && coverage.matters(std::sqrt(smallest))) {
            to.extrapolating[place] += count_extrapolating(coverage, type, count, worker.vectors.data(),
                                                           worker.types.data(), worker.scratch);
        }
        touch(place, count);
        std::fill_n(worker.gradients.data(), 3 * count, T(0));
        Centre<T> centre{model, *worker.workspace, type};
        const T found = centre.template evaluate<Few>({count, worker.vectors.data(), worker.types.data()},
                                                      T(1), worker.gradients.data());
        const double energy = static_cast<double>(found) + kinds.reference[domain.kinds[place]];
        worker.sums.energy += energy;
        worker.sums.n_edges += count;
        if (to.energies != nullptr) {
            to.energies[place] += to.unit * energy;
        }
        const double total = scatter(place, count);
        if (!std::isfinite(energy + total) && worker.sums.bad_result < 0) {
            worker.sums.bad_result = place;
        }
        if (to.virial || to.virials != nullptr || to.centroid_virials != nullptr) {
            scatter_virials(place, count);
        }
        if (to.visitor != nullptr) {
            to.visitor->see(worker.thread, place, count, worker.places.data());
        }
    }

    /// The neighbours within the cutoff; every candidate is written, and the next one over it if it was too
    /// far, so that nothing has to be predicted.
    ASE_MLIP_ALWAYS_INLINE int64_t gather(int place, double& smallest) const {
        const double* x = domain.positions;
        const double* from = x + 3 * static_cast<int64_t>(place);
        const double a = from[0], b = from[1], c = from[2];
        const int* candidates = domain.first[place];
        const double* limits = kinds.square_cutoff.data() + kinds.count() * domain.kinds[place];
        double least = smallest;
        int64_t n = 0;
        for (int k = 0; k < domain.counts[place]; ++k) {
            const int other = candidates[k] & domain.mask;
            const double* at = x + 3 * static_cast<int64_t>(other);
            const double dx = at[0] - a, dy = at[1] - b, dz = at[2] - c;
            const double squared = dx * dx + dy * dy + dz * dz;
            const int64_t type = kinds.type[domain.kinds[other]];
            const bool ours = type >= 0;
            least = ours && squared < least ? squared : least;
            worker.vectors[3 * n] = static_cast<T>(dx);
            worker.vectors[3 * n + 1] = static_cast<T>(dy);
            worker.vectors[3 * n + 2] = static_cast<T>(dz);
            worker.types[n] = type;
            worker.places[n] = other;
            n += static_cast<int64_t>(ours & (squared <= limits[domain.kinds[other]]));
        }
        smallest = least;
        return n;
    }

    ASE_MLIP_ALWAYS_INLINE void touch(int place, int64_t count) const {
        const unsigned char* touched = worker.own.touched.data();
        if (worker.own.touched.empty()) {
            return;
        }
        for (int64_t n = -1; n < count; ++n) {
            const int64_t block = (n < 0 ? place : worker.places[n]) / OwnTargets::block;
            if (touched[block] == 0) {
                worker.own.clear(block);
            }
        }
    }

    /// +g on the centre and -g on the neighbours; the sum of the components on the centre.
    ASE_MLIP_ALWAYS_INLINE double scatter(int place, int64_t count) const {
        double sum[3] = {0.0, 0.0, 0.0};
        for (int64_t n = 0; n < count; ++n) {
            double* force = to.forces + 3 * static_cast<int64_t>(worker.places[n]);
            for (int k = 0; k < 3; ++k) {
                const auto g = static_cast<double>(worker.gradients[3 * n + k]);
                sum[k] += g;
                force[k] -= to.unit * g;
            }
        }
        double* force = to.forces + 3 * static_cast<int64_t>(place);
        for (int k = 0; k < 3; ++k) {
            force[k] += to.unit * sum[k];
        }
        return sum[0] + sum[1] + sum[2];
    }

    ASE_MLIP_ALWAYS_INLINE void scatter_virials(int place, int64_t count) const {
        const double* x = domain.positions;
        const double* from = x + 3 * static_cast<int64_t>(place);
        double sum[9] = {0.0};
        for (int64_t n = 0; n < count; ++n) {
            const auto other = static_cast<int64_t>(worker.places[n]);
            double product[9];
            for (int k = 0; k < 9; ++k) {
                const double r = x[3 * other + k / 3] - from[k / 3];
                product[k] = -r * static_cast<double>(worker.gradients[3 * n + k % 3]);
                sum[k] += product[k];
            }
            for (int k = 0; to.virials != nullptr && k < 9; ++k) {
                to.virials[9 * other + k] += 0.5 * to.unit * product[k];
            }
            for (int k = 0; to.centroid_virials != nullptr && k < 9; ++k) {
                to.centroid_virials[9 * other + k] += to.unit * product[k];
            }
        }
        for (int k = 0; k < 9; ++k) {
            worker.sums.virial[k] += sum[k];
            if (to.virials != nullptr) {
                to.virials[9 * static_cast<int64_t>(place) + k] += 0.5 * to.unit * sum[k];
            }
        }
    }
};

/// A model for the atoms of an engine. Its `Threads` have a `count()`, and `run(job)` which calls job(0) to
/// job(count() - 1), together or in turn.
template <typename T, typename Threads> class OnAtoms {
  public:
    template <typename... Arguments>
    OnAtoms(const ModelData& data, Kinds kinds, Coverage coverage, Arguments... threads)
        : model_(make_model<T>(data)), kinds_(std::move(kinds)), coverage_(std::move(coverage)),
          threads_(threads...) {
        coverage_.prepare();
    }

    Sums evaluate(const Domain& domain, const Targets& targets) {
        workers_.resize(threads_.count());
        threads_.run([&](int thread) { work(domain, targets, thread); });
        Sums sums;
        for (const Worker<T>& worker : workers_) {
            sums.add(worker.sums);
        }
        sums.shortest = std::sqrt(sums.shortest);
        if (workers_.size() > 1) {
            threads_.run([&](int thread) { add_up(domain.n_places, targets, thread); });
        }
        return sums;
    }

    /// Blocks of places that the threads but the first had to clear and to add, in the last evaluation.
    int64_t blocks_touched() const {
        int64_t count = 0;
        for (const Worker<T>& worker : workers_) {
            count += std::count(worker.own.touched.begin(), worker.own.touched.end(), 1);
        }
        return count;
    }

    /// Of the buffers that grow with the number of places, bytes.
    double memory() const {
        double bytes = 0.0;
        for (const Worker<T>& worker : workers_) {
            bytes += worker.own.memory();
        }
        return bytes;
    }

  private:
    /// A range of n elements for each thread.
    std::pair<int64_t, int64_t> share(int64_t n, int thread) const {
        const auto count = static_cast<int64_t>(workers_.size());
        return {n * thread / count, n * (thread + 1) / count};
    }

    void work(const Domain& domain, const Targets& targets, int thread) {
        Worker<T>& worker = workers_[thread];
        worker.thread = thread;
        worker.sums = {};
        check_positions(domain, thread);
        const auto [begin, end] = share(domain.n_centres, thread);
        int64_t most = 0;
        for (int64_t k = begin; k < end; ++k) {
            most = std::max<int64_t>(most, domain.counts[domain.centres[k]]);
        }
        worker.make_room(model_, most);
        Targets mine = targets;
        if (thread > 0) { // the first one's are the caller's
            worker.own.take(mine, domain.n_places);
        }
        const int first = static_cast<int>(begin), last = static_cast<int>(end);
        if (model_.few_pieces()) {
            simd::run(Slice<T, true>{model_, kinds_, coverage_, domain, mine, worker, first, last});
        } else {
            simd::run(Slice<T, false>{model_, kinds_, coverage_, domain, mine, worker, first, last});
        }
    }

    void check_positions(const Domain& domain, int thread) {
        const auto [begin, end] = share(domain.n_places, thread);
        for (int64_t k = 3 * begin; k < 3 * end; ++k) {
            if (!std::isfinite(domain.positions[k])) {
                workers_[thread].sums.bad_position = static_cast<int>(k / 3);
                return;
            }
        }
    }

    /// What the other threads found, in one order always.
    void add_up(int64_t n_places, const Targets& targets, int thread) {
        const auto [begin, end] = share((n_places + OwnTargets::block - 1) / OwnTargets::block, thread);
        for (int64_t block = begin; block < end; ++block) {
            for (size_t other = 1; other < workers_.size(); ++other) {
                if (workers_[other].own.touched[block] != 0) {
                    workers_[other].own.add_to(targets, block);
                }
            }
        }
    }

    Model<T> model_;
    Kinds kinds_;
    Coverage coverage_;
    Threads threads_;
    std::vector<Worker<T>> workers_;
};

} // namespace ase_mlip::snnp
