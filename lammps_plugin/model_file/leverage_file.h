#pragma once
// How far atoms are from a model's training data, as its file says: the same checks as
// ase_mlip/model_file/leverage_file.py, which says what a leverage is.

#include "../both_sides/evaluator.h"
#include "document.h"

#include <string>

namespace mlip {

constexpr const char* kLeverage = "extra/ase_mlip_leverage.bin";

/// The description of a leverage with the bytes of its member, empty where there is none. Throws
/// std::runtime_error with what follows the path of the file in its message.
LeverageTables read_leverage(const json& document, const std::string& bytes);

} // namespace mlip
