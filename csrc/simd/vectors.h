#pragma once
// Vectors of 64 bytes as GCC and Clang know them, and the choice of instructions at run time: a job is
// compiled for AVX-512, for AVX2 and for any processor, and `run` takes the best that this one has.

#include <cstdint>
#include <cstring>

#define ASE_MLIP_ALWAYS_INLINE inline __attribute__((always_inline))
// Every function that takes or returns a vector is inlined, so no calling convention is at stake.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace ase_mlip::simd {

template <typename T> struct Lanes;
template <> struct Lanes<float> {
    typedef float vector __attribute__((vector_size(64)));
    typedef int32_t integers __attribute__((vector_size(64)));
    static constexpr float shifter = 12582912.0f; // 1.5 * 2^23: adding it rounds to an integer
    static constexpr int bias = 127, mantissa_bits = 23, taylor_terms = 7;
    static constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
    static constexpr float lowest = -87.0f, highest = 88.0f; // exp of these is still a normal number
};
template <> struct Lanes<double> {
    typedef double vector __attribute__((vector_size(64)));
    typedef int64_t integers __attribute__((vector_size(64)));
    static constexpr double shifter = 6755399441055744.0; // 1.5 * 2^52
    static constexpr int bias = 1023, mantissa_bits = 52, taylor_terms = 13;
    static constexpr double ln2_high = 6.93145751953125e-1, ln2_low = 1.42860682030941723212e-6;
    static constexpr double lowest = -708.0, highest = 709.0;
};
template <typename T> using Vector = typename Lanes<T>::vector;
template <typename T> constexpr int64_t lanes = int64_t(64 / sizeof(T));

template <typename T> ASE_MLIP_ALWAYS_INLINE Vector<T> load(const T* from) {
    Vector<T> vector;
    std::memcpy(&vector, from, sizeof vector);
    return vector;
}
template <typename T> ASE_MLIP_ALWAYS_INLINE void store(T* to, Vector<T> vector) {
    std::memcpy(to, &vector, sizeof vector);
}
/// The first `count` lanes; the others are zero.
template <typename T> ASE_MLIP_ALWAYS_INLINE Vector<T> load(const T* from, int64_t count) {
    if (count >= lanes<T>) {
        return load(from);
    }
    Vector<T> vector = {};
    for (int64_t k = 0; k < count; ++k) {
        vector[k] = from[k];
    }
    return vector;
}
template <typename T> ASE_MLIP_ALWAYS_INLINE void store(T* to, Vector<T> vector, int64_t count) {
    if (count >= lanes<T>) {
        store(to, vector);
        return;
    }
    for (int64_t k = 0; k < count; ++k) {
        to[k] = vector[k];
    }
}
template <typename T> ASE_MLIP_ALWAYS_INLINE T sum(Vector<T> vector) {
    T parts[lanes<T>];
    store(parts, vector);
    for (int64_t width = lanes<T> / 2; width > 0; width /= 2) { // pairwise, so that additions overlap
        for (int64_t k = 0; k < width; ++k) {
            parts[k] += parts[k + width];
        }
    }
    return parts[0];
}
template <typename T> ASE_MLIP_ALWAYS_INLINE Vector<T> larger(Vector<T> x, Vector<T> y) {
    return x > y ? x : y;
}

template <typename T> struct InverseFactorials {
    T of[Lanes<T>::taylor_terms + 1];

    constexpr InverseFactorials() : of{} {
        double factorial = 1.0;
        for (int k = 0; k <= Lanes<T>::taylor_terms; ++k) {
            factorial *= k > 0 ? k : 1;
            of[k] = T(1.0 / factorial);
        }
    }
};
template <typename T> inline constexpr InverseFactorials<T> inverse_factorials;

/// exp(x) to an ulp or two: 2^n times the Taylor series of the rest, which is at most ln(2)/2; 0 below the
/// smallest normal number, held constant above the largest. NaN stays NaN.
template <typename T> ASE_MLIP_ALWAYS_INLINE Vector<T> exp(Vector<T> x) {
    using L = Lanes<T>;
    const Vector<T> zero = {};
    const Vector<T> bounded = x < L::lowest ? zero + L::lowest : (x > L::highest ? zero + L::highest : x);
    const Vector<T> shifted = bounded * T(1.4426950408889634) + L::shifter;
    const Vector<T> n = shifted - L::shifter;
    const Vector<T> rest = bounded - n * L::ln2_high - n * L::ln2_low;
    Vector<T> series = zero;
    for (int k = L::taylor_terms; k >= 0; --k) {
        series = series * rest + inverse_factorials<T>.of[k];
    }
    const Vector<T> shifter = zero + L::shifter;
    typename L::integers exponent, offset;
    std::memcpy(&exponent, &shifted, sizeof exponent);
    std::memcpy(&offset, &shifter, sizeof offset);
    exponent = (exponent - offset + L::bias) << L::mantissa_bits;
    Vector<T> power;
    std::memcpy(&power, &exponent, sizeof power);
    return x < L::lowest ? zero : (x == x ? series * power : x);
}

/// 1 / (1 + exp(-x))
template <typename T> ASE_MLIP_ALWAYS_INLINE Vector<T> sigmoid(Vector<T> x) {
    return T(1) / (T(1) + exp<T>(-x));
}

#if defined(__x86_64__)
template <typename Job>
__attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma"))) void run_avx512(const Job& job) {
    job();
}
template <typename Job> __attribute__((target("avx2,fma"))) void run_avx2(const Job& job) { job(); }

/// Width of the widest vectors that this processor has, in bits; 0 for the least that any has.
inline int instructions() {
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw")) {
        return 512;
    }
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? 256 : 0;
}

/// Calls the job, whose operator() and all that it calls must be inlined.
template <typename Job> void run(const Job& job) {
    static const int width = instructions();
    if (width == 512) {
        run_avx512(job);
    } else if (width == 256) {
        run_avx2(job);
    } else {
        job();
    }
}
#else
inline int instructions() { return 0; }
template <typename Job> void run(const Job& job) { job(); }
#endif

} // namespace ase_mlip::simd
