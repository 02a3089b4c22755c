#include "model_file.h"

#include "../both_sides/elements.h"
#include "../both_sides/sha256.h"
#include "document.h"
#include "leverage_file.h"
#include "model_code.h"

#include <caffe2/serialize/inline_container.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>
#include <sstream>
#include <stdexcept>

namespace mlip {
namespace {

constexpr const char* kRemedy = "load it with its own program and write it with `ase_mlip.export_model`";
const std::set<std::string> kKnownOutputs{"energies", "direct_forces", "direct_stresses", "direct_virials",
                                          "features"};

[[noreturn]] void fail(const std::string& path, const std::string& problem) {
    throw std::runtime_error("`" + path + "`" + problem);
}

// ---- the archive --------------------------------------------------------------------------------------

std::string read_bytes(const std::string& path) {
    std::error_code ignored;
    const auto status = std::filesystem::status(path, ignored);
    if (!std::filesystem::exists(status) || std::filesystem::is_directory(status)) {
        throw std::runtime_error(
            "model `" + path + "` not found: " +
            (std::filesystem::is_directory(status) ? "it is a folder" : "there is no such file") +
            ". Give the path of a model file, or the name of a shipped potential such as `pet-si`");
    }
    std::ifstream stream(path, std::ios::binary);
    std::ostringstream content;
    content << stream.rdbuf();
    if (!stream || (content.fail() && std::filesystem::file_size(path, ignored) > 0)) {
        fail(path, " cannot be read; check its permissions");
    }
    return content.str();
}

/// What a file that is no zip archive seems to be.
std::string explain(const std::string& bytes) {
    if (bytes.empty()) {
        return " is empty; fetch or export it again";
    }
    if (bytes.starts_with("PK")) {
        return " is truncated: it starts as a zip archive but has no end; fetch it again";
    }
    uint64_t header = 0;
    for (size_t k = 0; k < 8 && k < bytes.size(); ++k) {
        header |= static_cast<uint64_t>(static_cast<unsigned char>(bytes[k])) << 8 * k;
    }
    if (bytes.size() > 8 && bytes[8] == '{' && header < uint64_t{1} << 32) {
        return " is a safetensors checkpoint, not a model file; export it with `ase_mlip.export_model` first";
    }
    if (bytes.starts_with("\x80")) {
        return std::string(" is a Python pickle, not TorchScript, and is not opened; ") + kRemedy;
    }
    if (json::accept(bytes)) {
        return " is JSON, not TorchScript; give the model file that was exported";
    }
    return " is not TorchScript (no zip archive); give the model file that was exported";
}

class Archive {
  public:
    Archive(const std::string& bytes, const std::string& path) : path_(path), stream_(bytes) {
        if (bytes.rfind("PK\5\6") == std::string::npos) { // the end of a zip archive's table of contents
            fail(path, explain(bytes));
        }
        try {
            reader_ = std::make_unique<caffe2::serialize::PyTorchStreamReader>(&stream_);
            names_ = reader_->getAllRecords();
        } catch (const std::exception&) {
            fail(path, std::string(" is not TorchScript but a zip archive of something else, or damaged; ") +
                           kRemedy);
        }
        check_kind();
    }

    const std::vector<std::string>& names() const { return names_; }

    bool has(const char* name) const { return std::find(names_.begin(), names_.end(), name) != names_.end(); }

    /// Bytes of a member without its compression.
    size_t size(const std::string& name) { return reader_->getRecordSize(name); }

    std::string read(const std::string& name) {
        try {
            const auto [data, size] = reader_->getRecord(name);
            return {static_cast<const char*>(data.get()), size};
        } catch (const std::exception&) {
            fail_altered(name);
        }
    }

    [[noreturn]] void fail_altered(const std::string& name) const {
        fail(path_, ": the archive member `" + name + "` was altered since the export; fetch the file again");
    }

  private:
    void check_kind() const {
        const bool has_code = std::any_of(names_.begin(), names_.end(),
                                          [](const std::string& name) { return name.starts_with("code/"); });
        if (!has("constants.pkl") || !has_code) {
            const char* kind =
                has("data.pkl") ? "a checkpoint of `torch.save`" : "a zip archive of something else";
            fail(path_, std::string(" is not TorchScript but ") + kind + "; " + kRemedy);
        }
        if (!has(kDocument)) {
            fail(path_, std::string(" is TorchScript, but not a model file of ase_mlip: it has no `") +
                            kDocument + "`; " + kRemedy);
        }
    }

