#pragma once
// The JSON document of a model file, before anything in it is believed. The same checks with the same
// messages as ase_mlip/model_file/document_checks.py and ase_mlip/model_file/info.py.

// LAMMPS brings a copy of nlohmann's JSON library along, installed or in its sources; libtorch does not.
#if __has_include(<lammps/json.h>)
#include <lammps/json.h>
#else
#include <json.h>
#endif

#include <optional>
#include <string>

namespace mlip {

using LAMMPS_NS::json;

constexpr const char* kDocument = "extra/ase_mlip.json";
constexpr const char* kDigest = "extra/ase_mlip.sha256";
constexpr size_t kMaxDocument = size_t{1} << 26; // bytes

/// The document, once its bytes have the SHA-256 that the archive holds, it is strict JSON of a schema that
/// is known here, and every value has its type. `digest` is empty where the archive holds none (schema 1).
/// Throws std::runtime_error with what follows the path of the file in its message.
json read_document(const std::string& text, const std::optional<std::string>& digest);

/// Throws std::runtime_error likewise unless every value that is read here is there and has its type.
void check_types(const json& document);

/// Throws std::runtime_error likewise unless the self-test is a small structure of the model's species with
/// all numbers that prove a model, and tolerances that prove something.
void check_self_test(const json& document);

/// The document without `document_sha256` as Python's `json.dumps(sort_keys=True, separators=(",", ":"))`
/// writes it, of which files of schema 1 hold the SHA-256.
std::string canonical(const json& document);

} // namespace mlip
