#include "allocator.h"

#include <cstdlib> // defines __GLIBC__ where it applies
#include <limits>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace ase_mlip {

bool tune_allocator(int64_t mmap_threshold, int64_t trim_threshold) {
    constexpr int64_t largest = std::numeric_limits<int>::max();
    if (mmap_threshold < 0 || mmap_threshold > largest || trim_threshold < -1 || trim_threshold > largest) {
        return false;
    }
#if defined(__GLIBC__)
    // The trim threshold alone makes matters worse, so it is set only once the first is accepted.
    return mallopt(M_MMAP_THRESHOLD, static_cast<int>(mmap_threshold)) == 1 &&
           mallopt(M_TRIM_THRESHOLD, static_cast<int>(trim_threshold)) == 1;
#else
    return false;
#endif
}

} // namespace ase_mlip
