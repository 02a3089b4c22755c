#pragma once
// An s-NNP on own and ghost atoms with a list of pairs, by the kernel in centre.h: energies, forces, virials,
// without a graph. LAMMPS' arrays come as they are; the ASE calculator makes such ones, with a ghost atom for
// every periodic image that it needs. No libtorch in here.

#include "centre.h"
#include "coverage.h"
#include "domain.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

namespace ase_mlip::snnp {

/// What a thread adds to atoms when others do so at the same time. Atoms are cleared a block at a time, when
/// the thread comes to one of them first: atoms that are near each other mostly have near numbers, so that a
/// thread clears, and later adds up, little more than its share.
struct OwnTargets {
    static constexpr int64_t block = 64; // atoms
    std::vector<double> forces, virials, centroid_virials;
    std::vector<unsigned char> touched; // by block; empty: the thread writes to the caller's arrays

    /// Replaces `targets` in what this thread is given.
    void take(Targets& targets, int64_t n_all) {
        touched.assign((n_all + block - 1) / block, 0);
        const auto own = [&](std::vector<double>& values, double*& target, size_t width) {
            values.resize(target == nullptr ? 0 : width * n_all); // what is not new is not cleared here
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
    std::vector<int> neighbours;       // [room] atoms
    OwnTargets own;                    // of all threads but the first
    std::vector<double> scratch;
    Sums sums;

    void make_room(const Model<T>& model, int64_t pairs) {
        if (pairs > room) {
            room = pairs + pairs / 4;
            workspace = std::make_unique<Workspace<T>>(model, room);
            vectors.resize(3 * room + 3);
            gradients.resize(3 * room + 3);
            types.resize(room + 1);
            neighbours.resize(room + 1);
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

    template <int W> ASE_MLIP_ALWAYS_INLINE void operator()(simd::Width<W> /*width*/) const {
        for (int k = begin; k < end; ++k) {
            const int atom = domain.centres[k];
            if (kinds.type[domain.kinds[atom]] >= 0) {
                one<W>(atom);
            }
        }
    }

    template <int W> ASE_MLIP_ALWAYS_INLINE void one(int atom) const {
        double smallest = INFINITY;
        const int64_t count = gather(atom, smallest);
        const int64_t type = kinds.type[domain.kinds[atom]];
        worker.sums.shortest = std::min(worker.sums.shortest, smallest);
        if (to.extrapolating != nullptr && coverage.matters(std::sqrt(smallest))) {
            to.extrapolating[atom] += count_extrapolating(coverage, type, count, worker.vectors.data(),
                                                          worker.types.data(), worker.scratch);
        }
        touch(atom, count);
        std::fill_n(worker.gradients.data(), 3 * count, T(0));
        Centre<T, W> centre{model, *worker.workspace, type};
        const T found = centre.template evaluate<Few>({count, worker.vectors.data(), worker.types.data()},
                                                      T(1), worker.gradients.data());
        const double energy = static_cast<double>(found) + kinds.reference[domain.kinds[atom]];
        worker.sums.energy += energy;
        worker.sums.n_edges += count;
        if (to.energies != nullptr) {
            to.energies[atom] += to.unit * energy;
        }
        const double total = scatter(atom, count);
        if (!std::isfinite(energy + total) && worker.sums.bad_result < 0) {
            worker.sums.bad_result = atom;
        }
        if (to.virial || to.virials != nullptr || to.centroid_virials != nullptr) {
            scatter_virials(atom, count);
        }
        if (to.visitor != nullptr) {
            to.visitor->see(worker.thread, atom, *worker.workspace);
        }
    }

    /// The neighbours within the cutoff; every pair's is written, and the next one over it if it was too far,
    /// so that nothing has to be predicted. edges_within of domain.h does the same where it need not be fast.
    ASE_MLIP_ALWAYS_INLINE int64_t gather(int atom, double& smallest) const {
        const double* x = domain.positions;
        const double* from = x + 3 * static_cast<int64_t>(atom);
        const double a = from[0], b = from[1], c = from[2];
        const int* others = domain.first[atom];
        const double* limits = kinds.square_cutoff.data() + kinds.count() * domain.kinds[atom];
        double least = smallest;
        int64_t n = 0;
        for (int k = 0; k < domain.counts[atom]; ++k) {
            const int other = others[k] & domain.mask;
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
            worker.neighbours[n] = other;
            n += static_cast<int64_t>(ours & (squared <= limits[domain.kinds[other]]));
        }
        smallest = least;
        return n;
    }

    ASE_MLIP_ALWAYS_INLINE void touch(int atom, int64_t count) const {
        const unsigned char* touched = worker.own.touched.data();
        if (worker.own.touched.empty()) {
            return;
        }
        for (int64_t n = -1; n < count; ++n) {
            const int64_t block = (n < 0 ? atom : worker.neighbours[n]) / OwnTargets::block;
            if (touched[block] == 0) {
                worker.own.clear(block);
            }
        }
    }

    /// +g on the centre and -g on the neighbours; the sum of the components on the centre.
    ASE_MLIP_ALWAYS_INLINE double scatter(int atom, int64_t count) const {
        double sum[3] = {0.0, 0.0, 0.0};
        for (int64_t n = 0; n < count; ++n) {
            double* force = to.forces + 3 * static_cast<int64_t>(worker.neighbours[n]);
            for (int k = 0; k < 3; ++k) {
                const auto g = static_cast<double>(worker.gradients[3 * n + k]);
                sum[k] += g;
                force[k] -= to.unit * g;
            }
        }
        double* force = to.forces + 3 * static_cast<int64_t>(atom);
        for (int k = 0; k < 3; ++k) {
            force[k] += to.unit * sum[k];
        }
        return sum[0] + sum[1] + sum[2];
    }

    ASE_MLIP_ALWAYS_INLINE void scatter_virials(int atom, int64_t count) const {
        const double* x = domain.positions;
        const double* from = x + 3 * static_cast<int64_t>(atom);
        double sum[9] = {0.0};
        for (int64_t n = 0; n < count; ++n) {
            const auto other = static_cast<int64_t>(worker.neighbours[n]);
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
                to.virials[9 * static_cast<int64_t>(atom) + k] += 0.5 * to.unit * sum[k];
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
            threads_.run([&](int thread) { add_up(domain.n_all, targets, thread); });
        }
        return sums;
    }

    /// Blocks of atoms that the threads but the first had to clear and to add, in the last evaluation.
    int64_t blocks_touched() const {
        int64_t count = 0;
        for (const Worker<T>& worker : workers_) {
            count += std::count(worker.own.touched.begin(), worker.own.touched.end(), 1);
        }
        return count;
    }

    /// Of the buffers that grow with the number of atoms, bytes.
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
            worker.own.take(mine, domain.n_all);
        }
        const int first = static_cast<int>(begin), last = static_cast<int>(end);
        if (model_.few_pieces()) {
            simd::run(Slice<T, true>{model_, kinds_, coverage_, domain, mine, worker, first, last});
        } else {
            simd::run(Slice<T, false>{model_, kinds_, coverage_, domain, mine, worker, first, last});
        }
    }

    void check_positions(const Domain& domain, int thread) {
        const auto [begin, end] = share(domain.n_all, thread);
        for (int64_t k = 3 * begin; k < 3 * end; ++k) {
            if (!std::isfinite(domain.positions[k])) {
                workers_[thread].sums.bad_position = static_cast<int>(k / 3);
                return;
            }
        }
    }

    /// What the other threads found, in one order always.
    void add_up(int64_t n_all, const Targets& targets, int thread) {
        const auto [begin, end] = share((n_all + OwnTargets::block - 1) / OwnTargets::block, thread);
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
