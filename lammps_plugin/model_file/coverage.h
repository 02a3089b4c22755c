#pragma once
// Where the training data of an s-NNP are, from the counts in its model file. The same as
// ase_mlip.calculators.diagnostics.visited.Coverage.

#include "../both_sides/evaluator.h"

#include <map>

namespace mlip {

/// Neighbours ("radial", "angular") and angles ("angle") in every knot interval, by elements such as "Si-O"
/// or "Si: Si-O".
using Visits = std::map<std::string, std::map<std::string, std::vector<int64_t>>>;

/// Without visits nothing is known (`species` 0).
ase_mlip::snnp::Coverage coverage_of(const Visits& visits, const SnnpTables& tables);

} // namespace mlip
