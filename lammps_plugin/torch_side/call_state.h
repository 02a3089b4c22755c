#pragma once
// The one state of a thread in which models are loaded, called and tested, whatever a program around us has
// switched on or off: as `calling` of ase_mlip/_torchscript.py.

#include <ATen/autocast_mode.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/InferenceMode.h>

#include <array>

namespace mlip {

/// No autocast while this lives, neither by the dispatcher nor by the compiler of TorchScript, which asks.
class NoAutocast {
  public:
    NoAutocast() {
        for (size_t k = 0; k < kinds.size(); ++k) {
            before_[k] = at::autocast::is_autocast_enabled(kinds[k]);
            at::autocast::set_autocast_enabled(kinds[k], false);
        }
    }
    NoAutocast(const NoAutocast&) = delete;
    NoAutocast& operator=(const NoAutocast&) = delete;
    ~NoAutocast() {
        for (size_t k = 0; k < kinds.size(); ++k) {
            at::autocast::set_autocast_enabled(kinds[k], before_[k]);
        }
    }

  private:
    static constexpr std::array kinds{at::kCPU, at::kCUDA};
    std::array<bool, kinds.size()> before_{};
};

/// Derivatives can be taken while this lives, in full precision.
struct CallState {
    const c10::InferenceMode no_inference_mode{false};
    const at::AutoGradMode with_gradients{true};
    const NoAutocast no_autocast;
};

} // namespace mlip
