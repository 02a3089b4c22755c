#pragma once

#include <cstdint>

namespace ase_mlip {

/// Keep freed memory in the process instead of returning it to the system: large edge tensors are otherwise
/// mapped and unmapped at every step. Both thresholds in bytes, a trim threshold of -1 is none at all; false
/// where glibc's mallopt is missing or refuses.
bool tune_allocator(int64_t mmap_threshold, int64_t trim_threshold);

} // namespace ase_mlip
