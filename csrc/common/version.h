#pragma once

namespace ase_mlip {

/// Version of the operators' schemas and meaning. A model file names the version it was written for;
/// raise it when operators are added, so that an older installation can say that it is too old for a file, or
/// when an existing file would compute something else. Files of all earlier versions stay loadable.
///   1  derivatives, reverse edges
///   2  attention_block, feedforward_block
///   3  snnp, snnp_features, snnp_features_backward, snnp_features_parameters
///   4  snnp on GPUs
constexpr int kSchemaVersion = 4;

} // namespace ase_mlip
