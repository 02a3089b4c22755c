#pragma once
// Energy and gradient of one centre of an s-NNP, on the vectors of simd/vectors.h: a lane is a neighbour.
// Everything is inlined into the job that `simd::run` compiles for each instruction set. No libtorch in here.

#include "../simd/lookup.h"
#include "readout.h"

namespace ase_mlip::snnp {

template <typename T, int W> struct Centre {
    using V = simd::Vector<T, W>;
    using I = simd::Integers<T, W>;
    static constexpr int64_t L = simd::lanes<T, W>;

    const Model<T>& model;
    Workspace<T>& ws;
    int64_t type;

    static ASE_MLIP_ALWAYS_INLINE V all(T value) { return V{} + value; }

    /// The powers of a spline's pieces: in registers if they are few and two vectors hold them.
    template <bool Few> struct Powers {
#if defined(__clang__) // has no shuffles by numbers that are not constant
        static constexpr bool held = false;
#else
        static constexpr bool held = Few && 2 * L >= kFewPieces;
#endif
        const T* rows;
        V low[4], high[4];

        ASE_MLIP_ALWAYS_INLINE Powers(const Bank<T>& bank, int64_t which, int64_t channel)
            : rows(bank.row(which, channel)) {
            if constexpr (held) {
                const T* table = bank.table(which, channel);
                for (int k = 0; k < 4; ++k) {
                    low[k] = simd::load<W>(table + k * bank.stride);
                    high[k] = simd::load<W>(table + k * bank.stride + (L < kFewPieces ? L : 0));
                }
            }
        }
        ASE_MLIP_ALWAYS_INLINE void at(I piece, V u, V& value, V& slope) const {
            V p[4] = {};
            if constexpr (held) {
                for (int k = 0; k < 4; ++k) {
                    p[k] = pick(k, piece);
                }
            } else {
                simd::look_up(rows, piece, p);
            }
            cubic(p, u, value, slope);
        }

      private:
#if !defined(__clang__)
        ASE_MLIP_ALWAYS_INLINE V pick(int power, I piece) const {
            if constexpr (L < kFewPieces) {
                return __builtin_shuffle(low[power], high[power], piece);
            } else {
                return __builtin_shuffle(low[power], piece);
            }
        }
#endif
    };

    /// The pieces of arguments x, and where on them these are.
    static ASE_MLIP_ALWAYS_INLINE void find(const Bank<T>& bank, int64_t which, V x, I& piece, V& u) {
        u = (x - bank.origin[which]) * bank.inverse_step[which] + T(1);
        const V zero = {}, last = all(bank.last[which]);
        V bounded = u > zero ? u : zero;
        bounded = bounded < last ? bounded : last;
        u -= simd::whole(bounded, piece);
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
                simd::store(ws.along + entry, V{});
            }
            return;
        }
        const int64_t which = model.pair_cases[type * model.species + group.type];
        const Powers<Few> powers(bank, which, 0);
        for (int64_t entry = group.begin; entry < group.end; entry += L) {
            I piece;
            V u, value, slope;
            find(bank, which, simd::load<W>(ws.length + entry), piece, u);
            powers.at(piece, u, value, slope);
            pairs += T(0.5) * value;
            simd::store(ws.along + entry, T(0.5) * bank.inverse_step[which] * slope);
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
                find(bank, which, simd::load<W>(ws.length + entry), piece, u);
                powers.at(piece, u, value, slope);
                total += value;
                simd::store(ws.d_rho + a * ws.entries + entry, bank.inverse_step[which] * slope);
            }
            ws.g[a] += simd::sum(total);
        }
    }

    template <bool Few> ASE_MLIP_ALWAYS_INLINE void radial_f(const Group& group) {
        const Bank<T>& bank = model.f;
        const int64_t which = model.radial_cases[type * model.species + group.type];
        const V limit = all(model.angular_cutoff);
        for (int64_t b = 0; b < bank.channels; ++b) {
            const Powers<Few> powers(bank, which, b);
            for (int64_t entry = group.begin; entry < group.near_end; entry += L) {
                const V length = simd::load<W>(ws.length + entry), zero = {};
                I piece;
                V u, value, slope;
                find(bank, which, length, piece, u);
                powers.at(piece, u, value, slope);
                simd::store(ws.f + b * ws.entries + entry, length < limit ? value : zero);
                simd::store(ws.d_f + b * ws.entries + entry,
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
                        simd::store(total + b * ws.entries + entry, V{});
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
        const V x = simd::load<W>(ws.x + entry), y = simd::load<W>(ws.y + entry),
                z = simd::load<W>(ws.z + entry);
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
                powers.at(piece, simd::load<W>(ws.u + j * L), value, slope);
                s += f[j] * value;
                slope *= f[j];
                vx += slope * ws.x[j];
                vy += slope * ws.y[j];
                vz += slope * ws.z[j];
            }
            const int64_t at = b * ws.entries + entry;
            const T inverse = bank.inverse_step[which];
            simd::store(ws.s + at, simd::load<W>(ws.s + at) + s);
            simd::store(ws.vx + at, simd::load<W>(ws.vx + at) + vx * inverse);
            simd::store(ws.vy + at, simd::load<W>(ws.vy + at) + vy * inverse);
            simd::store(ws.vz + at, simd::load<W>(ws.vz + at) + vz * inverse);
        }
    }

    /// Takes off what a neighbour gave with itself, and sums G3.
    ASE_MLIP_ALWAYS_INLINE void finish_block(int64_t entry, const Group& group) {
        const Bank<T>& bank = model.g;
        const int64_t which =
            model.angle_cases[(type * model.species + group.type) * model.species + group.type];
        for (int64_t b = 0; b < bank.channels; ++b) {
            const int64_t at = b * ws.entries + entry;
            const V f = simd::load<W>(ws.f + at);
            const V s = simd::load<W>(ws.s + at) - f * model.g_at_one[which * bank.channels + b];
            simd::store(ws.s + at, s);
            ws.g[model.rho.channels + b] += T(0.5) * simd::sum(f * s);
        }
    }

    // ---- gradients

    /// factor dE/dr of every neighbour into `gradients` [n, 3]; those beyond the cutoff are left alone.
    ASE_MLIP_ALWAYS_INLINE void write(T factor, T* gradients) {
        const int64_t a_end = model.rho.channels, b_end = model.f.channels;
        for (const auto& group : ws.groups) {
            for (int64_t entry = group.begin; entry < group.end; entry += L) {
                V along = simd::load<W>(ws.along + entry);
                V across[3] = {};
                for (int64_t a = 0; a < a_end; ++a) {
                    along += ws.w[a] * simd::load<W>(ws.d_rho + a * ws.entries + entry);
                }
                for (int64_t b = 0; entry < group.near_end && b < b_end; ++b) {
                    const int64_t at = b * ws.entries + entry;
                    const T w = ws.w[a_end + b];
                    along += w * simd::load<W>(ws.d_f + at) * simd::load<W>(ws.s + at);
                    const V f = w * simd::load<W>(ws.f + at);
                    across[0] += f * simd::load<W>(ws.vx + at);
                    across[1] += f * simd::load<W>(ws.vy + at);
                    across[2] += f * simd::load<W>(ws.vz + at);
                }
                const V direction[3] = {simd::load<W>(ws.x + entry), simd::load<W>(ws.y + entry),
                                        simd::load<W>(ws.z + entry)};
                V found[3];
                gradient(direction, simd::load<W>(ws.inverse + entry), along, across, found);
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
        ws.template arrange<W>(neighbours);
        if (ws.groups.back().end == 0) {
            return T(0); // exactly, where the constants taken off would leave rounding errors
        }
        std::fill(ws.g, ws.g + model.padded_features(), T(0));
        V pairs = {};
        radial<Few>(pairs);
        if (model.f.channels > 0) {
            angles<Few>();
        }
        const T energy = model.scale * (simd::sum(pairs) + Readout<T, W>{model, ws, type}());
        write(weight * model.scale, gradients);
        return energy;
    }
};

} // namespace ase_mlip::snnp
