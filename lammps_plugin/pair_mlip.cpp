// Arguments of `pair_style mlip` and `pair_coeff`, and loading the model.

#include "pair_mlip.h"

#include "elements.h"

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "force.h"
#include "memory.h"
#include "universe.h"
#include "utils.h"

#include <mpi.h>
#include <sched.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

using namespace LAMMPS_NS;

PairMLIP::PairMLIP(LAMMPS* lmp) : Pair(lmp) {
    single_enable = 0;
    restartinfo = 0; // the model is a file: the commands are given again after read_restart
    one_coeff = 1;
    manybody_flag = 1;
    unit_convert_flag = 0;
    no_virial_fdotr_compute = 1;
    ghostneigh = 1;
    centroidstressflag = CENTROID_NOTAVAIL;
    comm_forward = 1;     // an atom's identity
    comm_reverse = 9;     // at most: a virial of a ghost
    comm_reverse_off = 9; // also without newton
}

PairMLIP::~PairMLIP() {
    if (evaluator_ && comm->me == 0 && seconds_total_ > 0.0) {
        utils::logmesg(
            lmp,
            "pair mlip: {:.3f} s in the pair style, of which {:.3f} s in the model, which saw {} edges "
            "at the end (rank 0)\n",
            seconds_total_, seconds_model_, n_edges_);
    }
    if (allocated) {
        memory->destroy(setflag);
        memory->destroy(cutsq);
        memory->destroy(cutghost);
    }
}

namespace {

const char* const kSyntax =
    "pair_style mlip [device auto|cpu|cuda|cuda:N] [dtype float32|float64] [forces conservative|direct] "
    "[symmetrize none|octahedral|icosahedral|random SEED]";

bool is_of_another_program(const std::string& argument) {
    return utils::strmatch(argument, "\\.ini$") || utils::strmatch(argument, "^load_from=");
}

bool is_device(const std::string& name) {
    return name == "auto" || name == "cpu" || name == "cuda" || utils::strmatch(name, "^cuda:\\d+$");
}

} // namespace

void PairMLIP::settings(int narg, char** arg) {
    for (int k = 0; k < narg; ++k) {
        const std::string key = arg[k];
        if (is_of_another_program(key)) {
            error->all(FLERR,
                       "pair_style mlip: `{}` is an argument of the pair style of the MLIP-2/MLIP-3 programs "
                       "(moment tensor potentials), which has the same name; this one is of ase_mlip: {}",
                       key, kSyntax);
        }
        if (k + 1 == narg) {
            error->all(FLERR, "pair_style mlip: keyword `{}` has no value, or is unknown; expected: {}", key,
                       kSyntax);
        }
        const std::string value = arg[++k];
        if (key == "device" && is_device(value)) {
            device_ = value;
        } else if (key == "dtype" && (value == "float32" || value == "float64")) {
            dtype_ = value;
        } else if (key == "forces" && (value == "conservative" || value == "direct")) {
            direct_ = value == "direct";
        } else if (key == "symmetrize" &&
                   (value == "none" || value == "octahedral" || value == "icosahedral")) {
            averaging_ = value;
            random_ = false;
        } else if (key == "symmetrize" && value == "random" && k + 1 < narg) {
            averaging_ = "none";
            random_ = true;
            random_seed_ = utils::bnumeric(FLERR, arg[++k], false, lmp);
        } else {
            error->all(FLERR, "pair_style mlip: unexpected `{} {}`; expected: {}", key, value, kSyntax);
        }
    }
}

void PairMLIP::coeff(int narg, char** arg) {
    const int n_types = atom->ntypes;
    if (narg != 3 + n_types || strcmp(arg[0], "*") != 0 || strcmp(arg[1], "*") != 0) {
        error->all(
            FLERR,
            "pair_coeff of pair_style mlip: expected `* * MODEL` and {} element symbols or NULL, one for "
            "each atom type; got {} arguments",
            n_types, narg);
    }
    species_of_type_.assign(n_types + 1, 0);
    for (int type = 1; type <= n_types; ++type) {
        const std::string symbol = arg[2 + type];
        species_of_type_[type] = symbol == "NULL" ? 0 : mlip::atomic_number(symbol);
        if (species_of_type_[type] < 0) {
            error->all(FLERR, "pair_coeff of pair_style mlip: `{}` for atom type {} is no chemical element",
                       symbol, type);
        }
    }
    load_model(mlip::find_model(arg[2]));
    check_elements();
    allocate_tables();
    map_element2type(narg - 3, arg + 3);
    log_model();
}

void PairMLIP::allocate_tables() {
    if (allocated) {
        return;
    }
    const int n = atom->ntypes + 1;
    memory->create(setflag, n, n, "pair:setflag");
    memory->create(cutsq, n, n, "pair:cutsq");
    memory->create(cutghost, n, n, "pair:cutghost");
    map = new int[n];
    allocated = 1;
}

