#pragma once
// A model file: reading it, verifying it, and what its JSON document says. The same checks in the same order,
// with the same messages, as ase_mlip/model_file/archive.py and ase_mlip/model_file/info.py.

#include "coverage.h"

#include <map>
#include <optional>

namespace mlip {

struct Quantity {
    std::vector<int64_t> shape;
    std::vector<double> values;
};

/// A small periodic structure, the numbers it must give, and how closely.
struct SelfTest {
    std::vector<int64_t> numbers;  // [n]
    std::vector<double> positions; // [n, 3], Å
    std::vector<double> cell;      // [3, 3], rows are vectors, Å
    std::map<std::string, Quantity> reference;
    /// dtype, kind of device, name of the quantity
    std::map<std::string, std::map<std::string, std::map<std::string, double>>> tolerances;
};

struct ModelFile {
    std::string bytes;       // the archive
    Description description; // without device and threads; `dtype` is that of the weights
    std::vector<std::string> outputs;
    std::map<std::string, int64_t> operators; // versions by namespace
    std::string torch_version;                // that wrote the file
    bool keeps_lattice = false;               // exported with a crystal's group, for boxes that it keeps
    SelfTest self_test;
    std::optional<LeverageTables> leverage; // where the file has one
    Visits visits;                          // of the training data of an s-NNP, where the file has them

    bool has_output(const std::string& name) const;
};

/// Throws std::runtime_error, one line, for whatever is not an intact model file that this program knows.
ModelFile read_model_file(const std::string& path);

} // namespace mlip