    std::string path_;
    std::istringstream stream_;
    std::unique_ptr<caffe2::serialize::PyTorchStreamReader> reader_;
    std::vector<std::string> names_;
};

/// Exactly the members that the document lists, each with its SHA-256.
void verify_members(Archive& archive, const json& document, const std::string& path) {
    const auto expected = document.at("members").get<std::map<std::string, std::string>>();
    std::set<std::string> found;
    for (const std::string& name : archive.names()) {
        const bool is_known = name == kDocument || name == kDigest || expected.contains(name);
        if (!found.insert(name).second || !is_known) {
            fail(path, ": the archive was altered: `" + name +
                           "` was added or doubled since the export; fetch the file again");
        }
    }
    for (const auto& [name, digest] : expected) {
        if (!found.contains(name)) {
            fail(path, ": the archive was altered: `" + name +
                           "` was removed since the export; fetch the file again");
        }
        const std::string content = archive.read(name);
        if (Sha256::hex(content) != digest) {
            archive.fail_altered(name);
        }
        if (const std::string problem = forbidden_in(name, content); !problem.empty()) {
            fail(path, ": `" + name + "` uses " + problem +
                           "; a model may call operators that compute, and none that read or write files or "
                           "run while the file is opened: remove it from the network, and export again");
        }
    }
}

// ---- the document -------------------------------------------------------------------------------------

json read_document(Archive& archive, const std::string& path) {
    std::optional<std::string> digest;
    if (archive.has(kDigest)) {
        digest = archive.read(kDigest);
    }
    if (archive.size(kDocument) > kMaxDocument) {
        fail(path, std::string(": its document `") + kDocument + "` is larger than " +
                       std::to_string(kMaxDocument >> 20) + " MB; fetch the file again");
    }
    const std::string text = archive.read(kDocument);
    try {
        return mlip::read_document(text, digest);
    } catch (const std::runtime_error& error) {
        fail(path, error.what());
    }
}

void check_self_test(const json& document, const std::string& path) {
    try {
        mlip::check_self_test(document);
    } catch (const std::runtime_error& error) {
        fail(path, error.what());
    }
}

void check_names(const json& document, const std::string& path) {
    for (const auto& input : document.at("inputs").get<std::vector<std::string>>()) {
        if (input == "cell") {
            fail(path, ": it needs the input `cell`: models of the cell itself (long-range sums) are not "
                       "supported");
        }
        fail(path,
             ": unknown input `" + input + "`; known here: none; upgrade ase_mlip or export without it");
    }
    const auto outputs = document.at("outputs").get<std::set<std::string>>();
    for (const std::string& output : outputs) {
        if (!kKnownOutputs.contains(output)) {
            fail(path, ": unknown output `" + output + "`; upgrade ase_mlip or export without it");
        }
    }
    if (!outputs.contains("energies")) {
        fail(path, ": `outputs` must contain `energies`, got " + document.at("outputs").dump());
    }
}

void check_values(const Description& description, const json& document, const std::string& path) {
    // Sorted and different: between 1 and 118 then are all where the first and the last one are.
    const std::vector<int>& species = description.species;
    const bool ascend =
        std::adjacent_find(species.begin(), species.end(), std::greater_equal<>()) == species.end();
    if (species.empty() || !ascend || species.front() < 1 || species.back() > 118) {
        fail(path, ": `species` must be sorted, different atomic numbers between 1 and 118, got " +
                       document.at("species").dump());
    }
    if (!(description.cutoff > 0.0) || !std::isfinite(description.cutoff)) {
        fail(path, ": `cutoff` must be a positive length in Å, got " + document.at("cutoff").dump());
    }
    if (!(description.interaction_range >= description.cutoff) ||
        !std::isfinite(description.interaction_range)) {
        fail(path, ": `interaction_range` must be at least the cutoff " + document.at("cutoff").dump() +
                       " Å, got " + document.at("interaction_range").dump());
    }
    if (description.interaction_range < description.cutoff * description.layers * (1.0 - 1e-9)) {
        fail(path, ": `interaction_range` must be at least the cutoff times `message_passing_layers`, " +
                       document.at("cutoff").dump() + " × " + std::to_string(description.layers) +
                       " Å, got " + document.at("interaction_range").dump());
    }
    if (description.dtype != "float32" && description.dtype != "float64") {
        fail(path, ": `dtype` must be float32 or float64, got `" + description.dtype + "`");
    }
    if (document.at("units") != json{{"length", "Å"}, {"energy", "eV"}}) {
        fail(path, ": `units` must be Å and eV, got " + document.at("units").dump());
    }
}

std::vector<PairCutoff> read_pair_cutoffs(const json& table, double cutoff, const std::string& path) {
    std::vector<PairCutoff> pairs;
    if (table.is_null()) {
        return pairs;
    }
    for (const auto& [key, value] : table.items()) {
        const size_t dash = std::min(key.find('-'), key.size());
        const int first = atomic_number(key.substr(0, dash));
        const int second = dash < key.size() ? atomic_number(key.substr(dash + 1)) : 0;
        const double limit = value.get<double>();
        if (first < 1 || second < 1 || !(limit > 0.0 && limit <= cutoff)) {
            fail(path, ": `pair_cutoffs` must have keys such as `O-Si` and lengths up to the cutoff, got `" +
                           key + "`: " + value.dump());
        }
        pairs.push_back({first, second, limit});
    }
    return pairs;
}

Description read_description(const json& document, const std::string& path) {
    Description description;
    description.path = path;
    description.name = document.at("name").get<std::string>();
    description.citation = document.at("citation").get<std::string>();
    description.species = document.at("species").get<std::vector<int>>();
    description.cutoff = document.at("cutoff").get<double>();
    description.interaction_range = document.at("interaction_range").get<double>();
    description.layers = document.at("message_passing_layers").get<int>();
    description.dtype = document.at("dtype").get<std::string>();
    description.pair_cutoffs = read_pair_cutoffs(document.at("pair_cutoffs"), description.cutoff, path);
    return description;
}

/// Nested lists as one row-major vector with its shape.
void flatten(const json& value, size_t depth, Quantity& into) {
    if (!value.is_array()) {
        into.values.push_back(value.get<double>());
        return;
    }
    if (into.shape.size() == depth) {
        into.shape.push_back(static_cast<int64_t>(value.size()));
    }
    for (const json& part : value) {
        flatten(part, depth + 1, into);
    }
}

Quantity read_quantity(const json& value) {
    Quantity quantity;
    flatten(value, 0, quantity);
    return quantity;
}

SelfTest read_self_test(const json& document) {
    const json& source = document.at("self_test");
    SelfTest test;
    const json& structure = source["structure"];
    test.numbers = structure.at("numbers").get<std::vector<int64_t>>();
    test.positions = read_quantity(structure.at("positions")).values;
    test.cell = read_quantity(structure.at("cell")).values;
    for (const auto& [name, value] : source["reference"].items()) {
        test.reference[name] = read_quantity(value);
    }
    source["tolerances"].get_to(test.tolerances);
    return test;
}

LeverageTables read_leverage(const json& document, Archive& archive, const std::string& path) {
    try {
        return mlip::read_leverage(document, archive.has(kLeverage) ? archive.read(kLeverage) : "");
    } catch (const json::exception&) {
        throw;
    } catch (const std::exception& error) {
        fail(path, error.what());
    }
}

} // namespace

bool ModelFile::has_output(const std::string& name) const {
    return std::find(outputs.begin(), outputs.end(), name) != outputs.end();
}

ModelFile read_model_file(const std::string& path) {
    ModelFile file;
    file.bytes = read_bytes(path);
    Archive archive(file.bytes, path);
    const json document = read_document(archive, path);
    try {
        verify_members(archive, document, path);
        check_names(document, path);
        file.description = read_description(document, path);
        check_values(file.description, document, path);
        check_self_test(document, path);
        document.at("outputs").get_to(file.outputs);
        document.at("operators").get_to(file.operators);
        const json& averaging = document.at("symmetrization");
        file.keeps_lattice = averaging.is_object() && averaging.value("lattice", false);
        file.torch_version = document.at("versions").value("torch", "?");
        file.self_test = read_self_test(document);
        const json& training = document.at("training");
        if (training.is_object() && training.contains("visits")) {
            training["visits"].get_to(file.visits);
        }
        if (training.is_object() && training.contains("leverage") && !training["leverage"].is_null()) {
            file.leverage = read_leverage(document, archive, path);
        }
    } catch (const json::exception& error) {
        fail(path, std::string(": a field of its document is missing or of the wrong type (") + error.what() +
                       "); export it again");
    }
    file.description.direct_forces = file.has_output("direct_forces");
    file.description.direct_virials = file.has_output("direct_virials");
    file.description.direct_stresses = file.has_output("direct_stresses");
    return file;
}

} // namespace mlip
