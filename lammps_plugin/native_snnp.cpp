#include "native_snnp.h"

#include "threads.h"

#include "../csrc/snnp_kernel.h"

#include <stdexcept>
#include <utility>

namespace mlip {
namespace {

using ase_mlip::snnp::BankData;
using ase_mlip::snnp::Centre;
using ase_mlip::snnp::Model;
using ase_mlip::snnp::ModelData;
using ase_mlip::snnp::Workspace;
namespace simd = ase_mlip::simd;

constexpr double kSmallestDistance = 1e-3; // Å, as for the graphs of the torch side

BankData bank_data(const SnnpTables::Bank& bank) {
    return {bank.cases, bank.channels, bank.size, bank.coefficients.data(), bank.grid.data()};
}

ModelData model_data(const SnnpTables& tables) {
    ModelData data;
    data.species = static_cast<int64_t>(tables.network_cases.size());
    data.networks = tables.networks;
    data.features = tables.features;
    data.cutoff = tables.cutoff;
    data.angular_cutoff = tables.angular_cutoff;
    data.scale = tables.scale;
    data.phi = bank_data(tables.phi);
    data.rho = bank_data(tables.rho);
    data.f = bank_data(tables.f);
    data.g = bank_data(tables.g);
    data.embedding = bank_data(tables.embedding);
    data.pair_cases = tables.pair_cases.data();
    data.radial_cases = tables.radial_cases.data();
    data.angle_cases = tables.angle_cases.data();
    data.network_cases = tables.network_cases.data();
    data.skip = tables.skip.data();
    for (const SnnpTables::Layer& layer : tables.layers) {
        data.layers.push_back({layer.weight.data(), layer.bias.data(), layer.enter, layer.leave});
    }
    return data;
}

/// What LAMMPS' types are to the model.
struct Types {
    std::vector<int64_t> type;         // by LAMMPS' type, -1 for atoms that are not ours
    std::vector<double> reference;     // by LAMMPS' type, eV
    std::vector<double> square_cutoff; // [types, types]
    size_t count = 0;

