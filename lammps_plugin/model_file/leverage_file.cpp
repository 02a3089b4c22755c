#include "leverage_file.h"

#include "../both_sides/elements.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <set>
#include <stdexcept>

namespace mlip {
namespace {

constexpr const char* kAttach = "attach one with `ase-mlip design --attach MODEL DATA -o NEW`";
constexpr int64_t kVersion = 1, kMostColumns = 65535;

[[noreturn]] void fail(const char* name, const std::string& expected, const json& value) {
    throw std::runtime_error(std::string(": `training.leverage") + name + "` must be " + expected + ", got " +
                             value.dump(-1, ' ', true).substr(0, 60));
}

json value_of(const json& record, const char* name) { return record.value(name, json(nullptr)); }

bool is_positive(const json& value) {
    return value.is_number() && value.get<double>() > 0.0 && std::isfinite(value.get<double>());
}

/// Block of each atomic number, -1 for those in none.
std::vector<int64_t> read_blocks(const json& blocks, const std::set<int64_t>& species) {
    std::vector<int64_t> block_of(kMaxAtomicNumber + 1, -1);
    bool right = blocks.is_array() && !blocks.empty();
    for (size_t block = 0; right && block < blocks.size(); ++block) {
        right = blocks[block].is_array() && !blocks[block].empty();
        for (size_t k = 0; right && k < blocks[block].size(); ++k) {
            const json& number = blocks[block][k];
            right = number.is_number_integer() && species.contains(number.get<int64_t>()) &&
                    block_of[number.get<int64_t>()] < 0;
            if (right) {
                block_of[number.get<int64_t>()] = static_cast<int64_t>(block);
            }
        }
    }
    if (!right) {
        fail(".blocks", "lists of the model's species, each once", blocks);
    }
    return block_of;
}

/// Little-endian float64, whatever this machine has.
std::vector<double> read_numbers(const std::string& bytes) {
    std::vector<double> numbers(bytes.size() / sizeof(double));
    for (size_t k = 0; k < numbers.size(); ++k) {
        uint64_t bits = 0;
        for (size_t b = 0; b < sizeof(double); ++b) {
            bits |= static_cast<uint64_t>(static_cast<unsigned char>(bytes[sizeof(double) * k + b])) << 8 * b;
        }
        numbers[k] = std::bit_cast<double>(bits);
    }
    return numbers;
}

} // namespace

LeverageTables read_leverage(const json& document, const std::string& bytes) {
    const json& record = document["training"]["leverage"];
    if (!record.is_object()) {
        fail("", "an object", record);
    }
    if (value_of(record, "version") != json(kVersion)) {
        fail(".version", "1, for which an upgrade of ase_mlip may be needed", value_of(record, "version"));
    }
    LeverageTables tables;
    const json basis = value_of(record, "basis"), size = value_of(record, "size");
    if (basis != "features" && basis != "snnp") {
        fail(".basis", "features or snnp", basis);
    }
    tables.basis = basis.get<std::string>();
    const auto outputs = document["outputs"].get<std::set<std::string>>();
    if (tables.basis == "features" && !outputs.contains("features")) {
        throw std::runtime_error(std::string(": `training.leverage` needs the output `features`, which the "
                                             "file does not declare; ") +
                                 kAttach);
    }
    if (!size.is_number_integer() || size.get<int64_t>() < 1 || size.get<int64_t>() > kMostColumns) {
        fail(".size", "between 1 and 65535", size);
    }
    tables.size = size.get<int64_t>();
    if (!is_positive(value_of(record, "scale"))) {
        fail(".scale", "a positive number", value_of(record, "scale"));
    }
    tables.scale = record["scale"].get<double>();
    tables.block_of = read_blocks(value_of(record, "blocks"), document["species"].get<std::set<int64_t>>());
    const size_t expected = sizeof(double) * record["blocks"].size() * tables.size * tables.size;
    if (bytes.size() != expected) {
        throw std::runtime_error(std::string(": `training.leverage` needs the member `") + kLeverage +
                                 "` of " + std::to_string(expected) + " bytes, got " +
                                 std::to_string(bytes.size()) + "; " + kAttach);
    }
    tables.whitening = read_numbers(bytes);
    if (!std::all_of(tables.whitening.begin(), tables.whitening.end(),
                     [](double x) { return std::isfinite(x); })) {
        throw std::runtime_error(std::string(": `") + kLeverage + "` must hold finite numbers, got others; " +
                                 kAttach);
    }
    return tables;
}

} // namespace mlip
