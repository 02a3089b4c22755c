#pragma once

namespace ase_mlip {

/// Version of the operators' schemas and meaning. A model file names the version it was written for;
/// raise it only when an existing file would compute something else.
constexpr int kSchemaVersion = 1;

} // namespace ase_mlip