/// Every rank loads the file; rank 0 alone lets it reproduce its self-test, and all stop if anybody fails.
void PairMLIP::load_model(const std::string& path) {
    mlip::Options options;
    options.path = path;
    options.device = device_;
    options.dtype = dtype_;
    options.threads = choose_threads(options.local_rank);
    options.averaging = averaging_;
    options.self_test = comm->me == 0;
    std::string problem;
    evaluator_.reset();
    try {
        evaluator_ = mlip::create_evaluator(options);
    } catch (const std::exception& failure) {
        problem = failure.what();
    }
    const int mine = problem.empty() ? comm->nprocs : comm->me;
    int first = 0;
    MPI_Allreduce(&mine, &first, 1, MPI_INT, MPI_MIN, world);
    if (first == comm->nprocs) {
        topology_call_ = -1;
        return;
    }
    int length = static_cast<int>(problem.size());
    MPI_Bcast(&length, 1, MPI_INT, first, world);
    problem.resize(length);
    MPI_Bcast(problem.data(), length, MPI_CHAR, first, world);
    evaluator_.reset();
    error->all(FLERR, "pair_style mlip: {}", problem);
}

void PairMLIP::check_elements() {
    const auto& description = evaluator_->description();
    const auto& known = description.species;
    bool any = false;
    for (int type = 1; type <= atom->ntypes; ++type) {
        const int number = species_of_type_[type];
        any = any || number > 0;
        if (number > 0 && std::find(known.begin(), known.end(), number) == known.end()) {
            std::string list;
            for (const int species : known) {
                list += std::string(list.empty() ? "" : ", ") + mlip::element_symbol(species);
            }
            error->all(FLERR,
                       "pair_coeff of pair_style mlip: `{}` knows {}, not the element {} of atom type {}",
                       description.path, list, mlip::element_symbol(number), type);
        }
    }
    if (!any) {
        error->all(FLERR,
                   "pair_coeff of pair_style mlip: every atom type is NULL; name at least one element");
    }
    if (direct_ && !description.direct_forces) {
        error->all(FLERR,
                   "pair_style mlip forces direct: `{}` has no direct forces; use `forces conservative`",
                   description.path);
    }
    hops_ =
        std::max(1, static_cast<int>(std::ceil(description.interaction_range / description.cutoff - 1e-9)));
    respa_enable = description.direct_forces && !direct_ ? 1 : 0;
    centroidstressflag = hops_ == 1 && !direct_ ? CENTROID_AVAIL : CENTROID_NOTAVAIL;
}

/// Threads of this rank: what OMP_NUM_THREADS or `package omp` say, else its share of the cores it may use.
int PairMLIP::choose_threads(int& local_rank) {
    MPI_Comm node;
    MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, comm->me, MPI_INFO_NULL, &node);
    int ranks = 1;
    MPI_Comm_rank(node, &local_rank);
    MPI_Comm_size(node, &ranks);
    MPI_Comm_free(&node);
    if (universe->nworlds > 1) { // the other partitions may share the node; asking them could wait for ever
        local_rank = universe->me;
        ranks = std::max(ranks, universe->nprocs);
    }
    if (std::getenv("OMP_NUM_THREADS") != nullptr || comm->nthreads > 1) {
        return std::max(1, comm->nthreads);
    }
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    const int cores = sched_getaffinity(0, sizeof(allowed), &allowed) == 0 ? CPU_COUNT(&allowed) : 1;
    return std::max(1, cores / ranks);
}

void PairMLIP::log_model() {
    const auto& model = evaluator_->description();
    int longest = static_cast<int>(model.device.size());
    MPI_Allreduce(MPI_IN_PLACE, &longest, 1, MPI_INT, MPI_MAX, world);
    std::string devices = model.device;
    devices.resize(longest, ' ');
    std::vector<char> all(static_cast<size_t>(longest) * comm->nprocs);
    MPI_Gather(devices.data(), longest, MPI_CHAR, all.data(), longest, MPI_CHAR, 0, world);
    if (comm->me != 0) {
        return;
    }
    std::string where;
    for (int rank = 0; rank < comm->nprocs; ++rank) {
        const std::string device =
            utils::trim({all.data() + static_cast<size_t>(longest) * rank, static_cast<size_t>(longest)});
        const bool same = utils::trim(model.device) == device;
        where += rank == 0 || !same ? fmt::format("{}rank {}: {}", rank == 0 ? "" : ", ", rank, device) : "";
    }
    std::string averaged;
    if (random_) {
        averaged = fmt::format(
            ", a new random rotation at every step (seed {}), which does not conserve energy", random_seed_);
    } else if (model.rotations > 0) {
        averaged = fmt::format(", averaged over {} rotations ({})", model.rotations, model.averaging);
    }
    const double halo = comm->nprocs > 1 ? model.interaction_range : 0.0;
    utils::logmesg(lmp,
                   "pair mlip: {} ({}), {} forces, {}, {}{}, cutoff {:g} Å, {} message-passing layer(s), "
                   "halo {:g} Å, {} thread(s) per rank{}\n",
                   model.name, model.path, direct_ ? "direct" : "conservative", model.dtype, where,
                   comm->nprocs > 1 ? fmt::format(" on {} ranks", comm->nprocs) : "", model.cutoff,
                   model.layers, halo, model.threads, averaged);
}

void* PairMLIP::extract(const char* name, int& dim) {
    dim = 0;
    if (strcmp(name, "forces_spread_flag") == 0) { // asked for and set by fix pair
        return &spread_flag_;
    }
    if (strcmp(name, "seconds_model") == 0) {
        return &seconds_model_;
    }
    return strcmp(name, "seconds_total") == 0 ? &seconds_total_ : nullptr;
}

double PairMLIP::memory_usage() {
    const auto& t = candidates_.topology;
    const double edges = 5.0 * static_cast<double>(t.centre.capacity()) * sizeof(int64_t);
    return edges + static_cast<double>(home_.capacity() + owner_.capacity()) * sizeof(double);
}
