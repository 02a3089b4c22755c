// Arguments of `pair_style mlip` and `pair_coeff`, and loading the model.

#include "pair_mlip.h"

#include "agreement.h"
#include "committee.h"
#include "elements.h"
#include "rotation_file.h"

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "force.h"
#include "memory.h"
#include "modify.h"
#include "universe.h"
#include "utils.h"

#include <mpi.h>
#include <sched.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <utility>

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
    nextra = kExtra;      // for compute pair: pair_mlip_spread.cpp
    pvector = new double[kExtra]();
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
    delete[] pvector;
    if (deviations_ != nullptr) {
        std::fclose(deviations_);
    }
}

namespace {

const char* const kSyntax =
    "pair_style mlip [device auto|cpu|cuda|cuda:N] [dtype float32|float64] [forces conservative|direct] "
    "[symmetrize none|octahedral[+inversion]|icosahedral[+inversion]|random SEED|file FILE] "
    "[check_lattice yes|no] [out_freq N] [out_file FILE] [stop_above DEVIATION] "
    "[kernel native|torch]";

bool is_of_another_program(const std::string& argument) {
    return utils::strmatch(argument, "\\.ini$") || utils::strmatch(argument, "^load_from=");
}

bool is_group(const std::string& name) {
    const std::string base = name.substr(0, name.find("+inversion")); // strmatch knows no alternatives
    return name == "none" ||
           ((base == "octahedral" || base == "icosahedral") && (name == base || name == base + "+inversion"));
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
        } else if (key == "kernel" && (value == "native" || value == "torch")) {
            kernel_ = value;
        } else if (key == "forces" && (value == "conservative" || value == "direct")) {
            direct_ = value == "direct";
        } else if (key == "symmetrize" && is_group(value)) {
            choose_averaging(value, false);
        } else if (key == "symmetrize" && value == "file" && k + 1 < narg) {
            choose_averaging(arg[++k], true);
        } else if (key == "symmetrize" && value == "random" && k + 1 < narg) {
            choose_averaging("none", false);
            random_ = true;
            random_seed_ = utils::bnumeric(FLERR, arg[++k], false, lmp);
        } else if (key == "check_lattice" && (value == "yes" || value == "no")) {
            check_lattice_ = value == "yes";
        } else if (key == "out_freq") {
            out_freq_ = utils::bnumeric(FLERR, value, false, lmp);
        } else if (key == "out_file") {
            out_file_ = value;
        } else if (key == "stop_above") {
            stop_above_ = utils::numeric(FLERR, value, false, lmp);
        } else {
            error->all(FLERR, "pair_style mlip: unexpected `{} {}`; expected: {}", key, value, kSyntax);
        }
    }
    respa_enable = force->pair == this ? 1 : 0; // in a hybrid only once a model has direct forces
    if (out_freq_ < 0 || !(stop_above_ >= 0.0)) {
        error->all(FLERR, "pair_style mlip: `out_freq` and `stop_above` must not be negative, got {} and {}",
                   out_freq_, stop_above_);
    }
    if (stop_above_ > 0.0 && out_freq_ == 0) {
        error->all(FLERR, "pair_style mlip: `stop_above` is compared every `out_freq` steps; give both");
    }
}

void PairMLIP::choose_averaging(const std::string& name, bool is_file) {
    averaging_ = name;
    averaging_file_ = is_file;
    random_ = false;
}

