#pragma once
// Opens the torch side, which lies beside this library, when the first model is asked for.

#include "../both_sides/evaluator.h"

#include <memory>
#include <string>

namespace mlip {

/// Deletes an evaluator in the library that made it.
struct EvaluatorDeleter {
    DeleteEvaluator remove = nullptr;
    void operator()(Evaluator* evaluator) const { remove(evaluator); }
};
using EvaluatorHandle = std::unique_ptr<Evaluator, EvaluatorDeleter>;

/// Load a model. Throws std::runtime_error with a message for people.
EvaluatorHandle create_evaluator(const Options& options);

/// The path itself if it is a file or has a folder in it, else that of the shipped potential of this name.
std::string find_model(const std::string& path_or_name);

} // namespace mlip
