// The type of every value in a model file's document, and what its self-test must hold.

#include "document.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <set>
#include <stdexcept>
#include <vector>

namespace mlip {
namespace {

[[noreturn]] void fail(const std::string& problem) { throw std::runtime_error(problem); }

// ---- types --------------------------------------------------------------------------------------------

using Check = std::function<void(const json&, const std::string&)>;
using Shape = std::vector<size_t>;

[[noreturn]] void fail_value(const std::string& name, const std::string& expected, const json& value) {
    std::string text = value.dump(-1, ' ', true);
    text = text.size() <= 60 ? text : text.substr(0, 57) + "...";
    fail(": `" + name + "` must be " + expected + ", got " + text);
}

void require(bool holds, const json& value, const std::string& name, const char* expected) {
    if (!holds) {
        fail_value(name, expected, value);
    }
}

void text(const json& value, const std::string& name) { require(value.is_string(), value, name, "text"); }

void boolean(const json& value, const std::string& name) {
    require(value.is_boolean(), value, name, "true or false");
}

void whole(const json& value, const std::string& name) {
    const bool fits = value.is_number_integer() && std::abs(value.get<double>()) < 2147483648.0;
    require(fits, value, name, "a whole number");
}

void number(const json& value, const std::string& name) {
    const bool fits = value.is_number() && std::abs(value.get<double>()) <= 1e300;
    require(fits, value, name, "a finite number");
}

void object(const json& value, const std::string& name) {
    require(value.is_object(), value, name, "an object");
}

void digest(const json& value, const std::string& name) {
    const bool fits = value.is_string() && value.get_ref<const std::string&>().size() == 64;
    require(fits, value, name, "a SHA-256 in hexadecimal digits");
}

Check optional(Check check) {
    return [check](const json& value, const std::string& name) {
        if (!value.is_null()) {
            check(value, name);
        }
    };
}

Check list(Check check) {
    return [check](const json& value, const std::string& name) {
        require(value.is_array(), value, name, "a list");
        for (size_t k = 0; k < value.size(); ++k) {
            check(value[k], name + "[" + std::to_string(k) + "]");
        }
    };
}

Check table(Check check) {
    return [check](const json& value, const std::string& name) {
        object(value, name);
        for (const auto& [key, item] : value.items()) {
            check(item, name + "[" + key + "]");
        }
    };
}

/// Nested lists of finite numbers of this shape.
void array(const json& value, const Shape& shape, const std::string& name, size_t depth = 0) {
    if (depth == shape.size()) {
        number(value, name);
        return;
    }
    if (!value.is_array() || value.size() != shape[depth]) {
        fail_value(name, "an array with " + std::to_string(shape[depth]) + " entries", value);
    }
    for (const json& item : value) {
        array(item, shape, name, depth + 1);
    }
}

void averaging(const json& value, const std::string& name) {
    object(value, name);
    boolean(value.value("lattice", json(false)), name + ".lattice");
    whole(value.value("rotations", json(0)), name + ".rotations");
    if (value.contains("cell") && !value["cell"].is_null()) {
        array(value["cell"], {3, 3}, name + ".cell");
    }
}

const std::vector<std::pair<const char*, Check>>& fields() {
    static const std::vector<std::pair<const char*, Check>> known{
        {"name", text},
        {"species", list(whole)},
        {"cutoff", number},
        {"message_passing_layers", whole},
        {"interaction_range", number},
        {"pair_cutoffs", optional(table(number))},
        {"dtype", text},
        {"units", table(text)},
        {"inputs", list(text)},
        {"outputs", list(text)},
        {"conservative", boolean},
        {"equivariant", boolean},
        {"symmetrization", optional(averaging)},
        {"operators", table(whole)},
        {"architecture", object},
        {"training", object},
        {"citation", text},
        {"versions", table(text)},
        {"reference_energies", table(number)},
        {"self_test", object},
        {"members", table(digest)},
    };
    return known;
}

// ---- the self-test ------------------------------------------------------------------------------------

constexpr size_t kMaxAtoms = 64;
constexpr double kMaxPairs = 4e6; // of atoms and images that the self-test's plain sum looks at

struct Array {
    const char* name;
    bool by_atom; // else by structure, of which there is one
    Shape shape;
    bool always;
};

const std::vector<Array>& arrays() {
    static const std::vector<Array> known{
        {"energy", false, {}, true},
        {"virial", false, {3, 3}, true},
        {"forces", true, {3}, true},
        {"direct_forces", true, {3}, false},
        {"direct_stresses", true, {3, 3}, false},
        {"direct_virials", true, {3, 3}, false},
    };
    return known;
}

double largest_of(const json& value) {
    if (!value.is_array()) {
        return std::abs(value.get<double>());
    }
    double largest = 0.0;
    for (const json& item : value) {
        largest = std::max(largest, largest_of(item));
    }
    return largest;
}

using Vector = std::array<double, 3>;

Vector vector_of(const json& value) {
    return {value[0].get<double>(), value[1].get<double>(), value[2].get<double>()};
}

double length(const Vector& a) { return std::sqrt(a[0] * a[0] + a[1] * a[1] + a[2] * a[2]); }

double count_pairs(const json& structure, double cutoff) {
    Vector low{INFINITY, INFINITY, INFINITY}, high{-INFINITY, -INFINITY, -INFINITY};
    for (const json& row : structure["positions"]) {
        const Vector position = vector_of(row);
        for (int k = 0; k < 3; ++k) {
            low[k] = std::min(low[k], position[k]);
            high[k] = std::max(high[k], position[k]);
        }
    }
    const double reach = cutoff + length({high[0] - low[0], high[1] - low[1], high[2] - low[2]});
    double pairs = static_cast<double>(structure["numbers"].size() * structure["numbers"].size());
    for (int k = 0; k < 3; ++k) {
        const Vector own = vector_of(structure["cell"][k]), a = vector_of(structure["cell"][(k + 1) % 3]),
                     b = vector_of(structure["cell"][(k + 2) % 3]);
        const Vector normal{a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]};
        const double volume = std::abs(own[0] * normal[0] + own[1] * normal[1] + own[2] * normal[2]);
        pairs *= volume > 0.0 ? 2.0 * reach * length(normal) / volume + 3.0 : INFINITY;
    }
    return pairs;
}

void check_structure(const json& structure, const json& document) {
    for (const char* part : {"numbers", "positions", "cell"}) {
        if (!structure.contains(part)) {
            fail(std::string(": the structure of its self-test has no `") + part + "`; export it again");
        }
    }
    const json& numbers = structure["numbers"];
    list(whole)(numbers, "self_test.structure.numbers");
    const auto known = document["species"].get<std::set<int64_t>>();
    bool fits = !numbers.empty() && numbers.size() <= kMaxAtoms;
    for (const json& entry : numbers) {
        fits = fits && known.contains(entry.get<int64_t>());
    }
    require(fits, numbers, "self_test.structure.numbers", "1 to 64 atoms of the model's species");
    array(structure["positions"], {numbers.size(), 3}, "self_test.structure.positions");
    array(structure["cell"], {3, 3}, "self_test.structure.cell");
    const bool is_small = count_pairs(structure, document["cutoff"].get<double>()) <= kMaxPairs;
    require(is_small, structure["cell"], "self_test.structure.cell",
            "a cell that reaches the cutoff within a few images");
}

/// Raises unless the object has exactly these keys.
void check_keys(const json& value, const std::set<std::string>& wanted, const std::string& name) {
    object(value, name);
    std::set<std::string> found;
    for (const auto& [key, item] : value.items()) {
        found.insert(key);
    }
    if (found != wanted) {
        std::string expected = "an object of";
        for (const std::string& key : wanted) {
            expected += " " + key;
        }
        fail_value(name, expected, json(found));
    }
}

void check_tolerances(const json& tolerances, const std::set<std::string>& wanted, double largest) {
    for (const char* dtype : {"float32", "float64"}) {
        const std::string name = std::string("self_test.tolerances.") + dtype;
        const json by_device = tolerances.value(dtype, json(nullptr));
        object(by_device, name);
        const std::set<std::string> without_gpu{"cpu"}, both{"cpu", "cuda"};
        check_keys(by_device, by_device.size() == 1 ? without_gpu : both, name);
        for (const auto& [device, limits] : by_device.items()) {
            check_keys(limits, wanted, name + "." + device);
            const double most = largest * (device == "cpu" ? 0.01 : 0.1);
            for (const auto& [quantity, limit] : limits.items()) {
                const std::string full = name + "." + device + "." + quantity;
                number(limit, full);
                const double value = limit.get<double>();
                require(value > 0.0 && value <= most, limit, full,
                        "positive, and at most a hundredth of the largest number (a tenth on a GPU)");
            }
        }
    }
}

} // namespace

