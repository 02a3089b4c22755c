#pragma once
// Vectors of numbers as GCC and Clang know them, and the choice of instructions at run time: a job is
// compiled for AVX-512, for AVX2 and for any processor, each with vectors as wide as its registers, and `run`
// takes the best that this processor has. Compilers keep wider vectors in memory, which makes all many times
// slower.

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#define ASE_MLIP_ALWAYS_INLINE inline __attribute__((always_inline))
// Every function that takes or returns a vector is inlined, so no calling convention is at stake.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace ase_mlip::simd {

/// What a job is called with: the width of its vectors, in bytes.
template <int W> struct Width {};

/// Of the widest vectors, in bytes. Numbers that lie by lanes are padded to these: they suit narrower ones.
constexpr int kWidest = 64;

/// How numbers are written, and what exp makes of it.
template <typename T> struct Format;
template <> struct Format<float> {
    using Integer = int32_t;
    static constexpr float shifter = 12582912.0f; // 1.5 * 2^23: adding it rounds to an integer
    static constexpr int bias = 127, mantissa_bits = 23, taylor_terms = 7;
    static constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
    static constexpr float lowest = -87.0f, highest = 88.0f; // exp of these is still a normal number
};
template <> struct Format<double> {
    using Integer = int64_t;
    static constexpr double shifter = 6755399441055744.0; // 1.5 * 2^52
    static constexpr int bias = 1023, mantissa_bits = 52, taylor_terms = 13;
    static constexpr double ln2_high = 6.93145751953125e-1, ln2_low = 1.42860682030941723212e-6;
    static constexpr double lowest = -708.0, highest = 709.0;
};

template <typename T, int W> struct Lanes {
    typedef T vector __attribute__((vector_size(W)));
    typedef typename Format<T>::Integer integers __attribute__((vector_size(W)));
};
template <typename T, int W> using Vector = typename Lanes<T, W>::vector;
template <typename T, int W> using Integers = typename Lanes<T, W>::integers;
template <typename T, int W> constexpr int64_t lanes = int64_t(W / sizeof(T));
template <typename T> constexpr int64_t most_lanes = lanes<T, kWidest>;

/// Of a vector.
template <typename V> using Number = std::remove_cvref_t<decltype(std::declval<V>()[0])>;
template <typename V> constexpr int64_t lanes_of = int64_t(sizeof(V) / sizeof(Number<V>));

template <int W, typename T> ASE_MLIP_ALWAYS_INLINE Vector<T, W> load(const T* from) {
    Vector<T, W> vector;
    std::memcpy(&vector, from, sizeof vector);
    return vector;
}
template <typename V> ASE_MLIP_ALWAYS_INLINE void store(Number<V>* to, V vector) {
    std::memcpy(to, &vector, sizeof vector);
}
/// The first `count` lanes; the others are zero.
template <int W, typename T> ASE_MLIP_ALWAYS_INLINE Vector<T, W> load(const T* from, int64_t count) {
    if (count >= lanes<T, W>) {
        return load<W>(from);
    }
    Vector<T, W> vector = {};
    for (int64_t k = 0; k < count; ++k) {
        vector[k] = from[k];
    }
    return vector;
}
template <typename V> ASE_MLIP_ALWAYS_INLINE void store(Number<V>* to, V vector, int64_t count) {
    if (count >= lanes_of<V>) {
        store(to, vector);
        return;
    }
    for (int64_t k = 0; k < count; ++k) {
        to[k] = vector[k];
    }
}
template <typename V> ASE_MLIP_ALWAYS_INLINE Number<V> sum(V vector) {
    Number<V> parts[lanes_of<V>];
    store(parts, vector);
    for (int64_t width = lanes_of<V> / 2; width > 0; width /= 2) { // pairwise, so that additions overlap
        for (int64_t k = 0; k < width; ++k) {
            parts[k] += parts[k + width];
        }
    }
    return parts[0];
}
template <typename V> ASE_MLIP_ALWAYS_INLINE V larger(V x, V y) { return x > y ? x : y; }

template <typename T> struct InverseFactorials {
    T of[Format<T>::taylor_terms + 1];

    constexpr InverseFactorials() : of{} {
        double factorial = 1.0;
        for (int k = 0; k <= Format<T>::taylor_terms; ++k) {
            factorial *= k > 0 ? k : 1;
            of[k] = T(1.0 / factorial);
        }
    }
};
template <typename T> inline constexpr InverseFactorials<T> inverse_factorials;

/// exp(x) to an ulp or two: 2^n times the Taylor series of the rest, which is at most ln(2)/2; 0 below the
/// smallest normal number, held constant above the largest. NaN stays NaN.
template <typename V> ASE_MLIP_ALWAYS_INLINE V exp(V x) {
    using T = Number<V>;
    using F = Format<T>;
    const V zero = {};
    const V bounded = x < F::lowest ? zero + F::lowest : (x > F::highest ? zero + F::highest : x);
    const V shifted = bounded * T(1.4426950408889634) + F::shifter;
    const V n = shifted - F::shifter;
    const V rest = bounded - n * F::ln2_high - n * F::ln2_low;
    V series = zero;
    for (int k = F::taylor_terms; k >= 0; --k) {
        series = series * rest + inverse_factorials<T>.of[k];
    }
    const V shifter = zero + F::shifter;
    Integers<T, sizeof(V)> exponent, offset;
    std::memcpy(&exponent, &shifted, sizeof exponent);
    std::memcpy(&offset, &shifter, sizeof offset);
    exponent = (exponent - offset + F::bias) << F::mantissa_bits;
    V power;
    std::memcpy(&power, &exponent, sizeof power);
    return x < F::lowest ? zero : (x == x ? series * power : x);
}

/// 1 / (1 + exp(-x))
template <typename V> ASE_MLIP_ALWAYS_INLINE V sigmoid(V x) {
    return Number<V>(1) / (Number<V>(1) + exp(-x));
}

/// The whole part of numbers that are not negative, which is put into `integers` too.
template <typename V> ASE_MLIP_ALWAYS_INLINE V whole(V x, Integers<Number<V>, sizeof(V)>& integers) {
    using T = Number<V>;
    if constexpr (sizeof(T) == 4 || sizeof(V) == kWidest) {
        integers = __builtin_convertvector(x, Integers<T, sizeof(V)>);
        return __builtin_convertvector(integers, V);
    } else { // before AVX-512, processors convert one double at a time
        const V shifter = V{} + Format<T>::shifter, nearest = (x + shifter) - shifter;
        const V found = nearest > x ? nearest - T(1) : nearest, shifted = found + shifter;
        Integers<T, sizeof(V)> offset;
        std::memcpy(&integers, &shifted, sizeof integers);
        std::memcpy(&offset, &shifter, sizeof offset);
        integers -= offset;
        return found;
    }
}

/// Calls the job with the registers of any processor that these sources are compiled for.
template <typename Job> void run_plain(const Job& job) { job(Width<16>{}); }

#if defined(__x86_64__)
template <typename Job>
__attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma"))) void run_avx512(const Job& job) {
    job(Width<64>{});
}
template <typename Job> __attribute__((target("avx2,fma"))) void run_avx2(const Job& job) {
    job(Width<32>{});
}

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
        run_plain(job);
    }
}
#else
inline int instructions() { return 0; }
template <typename Job> void run(const Job& job) { run_plain(job); }
#endif

} // namespace ase_mlip::simd
