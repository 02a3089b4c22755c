#include "model_loading.h"

#include "../both_sides/elements.h"
#include "../communication/together.h"
#include "../settings/rotation_file.h"
#include "committee.h"

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "modify.h"
#include "universe.h"

#include <mpi.h>
#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

using namespace LAMMPS_NS;

namespace mlip {

void ModelLoading::load(const std::vector<std::string>& paths, ModelInUse& model) {
    Options options;
    options.dtype = settings_.dtype;
    options.threads = choose_threads(options.local_rank);
    options.self_test = comm->me == 0;
    options.device = settings_.device == "auto" && settings_.kernel == "native" ? "cpu" : settings_.device;
    const bool is_auto = options.device == "auto";
    std::string problem = try_to_load(paths, options, model);
    const bool on_cpu = problem.empty() && model.description().device == "cpu";
    Attempt attempt = Attempt::explicit_device;
    if (is_auto) {
        attempt = !problem.empty() ? Attempt::failed : on_cpu ? Attempt::took_cpu : Attempt::took_gpu;
    }
    const Decision decision = agree(attempt, on_cpu ? "torch sees no GPU" : problem, world);
    why_cpu_ = decision.reason;
    if (is_auto && decision.all_on_cpu && !on_cpu) {
        options.device = "cpu";
        problem = try_to_load(paths, options, model);
    }
    stop_together(lmp, problem);
}

/// What went wrong, or nothing.
std::string ModelLoading::try_to_load(const std::vector<std::string>& paths, Options options,
                                      ModelInUse& model) const {
    model.evaluator.reset();
    try {
        if (!settings_.averaging.empty()) {
            options.averaging = settings_.averaging_file ? read_rotations(settings_.averaging)
                                                         : group_averaging(settings_.averaging);
        }
        std::vector<EvaluatorHandle> members;
        for (const std::string& path : paths) {
            options.path = path;
            members.push_back(create_evaluator(options));
        }
        model.evaluator = as_one(std::move(members));
    } catch (const std::exception& failure) {
        return failure.what();
    }
    return {};
}

/// Threads of this rank: what OMP_NUM_THREADS or `package omp` say, else its share of the cores it may use.
int ModelLoading::choose_threads(int& local_rank) const {
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

void ModelLoading::check(const ModelInUse& model) const {
    check_elements(model);
    const Description& description = model.description();
    if (settings_.direct && !description.direct_forces) {
        error->all(FLERR,
                   "pair_style mlip forces direct: `{}` has no direct forces; use `forces conservative`",
                   description.path);
    }
    if (settings_.out_freq > 0 && description.members == 1) {
        error->all(FLERR,
                   "pair_style mlip: `out_freq` writes how much the models of a committee deviate from "
                   "each other; give several in pair_coeff: * * a.pt b.pt Si");
    }
}

void ModelLoading::check_elements(const ModelInUse& model) const {
    const Description& description = model.description();
    const std::vector<int>& known = description.species;
    bool any = false;
    for (int type = 1; type <= atom->ntypes; ++type) {
        const int number = model.species_of_type[type];
        any = any || number > 0;
        if (number > 0 && std::find(known.begin(), known.end(), number) == known.end()) {
            std::string list;
            for (const int species : known) {
                list += std::string(list.empty() ? "" : ", ") + element_symbol(species);
            }
            error->all(FLERR,
                       "pair_coeff of pair_style mlip: `{}` knows {}, not the element {} of atom type {}",
                       description.path, list, element_symbol(number), type);
        }
    }
    if (!any) {
        error->all(FLERR,
                   "pair_coeff of pair_style mlip: every atom type is NULL; name at least one element");
    }
}

} // namespace mlip
