#include "pair_mlip.h"

#include "../both_sides/elements.h"
#include "log_lines.h"

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "force.h"
#include "memory.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "utils.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <tuple>

using namespace LAMMPS_NS;

namespace {

constexpr int kExtra = static_cast<int>(std::tuple_size_v<mlip::Spread::Numbers>);

/// Adds the time that it lives, s.
class Stopwatch {
  public:
    explicit Stopwatch(double& total) : total_(total) {}
    Stopwatch(const Stopwatch&) = delete;
    Stopwatch& operator=(const Stopwatch&) = delete;
    ~Stopwatch() { total_ += std::chrono::duration<double>(Clock::now() - start_).count(); }

  private:
    using Clock = std::chrono::steady_clock;
    double& total_;
    const Clock::time_point start_ = Clock::now();
};

} // namespace

PairMLIP::PairMLIP(LAMMPS* lmp)
    : Pair(lmp), loading_(lmp, settings_), checks_(lmp, model_, settings_), excluded_(lmp),
      ghosts_(lmp, *this), network_(lmp, *this, model_, settings_, ghosts_), native_(lmp, model_, ghosts_),
      direct_forces_(lmp), respa_(lmp), spread_(lmp, model_, settings_, ghosts_), extrapolation_(lmp, model_),
      leverage_(lmp, model_) {
    single_enable = 0;
    restartinfo = 0; // the model is a file: the commands are given again after read_restart
    one_coeff = 1;
    manybody_flag = 1;
    unit_convert_flag = 0;
    no_virial_fdotr_compute = 1;
    ghostneigh = 1;
    centroidstressflag = CENTROID_NOTAVAIL;
    comm_forward = 1;     // an atom's identity
    comm_reverse = 9;     // at most: a virial of a ghost atom
    comm_reverse_off = 9; // also without newton
    nextra = kExtra;      // for compute pair
    pvector = new double[kExtra]();
}

PairMLIP::~PairMLIP() {
    if (model_.evaluator && seconds_total_ > 0.0) {
        mlip::log_times(lmp, seconds_total_, seconds_model_, n_edges_);
    }
    if (allocated) {
        memory->destroy(setflag);
        memory->destroy(cutsq);
        memory->destroy(cutghost);
    }
    delete[] pvector;
}

// ---- commands ------------------------------------------------------------------------------------------

