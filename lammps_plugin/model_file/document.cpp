#include "document.h"

#include "../both_sides/sha256.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>
#include <stdexcept>
#include <vector>

namespace mlip {
namespace {

constexpr int64_t kSchemaVersion = 2;
constexpr int kMaxDepth = 32;
constexpr const char* kAgain = "; fetch the file again";
constexpr const char* kAltered = "; fetch the file again, or export the model anew with the claims you want";

[[noreturn]] void fail(const std::string& problem) { throw std::runtime_error(problem); }

// ---- strict JSON
// -------------------------------------------------------------------------------------------

json parse_strictly(const std::string& text) {
    std::vector<std::set<std::string>> keys;
    const auto watch = [&](int depth, json::parse_event_t event, json& parsed) {
        const auto level = static_cast<size_t>(depth);
        if (depth > kMaxDepth) {
            throw std::runtime_error("it is nested deeper than " + std::to_string(kMaxDepth) + " levels");
        }
        if (event == json::parse_event_t::object_start) {
            keys.resize(level + 1);
            keys.emplace_back();
        } else if (event == json::parse_event_t::key && !keys.at(level).insert(parsed).second) {
            throw std::runtime_error("the key " + parsed.dump(-1, ' ', true) + " occurs twice");
        }
        return true;
    };
    std::string problem;
    try {
        json document = json::parse(text, watch);
        if (document.is_object() && document.contains("schema_version")) {
            return document;
        }
        problem = document.is_object() ? "it has no `schema_version`" : "it is no object";
    } catch (const json::exception& error) { // its message ends in what was read last, which may be anything
        problem = error.id == 406 ? "a number is too large" : "no strict JSON";
    } catch (const std::runtime_error& error) {
        problem = error.what();
    }
    fail(std::string(": its document `") + kDocument + "` is not JSON with a `schema_version` (" + problem +
         ")" + kAgain);
}

// ---- the digest of schema 1
// --------------------------------------------------------------------------------

/// As Python's `repr`: the shortest digits that give the number back, without an exponent from 1e-4 to 1e16.
std::string python_repr(double value) {
    char buffer[64];
    const auto written = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific);
    const std::string text(buffer, written.ptr);
    const std::string sign = text[0] == '-' ? "-" : "";
    const size_t e = text.find('e');
    std::string digits = text.substr(sign.size(), e - sign.size());
    digits.erase(std::remove(digits.begin(), digits.end(), '.'), digits.end());
    const int exponent = std::stoi(text.substr(e + 1));
    const auto n = static_cast<int>(digits.size());
    if (exponent < -4 || exponent >= 16) {
        const std::string size = std::to_string(std::abs(exponent));
        return sign + digits.substr(0, 1) + (n > 1 ? "." + digits.substr(1) : "") + "e" +
               (exponent < 0 ? "-" : "+") + (size.size() < 2 ? "0" : "") + size;
    }
    if (exponent < 0) {
        return sign + "0." + std::string(-exponent - 1, '0') + digits;
    }
    digits.append(std::max(0, exponent + 2 - n), '0');
    return sign + digits.substr(0, exponent + 1) + "." + digits.substr(exponent + 1);
}

void write_canonically(const json& value, std::string& into) {
    if (value.is_number_float()) {
        into += python_repr(value.get<double>());
    } else if (value.is_array() || value.is_object()) {
        into += value.is_array() ? '[' : '{';
        bool first = true;
        for (const auto& [key, item] : value.items()) { // of an object in the order of its keys
            into += first ? "" : ",";
            into += value.is_object() ? json(key).dump(-1, ' ', /*ensure_ascii=*/true) + ":" : "";
            write_canonically(item, into);
            first = false;
        }
        into += value.is_array() ? ']' : '}';
    } else {
        into += value.dump(-1, ' ', /*ensure_ascii=*/true);
    }
}

// ---- which document it is -----------------------------------------------------------------------------

int64_t schema_of(const json& document) {
    const json& version = document["schema_version"];
    if (!version.is_number_integer() || version.get<int64_t>() > kSchemaVersion) {
        fail(" has schema version " + version.dump(-1, ' ', true) + ", expected at most " +
             std::to_string(kSchemaVersion) + "; upgrade ase_mlip");
    }
    if (version.get<int64_t>() < 1) {
        fail(": schema version " + version.dump() + " never existed; expected 1 to " +
             std::to_string(kSchemaVersion));
    }
    return version.get<int64_t>();
}

/// From schema 2 on the archive holds the digest, which was checked; before, the document does.
void require_intact(const json& document, int64_t version, bool has_digest) {
    std::string reason;
    if (version >= 2 && !has_digest) {
        reason = std::string("`") + kDigest + "` is missing";
    } else if (version == 1 && has_digest) {
        reason = std::string("schema 1 has no `") + kDigest + "`";
    } else if (version == 1) {
        const json stored = document.value("document_sha256", json(nullptr));
        reason = stored == Sha256::hex(canonical(document))
                     ? ""
                     : "`document_sha256` does not agree with the rest";
    }
    if (!reason.empty()) {
        fail(": its document was altered (" + reason + ")" + kAltered);
    }
}

} // namespace

std::string canonical(const json& document) {
    json claims = document;
    claims.erase("document_sha256");
    std::string written;
    write_canonically(claims, written);
    return written;
}

json read_document(const std::string& text, const std::optional<std::string>& digest) {
    if (digest && *digest != Sha256::hex(text)) {
        fail(std::string(": its document was altered (its SHA-256 is not the one in `") + kDigest + "`)" +
             kAltered);
    }
    json document = parse_strictly(text);
    require_intact(document, schema_of(document), digest.has_value());
    check_types(document);
    return document;
}

} // namespace mlip
