// Python module: what the compiled parts were built with. Compiled with the flags of the operator library.

#include "version.h"

#include <pybind11/pybind11.h>
#include <torch/version.h>

#include <string>

namespace {

std::string compiler() {
#if defined(__clang__)
    return "clang " __clang_version__;
#elif defined(__GNUC__)
    return "gcc " __VERSION__;
#else
    return "unknown";
#endif
}

pybind11::dict build_info() {
    pybind11::dict info;
    info["schema_version"] = ase_mlip::kSchemaVersion;
    info["compiler"] = compiler();
    info["cxx_standard"] = static_cast<int64_t>(__cplusplus);
    info["torch"] = TORCH_VERSION;
    return info;
}

} // namespace

PYBIND11_MODULE(_build_info, module) {
    module.doc() = "What the compiled parts of ase_mlip were built with.";
    module.def("build_info", &build_info, "Schema version, compiler, C++ standard and torch.");
}