void PairMLIP::settings(int narg, char** arg) {
    settings_.read(lmp, narg, arg);
    respa_enable = force->pair == this ? 1 : 0; // in a hybrid only once a model has direct forces
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
    read_elements(arg + 2 + n_models);
    std::vector<std::string> paths;
    for (int k = 0; k < n_models; ++k) {
        paths.push_back(mlip::find_model(arg[2 + k]));
    }
    loading_.load(paths, model_);
    loading_.check(model_);
    use_model();
    map_element2type(n_types, arg + 2 + n_models);
    mlip::log_model(lmp, model_, settings_, loading_.why_cpu(), native_.kernel_name());
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

void PairMLIP::read_elements(char** symbols) {
    model_.species_of_type.assign(atom->ntypes + 1, 0);
    for (int type = 1; type <= atom->ntypes; ++type) {
        const std::string symbol = symbols[type - 1];
        int& number = model_.species_of_type[type];
        number = symbol == "NULL" ? 0 : mlip::atomic_number(symbol);
        if (number < 0) {
            error->all(FLERR, "pair_coeff of pair_style mlip: `{}` for atom type {} is no chemical element",
                       symbol, type);
        }
    }
}

/// Everything that depends on the model learns that it is a new one.
void PairMLIP::use_model() {
    const mlip::Description& model = model_.description();
    // alone, the style itself says why there is no inner level
    respa_enable = (model.direct_forces && !settings_.direct) || force->pair == this ? 1 : 0;
    centroidstressflag = model.hops() == 1 && !settings_.direct ? CENTROID_AVAIL : CENTROID_NOTAVAIL;
    checks_.begin();
    network_.forget_topology();
    native_.choose(settings_);
    extrapolation_.begin();
    leverage_.begin();
}

void PairMLIP::require_model() const {
    if (!model_.evaluator) {
        error->all(FLERR, "pair_style mlip needs a pair_coeff command: pair_coeff * * model.pt Si O");
    }
}

void PairMLIP::init_style() {
    require_model();
    model_.energy_unit = checks_.energy_unit();
    checks_.check();
    spread_.init();
    // at most a virial of a ghost atom, or its forces of all samples; the same without newton
    const mlip::Description& model = model_.description();
    comm_reverse = comm_reverse_off = std::max({9, 3 * model.rotations, 3 * model.members});
    raise_communication_cutoff();
    const bool needs_ghost_centres = comm->nprocs > 1 && model.hops() > 1;
    neighbor->add_request(this, needs_ghost_centres ? NeighConst::REQ_FULL | NeighConst::REQ_GHOST
                                                    : NeighConst::REQ_FULL);
    network_.forget_topology();
}

/// The distance that LAMMPS' lists reach for these types, Å: one for all, a pair's own cutoff is the model's
/// business.
double PairMLIP::init_one(int i, int j) {
    if (setflag[i][j] == 0) {
        error->all(FLERR, "pair_style mlip: no pair_coeff for the types {} and {}", i, j);
    }
    cutghost[i][j] = cutghost[j][i] = model_.description().cutoff;
    return cutghost[i][j];
}

/// Pairs reach `hops` times cutoff + skin: so far the surroundings of every ghost atom have to be complete.
void PairMLIP::raise_communication_cutoff() {
    if (comm->nprocs == 1) {
        return; // every ghost atom is folded onto its owner: the neighbour list's own cutoff is enough
    }
    const mlip::Description& model = model_.description();
    const double needed = model.interaction_range + model.hops() * neighbor->skin;
    if (comm->mode != 0) {
        error->all(FLERR,
                   "pair_style mlip: expected `comm_modify mode single`, because the interaction range is "
                   "the same for all atom types");
    }
    if (comm->cutghostuser < needed) {
        mlip::log_communication_cutoff(lmp, needed, neighbor->skin, model);
        comm->cutghostuser = needed;
    }
}

// ---- a step --------------------------------------------------------------------------------------------

void PairMLIP::compute(int eflag, int vflag) {
    const Stopwatch total(seconds_total_);
    ev_init(eflag, vflag);
    excluded_.update();
    if (native_.is_chosen()) {
        compute_native();
    } else {
        compute_network();
    }
}

void PairMLIP::compute_native() {
    const mlip::NativeDomain domain = domain_now();
    const mlip::Tally to = tally();
    const mlip::NativeSums sums =
        native_.evaluate(domain, to, {extrapolation_.counts_of(domain), leverage_.visitor(domain)});
    seconds_model_ += native_.seconds();
    n_edges_ = sums.n_edges;
    leverage_.finish();
    native_.add_to(to, sums);
    extrapolation_.tally(sums.shortest);
    if (spread_.is_wanted(eflag_global != 0)) {
        spread_.find_none(pvector);
    }
}

void PairMLIP::compute_network() {
    update_topology();
    const mlip::Results& results = add_network(settings_.direct);
    const mlip::NativeDomain domain = domain_now();
    leverage_.tally(network_.nodes(), results, domain);
    extrapolation_.count(domain);
}

void PairMLIP::compute_inner() {
    const Stopwatch total(seconds_total_);
    if (settings_.direct || !model_.description().direct_forces) {
        error->all(
            FLERR,
            "pair_style mlip with `run_style respa ... inner`: the innermost level takes direct forces, "
            "and {}; expected {}, or use `run_style verlet`",
            settings_.direct ? "`forces direct` leaves none for the outermost to add"
                             : fmt::format("`{}` has none", model_.description().path),
            settings_.direct ? "`forces conservative`" : "a model with a head for forces");
    }
    excluded_.update();
    update_topology();
    add_direct_forces(1.0);
    respa_.remember_inner();
}

/// What the inner level has added, the direct forces, is taken away again, and what belongs to the energy is
/// added: so energy and virial are those of plain Verlet at the same positions.
void PairMLIP::compute_outer(int eflag, int vflag) {
    const Stopwatch total(seconds_total_);
    ev_init(eflag, vflag);
    excluded_.update();
    update_topology();
    if (respa_.inner_is_current()) {
        direct_forces_.add(network_.nodes(), -model_.energy_unit);
    } else {
        add_direct_forces(-1.0);
    }
    const mlip::Results& results = add_network(false);
    leverage_.tally(network_.nodes(), results, domain_now());
}

/// Direct forces alone, without what fix pair wants of the whole step.
void PairMLIP::add_direct_forces(double sign) {
    mlip::Request request;
    request.direct = true;
    direct_forces_.take(network_.nodes(), evaluate(request).forces);
    direct_forces_.add(network_.nodes(), sign * model_.energy_unit);
}

/// Forces, energies and virials of the network, and how much its samples scatter.
const mlip::Results& PairMLIP::add_network(bool direct) {
    mlip::Request request;
    request.direct = direct;
    request.virials = vflag_atom != 0;
    request.centroid_virials = cvflag_atom != 0;
    request.leverage = leverage_.is_wanted();
    request.spread = spread_.is_wanted(eflag_global != 0);
    const mlip::Results& results = evaluate(request);
    if (direct) {
        direct_forces_.take(network_.nodes(), results.forces);
        direct_forces_.add(network_.nodes(), model_.energy_unit);
    } else {
        network_.add_forces(results);
    }
    network_.add_to(tally(), results, direct);
    if (request.spread) {
        spread_.find(network_.nodes(), results, direct, pvector);
    }
    return results;
}

const mlip::Results& PairMLIP::evaluate(const mlip::Request& request) {
    const mlip::Results& results = network_.evaluate(request);
    seconds_model_ += results.seconds_model;
    n_edges_ = results.n_edges;
    return results;
}

void PairMLIP::update_topology() {
    if (network_.update_topology(*list, excluded_.visible_types())) {
        respa_.forget_inner(); // direct forces of another graph
    }
}

/// Where this step adds energy and virials, after ev_init.
mlip::Tally PairMLIP::tally() {
    mlip::Tally to;
    to.energy = eflag_global ? &eng_vdwl : nullptr;
    to.energies = eflag_atom ? eatom : nullptr;
    to.virial = vflag_global ? virial : nullptr;
    to.virials = vflag_atom ? vatom : nullptr;
    to.centroid_virials = cvflag_atom ? cvatom : nullptr;
    return to;
}

/// LAMMPS' own arrays.
mlip::NativeDomain PairMLIP::domain_now() {
    mlip::NativeDomain domain;
    domain.n_centres = list->inum;
    domain.n_all = atom->nlocal + atom->nghost;
    domain.centres = list->ilist;
    domain.counts = list->numneigh;
    domain.first = list->firstneigh;
    domain.mask = NEIGHMASK;
    domain.kinds = excluded_.visible_types();
    domain.positions = domain.n_all > 0 ? atom->x[0] : nullptr;
    return domain;
}

// ---- communication -------------------------------------------------------------------------------------

int PairMLIP::pack_forward_comm(int n, int* list, double* buf, int, int*) {
    return network_.pack_owners(n, list, buf);
}
void PairMLIP::unpack_forward_comm(int n, int first, double* buf) { network_.unpack_owners(n, first, buf); }

int PairMLIP::pack_reverse_comm(int n, int first, double* buf) { return ghosts_.pack(n, first, buf); }
void PairMLIP::unpack_reverse_comm(int n, int* list, double* buf) { ghosts_.unpack(n, list, buf); }

// ---- what other commands ask for -----------------------------------------------------------------------

void* PairMLIP::extract(const char* name, int& dim) {
    dim = 0;
    if (strcmp(name, "forces_spread_flag") == 0 || strcmp(name, "forces_deviation_flag") == 0) {
        return spread_.of_forces().flag(); // asked for and set by fix pair
    }
    if (strcmp(name, "extrapolating_flag") == 0) {
        return extrapolation_.flag();
    }
    if (strcmp(name, "leverage_flag") == 0) {
        return leverage_.flag();
    }
    if (strcmp(name, "seconds_model") == 0) {
        return &seconds_model_;
    }
    return strcmp(name, "seconds_total") == 0 ? &seconds_total_ : nullptr;
}

/// fix pair asks for the array before the first step.
void* PairMLIP::extract_peratom(const char* name, int& columns) {
    columns = 0;
    if (strcmp(name, "extrapolating") == 0) {
        require_model();
        return extrapolation_.array();
    }
    if (strcmp(name, "leverage") == 0) {
        require_model();
        return leverage_.array();
    }
    const bool is_spread = strcmp(name, "forces_spread") == 0 || strcmp(name, "forces_deviation") == 0;
    return is_spread ? spread_.of_forces().array(*atom) : nullptr;
}

double PairMLIP::memory_usage() { return network_.memory() + native_.memory() + ghosts_.memory(); }
