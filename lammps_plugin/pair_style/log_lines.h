#pragma once
// The lines that the pair style writes into LAMMPS' log: each is a function here, which PairMLIP calls.
//
// Warnings and errors stand where their reason is found; what ends a run by `stop_above` in
// deviation_file.cpp.

#include "../model_loading/model_in_use.h"
#include "../settings/pair_settings.h"

#include <cstdint>
#include <string>

namespace mlip {

/// After pair_coeff: the model, its device, cutoff and threads, and what it is averaged over. `why_cpu`:
/// empty, or why `device auto` took no GPU; `kernel`: empty, or that of an s-NNP. Collective.
void log_model(LAMMPS_NS::LAMMPS* lmp, const ModelInUse& model, const PairSettings& settings,
               const std::string& why_cpu, const std::string& kernel);

/// Before a run on several ranks: ghost atoms reach further than LAMMPS would let them, Å.
void log_communication_cutoff(LAMMPS_NS::LAMMPS* lmp, double cutoff, double skin, const Description& model);

/// When the pair style goes: its time and that of the model alone, s, and the edges of the last evaluation.
void log_times(LAMMPS_NS::LAMMPS* lmp, double seconds_total, double seconds_model, int64_t n_edges);

} // namespace mlip
