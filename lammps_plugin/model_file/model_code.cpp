#include "model_code.h"

#include <cctype>
#include <set>
#include <string_view>

namespace mlip {
namespace {

const std::set<std::string_view> kForbidden{"save",        "from_file", "rpc_sync",        "rpc_async",
                                            "rpc_remote",  "PythonOp",  "IgnoredPythonOp", "__setstate__",
                                            "__getstate__"};
const std::set<std::string_view> kNamespaces{"aten", "prim", "ase_mlip"};

bool is_word(char letter) { return std::isalnum(static_cast<unsigned char>(letter)) != 0 || letter == '_'; }

/// The word that begins there, perhaps empty.
std::string_view word_at(std::string_view text, size_t start) {
    size_t end = start;
    while (end < text.size() && is_word(text[end])) {
        ++end;
    }
    return text.substr(std::min(start, text.size()), end - std::min(start, text.size()));
}

size_t skip_space(std::string_view text, size_t place) {
    while (place < text.size() && std::isspace(static_cast<unsigned char>(text[place])) != 0) {
        ++place;
    }
    return place;
}

/// `(anything without quotes, "name")`: the text of the name stands there as it is.
bool is_plain_getattr(std::string_view rest) {
    const size_t quote = rest.find_first_of("\"'\n");
    if (!rest.starts_with("(") || quote == std::string_view::npos || rest[quote] != '"' || quote < 3 ||
        rest.substr(quote - 2, 2) != ", ") {
        return false;
    }
    size_t end = quote + 1;
    while (end < rest.size() && (is_word(rest[end]) || rest[end] == '.' || rest[end] == '-')) {
        ++end;
    }
    return rest.substr(end, 2) == "\")";
}

bool is_followed_by_classes(std::string_view text, size_t end) {
    const size_t dot = skip_space(text, end);
    return dot < text.size() && text[dot] == '.' && word_at(text, skip_space(text, dot + 1)) == "classes";
}

std::string forbidden_in_code(std::string_view text) {
    for (size_t start = 0; start < text.size();) {
        if (!is_word(text[start])) {
            ++start;
            continue;
        }
        const std::string_view word = word_at(text, start);
        const size_t end = start + word.size();
        if (kForbidden.contains(word)) {
            return "the name `" + std::string(word) + "`";
        }
        if (word == "getattr" && !is_plain_getattr(text.substr(end))) {
            return "`getattr` with a name that is not plain text";
        }
        if (word == "torch" && is_followed_by_classes(text, end)) {
            return "`torch.classes`";
        }
        if (word == "ops" && (start == 0 || text[start - 1] != '.')) {
            const std::string_view space =
                end < text.size() && text[end] == '.' ? word_at(text, end + 1) : "";
            const size_t after = end + 1 + space.size();
            if (!kNamespaces.contains(space) || after >= text.size() || text[after] != '.') {
                return "operators of `" + (space.empty() ? "ops" : std::string(space)) + "`";
            }
        }
        start = end;
    }
    return "";
}

} // namespace

std::string forbidden_in(const std::string& name, const std::string& content) {
    if (name.starts_with("code/")) {
        return forbidden_in_code(content);
    }
    const bool is_pickle = name.ends_with(".pkl");
    const bool has_classes = content.find("torch.classes") != std::string::npos ||
                             content.find("torch\nclasses") != std::string::npos;
    return is_pickle && has_classes ? "an object of `torch.classes`" : "";
}

} // namespace mlip
