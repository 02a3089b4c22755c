#pragma once
// A library that was cut short ends the process that opens it with a bus error. So its SHA-256 is compared
// with that of the build, once per process, before it is opened; ase_mlip/building/_build_files.py does the
// same in Python.

#include "sha256.h"

#include <fstream>
#include <sstream>
#include <stdexcept>

namespace mlip {

/// Throws unless the library is the one that was built. A folder without sums is one that CMake made.
inline void verify_library(const std::string& path) {
    const auto slash = path.rfind('/');
    const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash);
    std::ifstream sums(folder + "/SHA256SUMS");
    if (!sums) {
        return;
    }
    std::ifstream stream(path, std::ios::binary);
    std::ostringstream content;
    content << stream.rdbuf();
    const std::string found = Sha256::hex(content.str());
    for (std::string digest, name; sums >> digest >> name;) {
        if (name == path.substr(slash + 1) && digest == found) {
            return;
        }
    }
    throw std::runtime_error("`" + path +
                             "`: expected the library that was built (its SHA-256 is in `SHA256SUMS`), got "
                             "one that was cut short or altered since; build it again with `ase-mlip build "
                             "--force`");
}

} // namespace mlip
