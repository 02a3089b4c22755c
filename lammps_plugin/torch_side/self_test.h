#pragma once
// The self-test inside every model file, as ase_mlip/model_file/self_test.py runs it.

#include "scripted_model.h"

namespace mlip {

/// Throws std::runtime_error when the model does not reproduce its own numbers on this machine.
void run_self_test(const ScriptedModel& model, const ModelFile& file, at::Device device,
                   const std::string& dtype);

/// The same structure and numbers for a kernel that works on atoms and ghosts.
GhostedSelfTest with_ghosts(const ModelFile& file, const std::string& dtype);

} // namespace mlip
