#pragma once
// The device a model runs on, by the rule of ase_mlip/building/device.py: `auto` takes the GPU if it can run
// this file here, that is if torch sees one and the file loads there and passes its self-test; else the CPU,
// with a line that says why. All ranks take the same kind. An explicit device is taken or refused, never
// replaced.

#include <algorithm>
#include <cctype>
#include <stdexcept>
#include <string>

namespace mlip {

/// "cpu" or "cuda:N", the device to try first. `gpus` is how many torch sees, `local_rank` shares them among
/// the ranks of a node. Throws std::runtime_error for an unknown or missing device.
inline std::string device_to_try(const std::string& wanted, int gpus, int local_rank) {
    const bool is_indexed =
        wanted.starts_with("cuda:") && wanted.size() > 5 && wanted.size() < 9 &&
        std::all_of(wanted.begin() + 5, wanted.end(), [](unsigned char c) { return std::isdigit(c); });
    if (wanted != "auto" && wanted != "cpu" && wanted != "cuda" && !is_indexed) {
        throw std::runtime_error("unknown `device` " + wanted +
                                 "; expected `auto`, `cpu`, `cuda` or `cuda:N`");
    }
    if (wanted == "cpu" || (wanted == "auto" && gpus == 0)) {
        return "cpu";
    }
    const int index = is_indexed ? std::stoi(wanted.substr(5)) : local_rank % std::max(gpus, 1);
    if (index >= gpus) {
        throw std::runtime_error("`device` " + wanted + " is not there: torch sees " + std::to_string(gpus) +
                                 " GPUs; use `device cpu`, or install torch for CUDA");
    }
    return "cuda:" + std::to_string(index);
}

/// What a rank made of `device auto`; a rank with an explicit device has no say.
enum class Attempt { explicit_device, took_gpu, took_cpu, failed };

struct Decision {
    bool all_on_cpu = false; // whoever is not there loads again
    std::string reason;      // why; empty if the GPUs were taken
};

/// From the attempts of all ranks and the reason that the first one gave which did not take a GPU.
inline Decision decide(bool any_took_gpu, bool any_did_not, const std::string& reason) {
    if (!any_did_not) {
        return {};
    }
    return {true, any_took_gpu ? reason + ", and all ranks take the same kind" : reason};
}

} // namespace mlip