void PairMLIP::coeff(int narg, char** arg) {
    const int n_types = atom->ntypes;
    const int n_models = narg - 2 - n_types;
    bool fits = n_models >= 1 && strcmp(arg[0], "*") == 0 && strcmp(arg[1], "*") == 0;
    for (int k = 1; fits && k < n_models; ++k) { // an element too many is no model
        fits = mlip::atomic_number(arg[2 + k]) < 0 && strcmp(arg[2 + k], "NULL") != 0;
    }
    if (!fits) {
        error->all(FLERR,
                   "pair_coeff of pair_style mlip: expected `* * MODEL` (or several models) and {} element "
                   "symbols or NULL, one for each atom type; got {} arguments",
                   n_types, narg);
    }
    allocate_tables();
    for (int type = 0; type <= n_types; ++type) { // what fails below leaves no type with a model
        std::fill_n(setflag[type], n_types + 1, 0);
    }
    warned_masses_ = false;
    species_of_type_.assign(n_types + 1, 0);
    for (int type = 1; type <= n_types; ++type) {
        const std::string symbol = arg[1 + n_models + type];
        species_of_type_[type] = symbol == "NULL" ? 0 : mlip::atomic_number(symbol);
        if (species_of_type_[type] < 0) {
            error->all(FLERR, "pair_coeff of pair_style mlip: `{}` for atom type {} is no chemical element",
                       symbol, type);
        }
    }
    std::vector<std::string> paths;
    for (int k = 0; k < n_models; ++k) {
        paths.push_back(mlip::find_model(arg[2 + k]));
    }
    load_models(paths);
    check_elements();
    choose_kernel();
    watch_extrapolation();
    watch_leverage();
    map_element2type(n_types, arg + 2 + n_models);
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

/// Every rank loads the files; rank 0 alone lets them reproduce their self-tests on a CPU, every rank on its
/// GPU. With `device auto` all take the same kind of device; all stop if anybody fails.
void PairMLIP::load_models(const std::vector<std::string>& paths) {
    mlip::Options options;
    options.dtype = dtype_;
    options.threads = choose_threads(options.local_rank);
    options.self_test = comm->me == 0;
    options.device = device_ == "auto" && kernel_ == "native" ? "cpu" : device_;
    const bool is_auto = options.device == "auto";
    std::string problem = try_to_load(paths, options);
    const bool on_cpu = problem.empty() && evaluator_->description().device == "cpu";
    mlip::Attempt attempt = mlip::Attempt::explicit_device;
    if (is_auto) {
        attempt = !problem.empty() ? mlip::Attempt::failed
                  : on_cpu         ? mlip::Attempt::took_cpu
                                   : mlip::Attempt::took_gpu;
    }
    const mlip::Decision decision = mlip::agree(attempt, on_cpu ? "torch sees no GPU" : problem, world);
    why_cpu_ = decision.reason;
    if (is_auto && decision.all_on_cpu && !on_cpu) {
        options.device = "cpu";
        problem = try_to_load(paths, options);
    }
    stop_together(problem);
    topology_call_ = -1;
}

/// What went wrong, or nothing.
std::string PairMLIP::try_to_load(const std::vector<std::string>& paths, mlip::Options options) {
    evaluator_.reset();
    try {
        if (!averaging_.empty()) {
            options.averaging =
                averaging_file_ ? mlip::read_rotations(averaging_) : mlip::group_averaging(averaging_);
        }
        std::vector<mlip::EvaluatorHandle> members;
        for (const std::string& path : paths) {
            options.path = path;
            members.push_back(mlip::create_evaluator(options));
        }
        evaluator_ = mlip::as_one(std::move(members));
    } catch (const std::exception& failure) {
        return failure.what();
    }
    return {};
}

/// Ends the run on all ranks with the message of the first that has one.
void PairMLIP::stop_together(const std::string& mine) {
    const std::string problem = mlip::first_problem(mine, world);
    if (!problem.empty()) {
        error->all(FLERR, "pair_style mlip: {}", problem);
    }
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
    hops_ = description.hops();
    if (out_freq_ > 0 && description.members == 1) {
        error->all(FLERR,
                   "pair_style mlip: `out_freq` writes how much the models of a committee deviate from "
                   "each other; give several in pair_coeff: * * a.pt b.pt Si");
    }
    // alone, the style itself says why there is no inner level
    respa_enable = (description.direct_forces && !direct_) || force->pair == this ? 1 : 0;
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
    const bool asked = modify->get_fix_by_id("package_omp") != nullptr; // what `package omp` leaves behind
    if (asked || std::getenv("OMP_NUM_THREADS") != nullptr || comm->nthreads > 1) {
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
    where += why_cpu_.empty() ? "" : fmt::format(" (device auto: {})", why_cpu_);
    std::string averaged;
    if (random_) {
        averaged = fmt::format(
            ", a new random rotation at every step (seed {}), which does not conserve energy", random_seed_);
    } else if (model.rotations > 0) {
        averaged = fmt::format(", averaged over {} rotations ({})", model.rotations, model.averaging);
    }
    const double halo = comm->nprocs > 1 ? model.interaction_range : 0.0;
    utils::logmesg(
        lmp,
        "pair mlip: {} ({}), {} forces, {}, {}{}, cutoff {:g} Angstrom, {} message-passing layer(s), "
        "halo {:g} Angstrom, {} thread(s) per rank{}{}\n",
        model.name, model.path, direct_ ? "direct" : "conservative", model.dtype, where,
        comm->nprocs > 1 ? fmt::format(" on {} ranks", comm->nprocs) : "", model.cutoff, model.layers, halo,
        model.threads, averaged, kernel_name());
}

void* PairMLIP::extract(const char* name, int& dim) {
    dim = 0;
    if (strcmp(name, "forces_spread_flag") == 0 || strcmp(name, "forces_deviation_flag") == 0) {
        return &spread_flag_; // asked for and set by fix pair
    }
    if (strcmp(name, "extrapolating_flag") == 0) {
        return &extrapolating_flag_;
    }
    if (strcmp(name, "leverage_flag") == 0) {
        return &leverage_flag_;
    }
    if (strcmp(name, "seconds_model") == 0) {
        return &seconds_model_;
    }
    return strcmp(name, "seconds_total") == 0 ? &seconds_total_ : nullptr;
}

double PairMLIP::memory_usage() {
    const auto& t = candidates_.topology;
    const double edges = 5.0 * static_cast<double>(t.centre.capacity()) * sizeof(int64_t);
    const size_t numbers =
        home_.capacity() + owner_.capacity() + virials_.capacity() + centroid_virials_.capacity();
    return edges + static_cast<double>(numbers) * sizeof(double) + (native_ ? native_->memory() : 0.0);
}