    Types(const SnnpTables& tables, const Description& model, const std::vector<int>& species)
        : count(species.size()) {
        for (const int number : species) {
            type.push_back(number > 0 ? tables.type_of_number[number] : -1);
            reference.push_back(tables.references[number]);
        }
        square_cutoff.assign(count * count, model.cutoff * model.cutoff);
        for (const PairCutoff& pair : model.pair_cutoffs) {
            for (size_t i = 0; i < count * count; ++i) {
                const int a = species[i / count], b = species[i % count];
                if ((a == pair.first && b == pair.second) || (a == pair.second && b == pair.first)) {
                    square_cutoff[i] = pair.cutoff * pair.cutoff;
                }
            }
        }
    }
};

/// What one thread needs, and what it found.
template <typename T> struct Worker {
    std::unique_ptr<Workspace<T>> workspace;
    int64_t room = -1;                                     // neighbours there is room for
    std::vector<T> vectors, gradients;                     // [room, 3]
    std::vector<int64_t> types;                            // [room]
    std::vector<int> places;                               // [room]
    std::vector<double> forces, virials, centroid_virials; // by place, of all threads but the first
    NativeSums sums;
    double smallest = INFINITY; // squared distance
    int bad_position = -1, bad_result = -1;

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
    const Types& kinds;
    const NativeDomain& domain;
    const NativeTargets& to; // of this thread
    Worker<T>& worker;
    int begin, end;

    ASE_MLIP_ALWAYS_INLINE void operator()() const {
        for (int k = begin; k < end; ++k) {
            const int place = domain.centres[k];
            if (kinds.type[domain.types[place]] >= 0) {
                one(place);
            }
        }
    }

    ASE_MLIP_ALWAYS_INLINE void one(int place) const {
        const int64_t count = gather(place);
        std::fill_n(worker.gradients.data(), 3 * count, T(0));
        Centre<T> centre{model, *worker.workspace, kinds.type[domain.types[place]]};
        const T found = centre.template evaluate<Few>({count, worker.vectors.data(), worker.types.data()},
                                                      T(1), worker.gradients.data());
        const double energy = static_cast<double>(found) + kinds.reference[domain.types[place]];
        worker.sums.energy += energy;
        worker.sums.n_edges += count;
        if (to.energies != nullptr) {
            to.energies[place] += to.unit * energy;
        }
        const double total = scatter(place, count);
        if (!std::isfinite(energy + total) && worker.bad_result < 0) {
            worker.bad_result = place;
        }
        if (to.virial || to.virials != nullptr || to.centroid_virials != nullptr) {
            scatter_virials(place, count);
        }
    }

    /// The neighbours within the cutoff; every candidate is written, and the next one over it if it was too
    /// far, so that nothing has to be predicted.
    ASE_MLIP_ALWAYS_INLINE int64_t gather(int place) const {
        const double* x = domain.positions;
        const double* from = x + 3 * static_cast<int64_t>(place);
        const double a = from[0], b = from[1], c = from[2];
        const int* candidates = domain.first[place];
        const double* limits = kinds.square_cutoff.data() + kinds.count * domain.types[place];
        double smallest = worker.smallest;
        int64_t n = 0;
        for (int k = 0; k < domain.counts[place]; ++k) {
            const int other = candidates[k] & domain.mask;
            const double* at = x + 3 * static_cast<int64_t>(other);
            const double dx = at[0] - a, dy = at[1] - b, dz = at[2] - c;
            const double squared = dx * dx + dy * dy + dz * dz;
            const int64_t type = kinds.type[domain.types[other]];
            const bool ours = type >= 0;
            smallest = ours && squared < smallest ? squared : smallest;
            worker.vectors[3 * n] = static_cast<T>(dx);
            worker.vectors[3 * n + 1] = static_cast<T>(dy);
            worker.vectors[3 * n + 2] = static_cast<T>(dz);
            worker.types[n] = type;
            worker.places[n] = other;
            n += static_cast<int64_t>(ours & (squared <= limits[domain.types[other]]));
        }
        worker.smallest = smallest;
        return n;
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

/// A range of n elements for each of `count` threads.
std::pair<int64_t, int64_t> share(int64_t n, int thread, int count) {
    return {n * thread / count, n * (thread + 1) / count};
}

template <typename T> class Native : public NativeSnnp {
  public:
    Native(const SnnpTables& tables, const Description& model, const std::vector<int>& species)
        : model_(ase_mlip::snnp::make_model<T>(model_data(tables))), kinds_(tables, model, species),
          threads_(model.threads), workers_(threads_.count()) {}

    NativeSums evaluate(const NativeDomain& domain, const NativeTargets& targets) override {
        threads_.run([&](int thread) { work(domain, targets, thread); });
        check();
        NativeSums sums;
        for (const Worker<T>& worker : workers_) {
            sums.energy += worker.sums.energy;
            sums.n_edges += worker.sums.n_edges;
            for (int k = 0; k < 9; ++k) {
                sums.virial[k] += worker.sums.virial[k];
            }
        }
        if (workers_.size() > 1) {
            threads_.run([&](int thread) { add_up(domain.n_places, targets, thread); });
        }
        return sums;
    }

    double memory() const override {
        double bytes = 0.0;
        for (const Worker<T>& worker : workers_) {
            bytes +=
                sizeof(double) * static_cast<double>(worker.forces.capacity() + worker.virials.capacity() +
                                                     worker.centroid_virials.capacity());
        }
        return bytes;
    }

  private:
    void work(const NativeDomain& domain, const NativeTargets& targets, int thread) {
        Worker<T>& worker = workers_[thread];
        worker.sums = {};
        worker.smallest = INFINITY;
        worker.bad_position = worker.bad_result = -1;
        check_positions(domain, thread);
        const auto [begin, end] = share(domain.n_centres, thread, threads_.count());
        int64_t most = 0;
        for (int64_t k = begin; k < end; ++k) {
            most = std::max<int64_t>(most, domain.counts[domain.centres[k]]);
        }
        worker.make_room(model_, most);
        NativeTargets mine = targets;
        if (thread > 0) { // the first one's are the caller's
            const auto own = [&](std::vector<double>& values, double*& target, size_t width) {
                values.assign(target == nullptr ? 0 : width * domain.n_places, 0.0);
                target = target == nullptr ? nullptr : values.data();
            };
            own(worker.forces, mine.forces, 3);
            own(worker.virials, mine.virials, 9);
            own(worker.centroid_virials, mine.centroid_virials, 9);
        }
        const int first = static_cast<int>(begin), last = static_cast<int>(end);
        if (model_.few_pieces()) {
            simd::run(Slice<T, true>{model_, kinds_, domain, mine, worker, first, last});
        } else {
            simd::run(Slice<T, false>{model_, kinds_, domain, mine, worker, first, last});
        }
    }

    void check_positions(const NativeDomain& domain, int thread) {
        const auto [begin, end] = share(domain.n_places, thread, threads_.count());
        for (int64_t k = 3 * begin; k < 3 * end; ++k) {
            if (!std::isfinite(domain.positions[k])) {
                workers_[thread].bad_position = static_cast<int>(k / 3);
                return;
            }
        }
    }

    void check() const {
        double smallest = INFINITY;
        for (const Worker<T>& worker : workers_) {
            smallest = std::min(smallest, worker.smallest);
            if (worker.bad_position >= 0) {
                throw std::runtime_error(
                    "positions: expected finite numbers, got others; check the input, or "
                    "reduce the timestep that led here");
            }
        }
        if (smallest < kSmallestDistance * kSmallestDistance) {
            throw std::runtime_error("two atoms are at one place (distance " +
                                     std::to_string(std::sqrt(smallest)) +
                                     " Å); look for overlapping atoms, or `delete_atoms overlap`, or reduce "
                                     "the timestep");
        }
        for (const Worker<T>& worker : workers_) {
            if (worker.bad_result >= 0) {
                throw NotFinite(worker.bad_result);
            }
        }
    }

    /// What the other threads found, in one order always.
    void add_up(int64_t n_places, const NativeTargets& targets, int thread) {
        const auto [begin, end] = share(n_places, thread, threads_.count());
        for (size_t other = 1; other < workers_.size(); ++other) {
            const Worker<T>& worker = workers_[other];
            const auto add = [&, first = begin, last = end](const std::vector<double>& from, double* target,
                                                            int64_t width) {
                for (int64_t k = width * first; target != nullptr && k < width * last; ++k) {
                    target[k] += from[k];
                }
            };
            add(worker.forces, targets.forces, 3);
            add(worker.virials, targets.virials, 9);
            add(worker.centroid_virials, targets.centroid_virials, 9);
        }
    }

    Model<T> model_;
    Types kinds_;
    Threads threads_;
    std::vector<Worker<T>> workers_;
};

} // namespace

std::unique_ptr<NativeSnnp> make_native_snnp(const SnnpTables& tables, const Description& model,
                                             const std::vector<int>& species_of_type) {
    if (model.dtype == "float32") {
        return std::make_unique<Native<float>>(tables, model, species_of_type);
    }
    return std::make_unique<Native<double>>(tables, model, species_of_type);
}

} // namespace mlip
