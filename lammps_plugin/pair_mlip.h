#pragma once
// pair_style mlip: an exported model as a LAMMPS potential. docs/lammps.md is its manual page.

#include "pair.h"

#include "extrapolation.h"
#include "native_snnp.h"
#include "rotations.h"
#include "snnp_leverage.h"
#include "topology.h"
#include "torch_library.h"

#include <cstdio>
#include <string>
#include <vector>

namespace LAMMPS_NS {

class PairMLIP : public Pair {
  public:
    explicit PairMLIP(class LAMMPS* lmp);
    ~PairMLIP() override;

    void settings(int narg, char** arg) override;
    void coeff(int narg, char** arg) override;
    void init_style() override;
    double init_one(int i, int j) override;

    void compute(int eflag, int vflag) override;
    void compute_inner() override;                     // respa: direct forces
    void compute_outer(int eflag, int vflag) override; // respa: what the derivatives add to them

    int pack_forward_comm(int n, int* list, double* buf, int pbc_flag, int* pbc) override;
    void unpack_forward_comm(int n, int first, double* buf) override;
    int pack_reverse_comm(int n, int first, double* buf) override;
    void unpack_reverse_comm(int n, int* list, double* buf) override;

    void* extract(const char* name, int& dim) override;
    void* extract_peratom(const char* name, int& columns) override;
    double memory_usage() override;

  private:
    static constexpr int kExtra = 10; // values for compute pair
    // pair_mlip.cpp: settings
    void load_models(const std::vector<std::string>& paths);
    std::string try_to_load(const std::vector<std::string>& paths, mlip::Options options);
    void stop_together(const std::string& mine);
    template <typename Work> void together(const Work& work);
    void check_elements();
    void choose_averaging(const std::string& name, bool is_file);
    void allocate_tables();
    int choose_threads(int& local_rank);
    void log_model();

    // pair_mlip_native.cpp: an s-NNP without libtorch
    std::string why_torch() const;
    void choose_kernel();
    std::string kernel_name() const;
    void compute_native();
    mlip::NativeDomain native_domain();
    mlip::NativeSums evaluate_native(const mlip::NativeDomain& domain, const mlip::NativeTargets& targets);
    void collect(int width);
    void tally_native(std::vector<double>& tensors, double** target, bool nine);

    // pair_mlip_extrapolation.cpp: where the model has no training data
    void watch_extrapolation();
    bool wants_extrapolating() const;
    void count_extrapolating();
    void tally_extrapolating(double shortest);
    void* extrapolating_array();

    // pair_mlip_leverage.cpp: how far atoms are from the training data
    void watch_leverage();
    void* leverage_array();
    void tally_leverage(const mlip::Results& results);
    mlip::SnnpLeverage* begin_leverage(const mlip::NativeDomain& domain);

    // pair_mlip_masses.cpp: whether the types are the elements that their masses say
    void check_masses();
    std::vector<double> masses_of_types() const;

    // pair_mlip_exclusion.cpp: atoms that LAMMPS has taken out of all interactions
    void update_excluded();
    void find_excluded_types();
    bool is_excluded(int place) const;
    const int* visible_types();

    // pair_mlip_init.cpp: what a run needs
    void check_system();
    void check_special_bonds();
    void check_virial_consumers();
    void check_random();
    void check_lattice();
    void refuse_without_virial(const char* kind, const std::string& style,
                               const std::vector<std::string>& patterns);
    void raise_communication_cutoff();

    // pair_mlip_compute.cpp: a step
    bool topology_is_old() const;
    void update_topology();
    void gather_places(mlip::Places& places);
    const mlip::Results& evaluate(bool direct, bool virials, bool centroid_virials);
    void add_forces(const mlip::Results& results, bool direct, double sign);
    void add_direct_forces(const mlip::Results& results, double sign);
    void apply_direct_forces(double sign);
    const double* positions_begin() const;
    bool inner_forces_are_current() const;
    void tally(const mlip::Results& results, bool direct);
    void tally_virial(const mlip::Results& results, bool direct);
    void tally_atom_virials(const double* virials, double** target, bool nine);
    void send_home(const double* values, int width);

    // pair_mlip_spread.cpp: how much rotations, or the members of a committee, differ
    bool wants_spread() const;
    void find_spread(const mlip::Results& results, bool direct);
    void find_forces_spread(const mlip::Results& results, bool direct);
    std::vector<double> find_virial_spread(const mlip::Results& results, bool direct, double n_atoms);
    double find_energy_spread(const mlip::Results& results);
    void remove_net_forces(std::vector<double>& forces, int width);
    void open_deviations();
    void write_deviation(const std::vector<double>& virial, const double* extremes, double n_atoms);

