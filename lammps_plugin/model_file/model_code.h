#pragma once
// What the code inside a model file may call, read from its text before libtorch opens it: opening
// TorchScript runs its code. The same checks as ase_mlip/model_file/code.py, where the reasons stand.

#include <string>

namespace mlip {

/// Empty, or what the member of this name uses and must not.
std::string forbidden_in(const std::string& name, const std::string& content);

} // namespace mlip
