#pragma once
// Energy and gradient of one centre of an s-NNP, on the vectors of simd/vectors.h: a lane is a neighbour.
// Everything is inlined into the job that `simd::run` compiles for each instruction set. No libtorch in here.

#include "readout.h"

namespace ase_mlip::snnp {

template <typename T> struct Centre {
    using V = simd::Vector<T>;
    using I = typename simd::Lanes<T>::integers;
    static constexpr int64_t L = simd::lanes<T>;

    const Model<T>& model;
    Workspace<T>& ws;
    int64_t type;

    static ASE_MLIP_ALWAYS_INLINE V all(T value) { return V{} + value; }

    /// The powers of a spline's pieces: in registers if they are few.
    template <bool Few> struct Powers {
        const T* table;
        int64_t stride;
        V low[4], high[4];

        ASE_MLIP_ALWAYS_INLINE Powers(const Bank<T>& bank, int64_t which, int64_t channel)
            : table(bank.table(which, channel)), stride(bank.stride) {
            if constexpr (Few) {
                for (int k = 0; k < 4; ++k) {
                    low[k] = simd::load(table + k * stride);
                    high[k] = simd::load(table + k * stride + (L < kFewPieces ? L : 0));
                }
            }
        }
        ASE_MLIP_ALWAYS_INLINE V pick(int power, I piece) const {
#if defined(__GNUC__) && !defined(__clang__)
            if constexpr (Few && L < kFewPieces) {
                return __builtin_shuffle(low[power], high[power], piece);
            } else if constexpr (Few) {
                return __builtin_shuffle(low[power], piece);
            }
#endif
            V picked = {};
            for (int64_t lane = 0; lane < L; ++lane) {
                picked[lane] = table[power * stride + piece[lane]];
            }
            return picked;
        }
        ASE_MLIP_ALWAYS_INLINE void at(I piece, V u, V& value, V& slope) const {
            const V p[4] = {pick(0, piece), pick(1, piece), pick(2, piece), pick(3, piece)};
            cubic(p, u, value, slope);
        }
    };

    /// The pieces of arguments x, and where on them these are.
    static ASE_MLIP_ALWAYS_INLINE void find(const Bank<T>& bank, int64_t which, V x, I& piece, V& u) {
        u = (x - bank.origin[which]) * bank.inverse_step[which] + T(1);
        const V zero = {}, last = all(bank.last[which]);
        V bounded = u > zero ? u : zero;
        bounded = bounded < last ? bounded : last;
        piece = __builtin_convertvector(bounded, I);
        u -= __builtin_convertvector(piece, V);
    }

    // ---- splines of the distance

    /// Adds phi to `pairs` and rho to the features; keeps f and all slopes.
    template <bool Few> ASE_MLIP_ALWAYS_INLINE void radial(V& pairs) {
        for (const auto& group : ws.groups) {
            if (model.phi.few) {
                radial_phi<Few>(group, pairs);
            } else {
                radial_phi<false>(group, pairs); // a repulsive core has pieces of its own
            }
            radial_rho<Few>(group);
            if (group.near_end > group.begin) {
                radial_f<Few>(group);
            }
        }
    }
    using Group = typename Workspace<T>::Group;

    template <bool Few> ASE_MLIP_ALWAYS_INLINE void radial_phi(const Group& group, V& pairs) {
        const Bank<T>& bank = model.phi;
        if (bank.channels == 0) {
            for (int64_t entry = group.begin; entry < group.end; entry += L) {
                simd::store<T>(ws.along + entry, V{});
            }
            return;
        }
        const int64_t which = model.pair_cases[type * model.species + group.type];
        const Powers<Few> powers(bank, which, 0);
        for (int64_t entry = group.begin; entry < group.end; entry += L) {
            I piece;
            V u, value, slope;
            find(bank, which, simd::load(ws.length + entry), piece, u);
            powers.at(piece, u, value, slope);
            pairs += T(0.5) * value;
            simd::store<T>(ws.along + entry, T(0.5) * bank.inverse_step[which] * slope);
        }
    }

    template <bool Few> ASE_MLIP_ALWAYS_INLINE void radial_rho(const Group& group) {
        const Bank<T>& bank = model.rho;
        const int64_t which = model.radial_cases[type * model.species + group.type];
        for (int64_t a = 0; a < bank.channels; ++a) {
            const Powers<Few> powers(bank, which, a);
            V total = {};
            for (int64_t entry = group.begin; entry < group.end; entry += L) {
                I piece;
                V u, value, slope;
                find(bank, which, simd::load(ws.length + entry), piece, u);
                powers.at(piece, u, value, slope);
                total += value;
                simd::store<T>(ws.d_rho + a * ws.entries + entry, bank.inverse_step[which] * slope);
            }
            ws.g[a] += simd::sum<T>(total);
        }
    }

    template <bool Few> ASE_MLIP_ALWAYS_INLINE void radial_f(const Group& group) {
        const Bank<T>& bank = model.f;
        const int64_t which = model.radial_cases[type * model.species + group.type];
        const V limit = all(model.angular_cutoff);
        for (int64_t b = 0; b < bank.channels; ++b) {
            const Powers<Few> powers(bank, which, b);
            for (int64_t entry = group.begin; entry < group.near_end; entry += L) {
                const V length = simd::load(ws.length + entry), zero = {};
                I piece;
                V u, value, slope;
                find(bank, which, length, piece, u);
                powers.at(piece, u, value, slope);
                simd::store<T>(ws.f + b * ws.entries + entry, length < limit ? value : zero);
                simd::store<T>(ws.d_f + b * ws.entries + entry,
                               length < limit ? bank.inverse_step[which] * slope : zero);
            }
        }
    }

    // ---- pairs of neighbours

    template <bool Few> ASE_MLIP_ALWAYS_INLINE void angles() {
        for (const auto& group : ws.groups) {
            for (int64_t entry = group.begin; entry < group.near_end; entry += L) {
                for (int64_t b = 0; b < model.g.channels; ++b) {
                    for (T* total : {ws.s, ws.vx, ws.vy, ws.vz}) {
                        simd::store<T>(total + b * ws.entries + entry, V{});
                    }
                }
                for (const auto& others : ws.groups) {
                    if (others.near_end > others.begin) {
                        with_group<Few>(entry, group, others);
                    }
                }
                finish_block(entry, group);
            }
        }
    }

    template <bool Few>
    ASE_MLIP_ALWAYS_INLINE void with_group(int64_t entry, const Group& group, const Group& others) {
        const Bank<T>& bank = model.g;
        const int64_t which =
            model.angle_cases[(type * model.species + others.type) * model.species + group.type];
        const V x = simd::load(ws.x + entry), y = simd::load(ws.y + entry), z = simd::load(ws.z + entry);
        for (int64_t j = others.begin; j < others.near_end; ++j) {
            V u;
            I piece;
            find(bank, which, x * ws.x[j] + y * ws.y[j] + z * ws.z[j], piece, u);
            simd::store(ws.u + j * L, u);
            std::memcpy(ws.pieces.data() + j * sizeof piece, &piece, sizeof piece);
        }
        for (int64_t b = 0; b < bank.channels; ++b) {
            const Powers<Few> powers(bank, which, b);
            const T* f = ws.f + b * ws.entries;
            V s = {}, vx = {}, vy = {}, vz = {};
            for (int64_t j = others.begin; j < others.near_end; ++j) {
                V value, slope;
                I piece;
                std::memcpy(&piece, ws.pieces.data() + j * sizeof piece, sizeof piece);
                powers.at(piece, simd::load(ws.u + j * L), value, slope);
                s += f[j] * value;
                slope *= f[j];
                vx += slope * ws.x[j];
                vy += slope * ws.y[j];
                vz += slope * ws.z[j];
            }
            const int64_t at = b * ws.entries + entry;
            const T inverse = bank.inverse_step[which];
            simd::store<T>(ws.s + at, simd::load(ws.s + at) + s);
            simd::store<T>(ws.vx + at, simd::load(ws.vx + at) + vx * inverse);
            simd::store<T>(ws.vy + at, simd::load(ws.vy + at) + vy * inverse);
            simd::store<T>(ws.vz + at, simd::load(ws.vz + at) + vz * inverse);
        }
    }

    /// Takes off what a neighbour gave with itself, and sums G3.
    ASE_MLIP_ALWAYS_INLINE void finish_block(int64_t entry, const Group& group) {
        const Bank<T>& bank = model.g;
        const int64_t which =
            model.angle_cases[(type * model.species + group.type) * model.species + group.type];
        for (int64_t b = 0; b < bank.channels; ++b) {
            const int64_t at = b * ws.entries + entry;
            const V f = simd::load(ws.f + at);
            const V s = simd::load(ws.s + at) - f * model.g_at_one[which * bank.channels + b];
            simd::store(ws.s + at, s);
            ws.g[model.rho.channels + b] += T(0.5) * simd::sum<T>(f * s);
        }
    }

    // ---- gradients

    /// factor dE/dr of every neighbour into `gradients` [n, 3]; those beyond the cutoff are left alone.
    ASE_MLIP_ALWAYS_INLINE void write(T factor, T* gradients) {
        const int64_t a_end = model.rho.channels, b_end = model.f.channels;
        for (const auto& group : ws.groups) {
            for (int64_t entry = group.begin; entry < group.end; entry += L) {
                V along = simd::load(ws.along + entry);
                V across[3] = {};
                for (int64_t a = 0; a < a_end; ++a) {
                    along += ws.w[a] * simd::load(ws.d_rho + a * ws.entries + entry);
                }
                for (int64_t b = 0; entry < group.near_end && b < b_end; ++b) {
                    const int64_t at = b * ws.entries + entry;
                    const T w = ws.w[a_end + b];
                    along += w * simd::load(ws.d_f + at) * simd::load(ws.s + at);
                    const V f = w * simd::load(ws.f + at);
                    across[0] += f * simd::load(ws.vx + at);
                    across[1] += f * simd::load(ws.vy + at);
                    across[2] += f * simd::load(ws.vz + at);
                }
                const V direction[3] = {simd::load(ws.x + entry), simd::load(ws.y + entry),
                                        simd::load(ws.z + entry)};
                V found[3];
                gradient(direction, simd::load(ws.inverse + entry), along, across, found);
                for (int64_t lane = 0; lane < L; ++lane) {
                    const int64_t edge = ws.edges[entry + lane];
                    for (int k = 0; edge >= 0 && k < 3; ++k) {
                        gradients[3 * edge + k] = factor * found[k][lane];
                    }
                }
            }
        }
    }

    /// The energy in eV; `weight` times its gradient is written.
    template <bool Few>
    ASE_MLIP_ALWAYS_INLINE T evaluate(const Neighbours<T>& neighbours, T weight, T* gradients) {
        ws.arrange(neighbours);
        if (ws.groups.back().end == 0) {
            return T(0); // exactly, where the constants taken off would leave rounding errors
        }
        std::fill(ws.g, ws.g + model.padded_features(), T(0));
        ws.find_directions();
        V pairs = {};
        radial<Few>(pairs);
        if (model.f.channels > 0) {
            angles<Few>();
        }
        const T energy = model.scale * (simd::sum<T>(pairs) + Readout<T>{model, ws, type}());
        write(weight * model.scale, gradients);
        return energy;
    }
};

} // namespace ase_mlip::snnp
