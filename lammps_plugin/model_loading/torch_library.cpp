#include "torch_library.h"

#include "../both_sides/library_sums.h"

#include <dlfcn.h>
#include <sys/stat.h>

#include <cstdlib>
#include <stdexcept>

namespace mlip {
namespace {

const char* const kLibrary = "libmlip_torch.so";

/// Folder of the library this function is in.
std::string own_folder() {
    Dl_info info{};
    if (dladdr(reinterpret_cast<void*>(&own_folder), &info) == 0 || info.dli_fname == nullptr) {
        throw std::runtime_error("the folder of `mlipplugin.so` cannot be found; run `ase-mlip doctor`");
    }
    const std::string path = info.dli_fname;
    const auto slash = path.rfind('/');
    return slash == std::string::npos ? "." : path.substr(0, slash);
}

/// How libtorch is loaded: so that it finds its own symbols before LAMMPS'. LAMMPS brings a plain BLAS, with
/// which libtorch would otherwise multiply its float64 matrices, five times slower. Sanitizers forbid it.
int loading_mode() {
    const bool sanitized =
        dlsym(RTLD_DEFAULT, "__asan_init") != nullptr || dlsym(RTLD_DEFAULT, "__tsan_init") != nullptr;
#ifdef RTLD_DEEPBIND
    return RTLD_NOW | RTLD_LOCAL | (sanitized ? 0 : RTLD_DEEPBIND);
#else
    return RTLD_NOW | RTLD_LOCAL;
#endif
}

void* open_library() {
    static void* library = nullptr; // for the life of the process: libtorch cannot be unloaded
    if (library != nullptr) {
        return library;
    }
    const std::string path = own_folder() + "/" + kLibrary;
    verify_library(path);
    // libtorch gives large tensors back to the system at once, and new ones are cleared page by page. Pages
    // of 2 MB halve the time that takes. libtorch reads this variable once; a user's own value stands.
    setenv("THP_MEM_ALLOC_ENABLE", "1", 0);
    library = dlopen(path.c_str(), loading_mode());
    if (library == nullptr) {
        throw std::runtime_error("`" + path + "` cannot be loaded: " + dlerror() +
                                 "; `ase-mlip doctor` says what does not fit, `ase-mlip build` builds anew");
    }
    return library;
}

template <typename Function> Function find_symbol(void* library, const char* name) {
    void* symbol = dlsym(library, name);
    if (symbol == nullptr) {
        throw std::runtime_error(std::string("`") + kLibrary + "` lacks `" + name +
                                 "`: it belongs to another version; run `ase-mlip build`");
    }
    return reinterpret_cast<Function>(symbol);
}

} // namespace

EvaluatorHandle create_evaluator(const Options& options) {
    void* library = open_library();
    const int version = find_symbol<int (*)()>(library, "mlip_interface_version")();
    if (version != kInterfaceVersion) {
        throw std::runtime_error(std::string("`") + kLibrary + "` has interface version " +
                                 std::to_string(version) + ", expected " + std::to_string(kInterfaceVersion) +
                                 "; run `ase-mlip build`");
    }
    const auto create = find_symbol<CreateEvaluator>(library, "mlip_create_evaluator");
    const auto remove = find_symbol<DeleteEvaluator>(library, "mlip_delete_evaluator");
    return EvaluatorHandle(create(options), EvaluatorDeleter{remove});
}

std::string find_model(const std::string& path_or_name) {
    struct stat status{};
    if (path_or_name.find('/') != std::string::npos || stat(path_or_name.c_str(), &status) == 0) {
        return path_or_name;
    }
    const std::string shipped = std::string(MLIP_MODELS_FOLDER) + "/" + path_or_name + ".pt";
    return stat(shipped.c_str(), &status) == 0 ? shipped : path_or_name;
}

} // namespace mlip
