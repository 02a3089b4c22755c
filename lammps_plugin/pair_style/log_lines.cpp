#include "log_lines.h"

#include "comm.h"
#include "lammps.h"
#include "pointers.h"
#include "utils.h"

#include <mpi.h>

#include <vector>

using namespace LAMMPS_NS;

namespace mlip {
namespace {

/// On rank 0: "rank 0: cuda:0, rank 1: cuda:1", naming those that are not as the first. Collective.
std::string devices_of_ranks(LAMMPS* lmp, const Description& model) {
    int longest = static_cast<int>(model.device.size());
    MPI_Allreduce(MPI_IN_PLACE, &longest, 1, MPI_INT, MPI_MAX, lmp->world);
    std::string devices = model.device;
    devices.resize(longest, ' ');
    const int ranks = lmp->comm->nprocs;
    std::vector<char> all(static_cast<size_t>(longest) * ranks);
    MPI_Gather(devices.data(), longest, MPI_CHAR, all.data(), longest, MPI_CHAR, 0, lmp->world);
    std::string where;
    for (int rank = 0; lmp->comm->me == 0 && rank < ranks; ++rank) {
        const std::string device =
            utils::trim({all.data() + static_cast<size_t>(longest) * rank, static_cast<size_t>(longest)});
        const bool same = utils::trim(model.device) == device;
        where += rank == 0 || !same ? fmt::format("{}rank {}: {}", rank == 0 ? "" : ", ", rank, device) : "";
    }
    return where;
}

/// ", averaged over ...", or nothing.
std::string averaging_of(const Description& model, const PairSettings& settings) {
    if (settings.random) {
        return fmt::format(", a new random rotation at every step (seed {}), which does not conserve energy",
                           settings.random_seed);
    }
    return model.rotations > 0
               ? fmt::format(", averaged over {} rotations ({})", model.rotations, model.averaging)
               : std::string();
}

} // namespace

void log_model(LAMMPS* lmp, const ModelInUse& in_use, const PairSettings& settings,
               const std::string& why_cpu, const std::string& kernel) {
    const Description& model = in_use.description();
    std::string where = devices_of_ranks(lmp, model);
    if (lmp->comm->me != 0) {
        return;
    }
    const int ranks = lmp->comm->nprocs;
    where += why_cpu.empty() ? "" : fmt::format(" (device auto: {})", why_cpu);
    const double halo = ranks > 1 ? model.interaction_range : 0.0;
    utils::logmesg(
        lmp,
        "pair mlip: {} ({}), {} forces, {}, {}{}, cutoff {:g} Angstrom, {} message-passing layer(s), "
        "halo {:g} Angstrom, {} thread(s) per rank{}{}\n",
        model.name, model.path, settings.direct ? "direct" : "conservative", model.dtype, where,
        ranks > 1 ? fmt::format(" on {} ranks", ranks) : "", model.cutoff, model.layers, halo, model.threads,
        averaging_of(model, settings), kernel);
}

void log_communication_cutoff(LAMMPS* lmp, double cutoff, double skin, const Description& model) {
    if (lmp->comm->me == 0) {
        utils::logmesg(
            lmp, "pair mlip: communication cutoff raised to {:g} (interaction range {:g} + {} x skin {:g})\n",
            cutoff, model.interaction_range, model.hops(), skin);
    }
}

void log_times(LAMMPS* lmp, double seconds_total, double seconds_model, int64_t n_edges) {
    if (lmp->comm->me == 0) {
        utils::logmesg(
            lmp,
            "pair mlip: {:.3f} s in the pair style, of which {:.3f} s in the model, which saw {} edges "
            "at the end (rank 0)\n",
            seconds_total, seconds_model, n_edges);
    }
}

} // namespace mlip