void check_types(const json& document) {
    for (const auto& [name, check] : fields()) {
        if (!document.contains(name)) {
            fail(std::string(": field `") + name + "` is missing in the document; export it again");
        }
        check(document[name], name);
    }
}

void check_self_test(const json& document) {
    const json& self_test = document["self_test"];
    for (const char* part : {"structure", "reference", "tolerances"}) {
        if (!self_test.contains(part)) {
            fail(" carries no self-test; export it with `ase_mlip.export_model`");
        }
        object(self_test[part], std::string("self_test.") + part);
    }
    check_structure(self_test["structure"], document);
    const auto outputs = document["outputs"].get<std::set<std::string>>();
    const size_t n_atoms = self_test["structure"]["numbers"].size();
    std::set<std::string> wanted;
    for (const Array& known : arrays()) {
        if (known.always || outputs.contains(known.name)) {
            wanted.insert(known.name);
        }
    }
    check_keys(self_test["reference"], wanted, "self_test.reference");
    double largest = 1.0;
    for (const Array& known : arrays()) {
        if (wanted.contains(known.name)) {
            Shape shape = known.shape;
            shape.insert(shape.begin(), known.by_atom ? n_atoms : 1);
            const json& values = self_test["reference"][known.name];
            array(values, shape, std::string("self_test.reference.") + known.name);
            largest = std::max(largest, largest_of(values));
        }
    }
    check_tolerances(self_test["tolerances"], wanted, largest);
}

} // namespace mlip
