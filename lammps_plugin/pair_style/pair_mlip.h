#pragma once
// pair_style mlip: an exported model as a LAMMPS potential. docs/lammps.md is its manual page.
//
// This class is what LAMMPS sees: commands, the order of a step, communication. What is done in a step is
// each an object of its own, and these know nothing of each other.

#include "../communication/ghost_sums.h"
#include "../domain/excluded_atoms.h"
#include "../extrapolation/extrapolation_watch.h"
#include "../leverage/leverage_watch.h"
#include "../model_loading/model_in_use.h"
#include "../model_loading/model_loading.h"
#include "../native_snnp/native_evaluation.h"
#include "../network/direct_forces.h"
#include "../network/network_evaluation.h"
#include "../network/respa_levels.h"
#include "../settings/pair_settings.h"
#include "../spread/spread.h"
#include "system_checks.h"

#include "pair.h"

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
    void allocate_tables();
    void read_elements(char** symbols);
    void use_model();
    void require_model() const;
    void raise_communication_cutoff();

    mlip::Tally tally();
    mlip::NativeDomain domain_now();
    void update_topology();
    const mlip::Results& evaluate(const mlip::Request& request);
    void compute_network();
    void compute_native();
    void add_direct_forces(double sign);
    const mlip::Results& add_network(bool direct);

    mlip::PairSettings settings_;
    mlip::ModelInUse model_;
    mlip::ModelLoading loading_;
    mlip::SystemChecks checks_;
    mlip::ExcludedAtoms excluded_;
    mlip::GhostSums ghosts_;
    mlip::NetworkEvaluation network_;
    mlip::NativeEvaluation native_;
    mlip::DirectForces direct_forces_;
    mlip::RespaLevels respa_;
    mlip::Spread spread_;
    mlip::ExtrapolationWatch extrapolation_;
    mlip::LeverageWatch leverage_;
    double seconds_model_ = 0.0, seconds_total_ = 0.0;
    int64_t n_edges_ = 0; // of the last evaluation
};

} // namespace LAMMPS_NS
