#pragma once
// The mathematics of the s-NNP, for numbers and for vectors of numbers, on the host and in CUDA.
//
// With n intervals of length h from x_0, a spline has n + 2 pieces: the line before the knots, the intervals,
// the line behind. Piece p holds the powers of u = (x - x_0)/h + 1 - p.
//
// With r^_k the direction of neighbour k of a centre, f_kb = f_b(r_k) and c_jk the cosine between j and k,
//   S_kb = sum_{j != k} f_jb g_b(c_jk)        V_kb = sum_j f_jb g_b'(c_jk) r^_j
// do not depend on the network behind the features G2_a = sum_k rho_a(r_k) and G3_b = 1/2 sum_k f_kb S_kb.
// With w = dE/dG, the gradient of the centre's energy by the vector of neighbour k is
//   r^_k (1/2 phi' + sum_a w_a rho_a' + sum_b w_b f_kb' S_kb) + (1 - r^_k r^_k^T) sum_b w_b f_kb V_kb / r_k
// so that one pass over the pairs of neighbours suffices, with no sum over lanes and no list of triplets.

#include "../common/inline.h"

#include <cstdint>

namespace ase_mlip::snnp {

constexpr int64_t kZeroTail = 3; // last coefficients of phi and rho, which are zero

/// Powers of u on an interval from its four coefficients of B-splines.
ASE_MLIP_INLINE void powers_of(const double* c, double* powers) {
    powers[0] = (c[0] + 4.0 * c[1] + c[2]) / 6.0;
    powers[1] = (c[2] - c[0]) / 2.0;
    powers[2] = (c[0] + c[2]) / 2.0 - c[1];
    powers[3] = (c[3] - c[0]) / 6.0 + (c[1] - c[2]) / 2.0;
}

/// The line that touches the first knot, where u = 1, from the first interval's coefficients.
ASE_MLIP_INLINE void line_before(const double* c, double* powers) {
    powers_of(c, powers);
    powers[0] -= powers[1];
    powers[2] = powers[3] = 0.0;
}

/// The line that touches the last knot, where u = 0, from the last interval's coefficients.
ASE_MLIP_INLINE void line_behind(const double* c, double* powers) {
    powers[0] = (c[1] + 4.0 * c[2] + c[3]) / 6.0;
    powers[1] = (c[3] - c[1]) / 2.0;
    powers[2] = powers[3] = 0.0;
}

/// p[0] + p[1] u + p[2] u^2 + p[3] u^3 and its derivative.
template <typename V> ASE_MLIP_INLINE void cubic(const V p[4], const V& u, V& value, V& slope) {
    value = p[3] * u + p[2];
    slope = p[3] * u + value;
    value = value * u + p[1];
    slope = slope * u + value;
    value = value * u + p[0];
}

/// x sigma(x) and its derivative, from sigma(x).
template <typename V> ASE_MLIP_INLINE void silu(const V& x, const V& sigma, V& value, V& slope) {
    value = x * sigma;
    slope = sigma + value * (V{} + 1 - sigma);
}

/// The gradient by a neighbour's vector: `along` is its part along the direction (x, y, z); of `across`, the
/// part along the direction is taken off.
template <typename V>
ASE_MLIP_INLINE void gradient(const V direction[3], const V& inverse_length, const V& along,
                              const V across[3], V result[3]) {
    const V dot = across[0] * direction[0] + across[1] * direction[1] + across[2] * direction[2];
    const V rest = along - dot * inverse_length;
    for (int k = 0; k < 3; ++k) {
        result[k] = rest * direction[k] + across[k] * inverse_length;
    }
}

} // namespace ase_mlip::snnp
