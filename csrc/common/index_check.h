#pragma once
// Whether numbers that are used as indices may be, found by all threads together.

#include "parallel.h"

#include <c10/util/Exception.h>

#include <atomic>

namespace ase_mlip {

constexpr int64_t kIndicesPerTask = 16384;

/// Throws c10::Error unless all lie in [low, limit); `remedy` follows the message. Whether they never
/// decrease.
inline bool check_indices(const int64_t* indices, int64_t count, int64_t low, int64_t limit, const char* name,
                          const char* remedy = "") {
    std::atomic<bool> sorted{true};
    parallel_for(count, kIndicesPerTask, [&](int64_t begin, int64_t end) {
        int64_t least = low, most = low, before = begin > 0 ? indices[begin - 1] : low;
        bool rising = true;
        for (int64_t n = begin; n < end; ++n) {
            least = std::min(least, indices[n]);
            most = std::max(most, indices[n]);
            rising &= before <= indices[n];
            before = indices[n];
        }
        TORCH_CHECK(least >= low && most < limit, "`", name, "` must lie in [", low, ", ", limit, "), got ",
                    least < low ? least : most, remedy);
        if (!rising) {
            sorted.store(false, std::memory_order_relaxed);
        }
    });
    return sorted;
}

} // namespace ase_mlip