    // pair_mlip_compute.cpp
    void choose_rotation();
    void check_finite(const mlip::Results& results, bool direct);
    std::string name_of(int place) const;
    static std::string not_finite(const std::string& what);

    std::string device_ = "auto", dtype_;
    std::string why_cpu_;  // with `device auto`
    std::string kernel_;   // native, torch; empty: native where it can be
    std::string fallback_; // why it cannot
    bool direct_ = false;
    bool check_lattice_ = true;
    std::string averaging_; // none, a group's name or a file's; empty: as exported
    bool averaging_file_ = false;
    bool random_ = false;      // a new rotation at every step
    uint64_t random_seed_ = 0; // of these
    mlip::EvaluatorHandle evaluator_;
    std::unique_ptr<mlip::NativeSnnp> native_; // evaluates instead, if there is one
    std::vector<int> species_of_type_;         // atomic number by LAMMPS type, 0 for NULL
    double energy_unit_ = 1.0;                 // LAMMPS' unit of energy in eV
    int hops_ = 1;

    mlip::Candidates candidates_;
    mlip::Topology const& topology() const { return candidates_.topology; }
    std::vector<int64_t> owner_; // [n_places] rank and index of every atom and ghost
    std::vector<int> types_;     // [n_places] as they were when the topology was made
    bigint topology_call_ = -1;  // neighbor->ncalls of the topology
    int topology_owned_ = -1;

    std::vector<unsigned char> excluded_;       // [n_places] of the list in use; empty if there are none
    std::vector<unsigned char> excluded_types_; // [ntypes + 1]
    std::vector<int> visible_types_;            // [n_places]
    bigint excluded_call_ = -1;                 // neighbor->ncalls of these

    std::vector<double> direct_forces_;   // [n_owned, 3] without their net force, eV/Å
    std::vector<double> inner_positions_; // [nlocal, 3] at which respa's inner level had them
    std::vector<double> home_;            // [n_places, width] on its way to the owners
    int home_width_ = 0;
    std::vector<double> virials_, centroid_virials_; // [n_places, 9] of the native kernel
    mlip::Matrix rotation_;                          // into the frame that the model sees
    bool is_rotated_ = false;
    std::vector<double> spread_; // [nlocal] of the forces over the rotations, on request of fix pair
    int spread_flag_ = 0;        // set by fix pair for the steps that want it
    std::vector<mlip::Extrapolation> watched_; // of each model that knows its training data
    std::vector<int64_t> counts_;       // [n_places] neighbours and angles where there are no training data
    std::vector<double> extrapolating_; // [nlocal] the same, on request of fix pair
    int extrapolating_flag_ = 0;        // set by fix pair for the steps that want it
    bool warned_extrapolating_ = false;
    std::vector<double> leverage_;                                    // [nlocal], on request of fix pair
    std::vector<std::unique_ptr<mlip::SnnpLeverage>> snnp_leverages_; // of each s-NNP that has one
    int leverage_flag_ = 0; // set by fix pair for the steps that want it
    bool has_compute_pair_ = false;
    bigint out_freq_ = 0; // steps between lines of the file of deviations; 0 for none
    std::string out_file_ = "model_devi.out";
    double stop_above_ =
        0.0; // largest deviation of a force, in LAMMPS' unit, at which a run ends; 0 for none
    FILE* deviations_ = nullptr;
    bool writes_deviations_ = false; // on all ranks, once rank 0 has opened the file
    double seconds_model_ = 0.0, seconds_total_ = 0.0;
    int64_t n_edges_ = 0; // of the last evaluation
    bool warned_no_virial_ = false;
    bool warned_masses_ = false;
};

/// What this rank does by itself, without messages to others. If it fails on any rank, all stop with the
/// message of the first: one that stopped alone would leave the others waiting for its next message, for ever
/// in a program that calls LAMMPS as a library.
template <typename Work> void PairMLIP::together(const Work& work) {
    std::string problem;
    try {
        work();
    } catch (const std::exception& failure) {
        problem = failure.what();
        problem = problem.empty() ? "an error without a message" : problem;
    }
    stop_together(problem);
}

} // namespace LAMMPS_NS
