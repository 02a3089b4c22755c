#pragma once
// Instruction sets of a processor, one after another.

#include "simd/vectors.h"

/// Calls a job with every instruction set that this processor has, each with vectors of its own width, then
/// `compare`.
template <typename Job, typename Compare> void with_each(const Job& job, const Compare& compare) {
    ase_mlip::simd::run_plain(job);
    compare("plain");
#if defined(__x86_64__)
    if (ase_mlip::simd::instructions() >= 256) {
        ase_mlip::simd::run_avx2(job);
        compare("AVX2");
    }
    if (ase_mlip::simd::instructions() >= 512) {
        ase_mlip::simd::run_avx512(job);
        compare("AVX-512");
    }
#endif
}
