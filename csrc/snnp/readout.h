#pragma once
// From the features of a centre to its energy, and back to the gradient by the features: the embedding, the
// skip connection and the hidden layers. No libtorch in here.

#include "workspace.h"

namespace ase_mlip::snnp {

template <typename T, int W> struct Readout {
    using V = simd::Vector<T, W>;
    static constexpr int64_t L = simd::lanes<T, W>;

    const Model<T>& model;
    Workspace<T>& ws;
    int64_t type;

    /// The energy of the features `ws.g`; its gradient by them into `ws.w`.
    ASE_MLIP_ALWAYS_INLINE T operator()() const {
        const Network<T>& network = model.networks[model.network_cases[type]];
        const int64_t features = model.padded_features();
        T energy = T(0), extra = T(0);
        if (model.embedding.channels > 0) {
            T total = T(0);
            for (int64_t d = 0; d < model.features; ++d) {
                total += ws.g[d];
            }
            model.embedding.at(type, 0, total, energy, extra);
            energy -= model.embedding_at_zero[type];
        }
        V linear = {};
        for (int64_t d = 0; d < features; d += L) {
            const V skip = simd::load<W>(network.skip.data() + d);
            linear += skip * simd::load<W>(ws.g + d);
            simd::store(ws.w + d, skip + extra);
        }
        energy += simd::sum(linear);
        if (!network.hidden.empty()) {
            energy += through(network) - network.at_zero;
        }
        return energy;
    }

  private:
    /// The value of the hidden layers; adds their gradient to `ws.w`.
    ASE_MLIP_ALWAYS_INLINE T through(const Network<T>& network) const {
        const T* in = ws.g;
        T *out = ws.hidden, *slopes = ws.slopes;
        for (const Layer<T>& layer : network.hidden) {
            for (int64_t o = 0; o < layer.leave; o += L) {
                V sum = simd::load<W>(layer.bias.data() + o);
                for (int64_t i = 0; i < layer.inputs; ++i) {
                    sum += in[i] * simd::load<W>(layer.forward.data() + i * layer.leave + o);
                }
                V value, slope;
                silu(sum, simd::sigmoid(sum), value, slope);
                simd::store(out + o, value);
                simd::store(slopes + o, slope);
            }
            in = out;
            out += layer.leave;
            slopes += layer.leave;
        }
        const int64_t width = network.hidden.back().leave;
        V total = {};
        for (int64_t o = 0; o < width; o += L) {
            const V weight = simd::load<W>(network.last.data() + o);
            total += weight * simd::load<W>(in + o);
            simd::store(ws.back + o, weight);
        }
        backward(network, slopes);
        return simd::sum(total);
    }

    /// From the gradient by the last hidden values in `ws.back`; `slopes` points behind the last layer's.
    ASE_MLIP_ALWAYS_INLINE void backward(const Network<T>& network, const T* slopes) const {
        for (int64_t k = int64_t(network.hidden.size()) - 1; k >= 0; --k) {
            const Layer<T>& layer = network.hidden[k];
            slopes -= layer.leave;
            for (int64_t o = 0; o < layer.leave; o += L) {
                simd::store(ws.back + o, simd::load<W>(ws.back + o) * simd::load<W>(slopes + o));
            }
            T* to = k == 0 ? ws.w : ws.back + layer.leave;
            for (int64_t i = 0; i < layer.enter; i += L) {
                V sum = k == 0 ? simd::load<W>(ws.w + i) : V{};
                for (int64_t o = 0; o < layer.outputs; ++o) {
                    sum += ws.back[o] * simd::load<W>(layer.backward.data() + o * layer.enter + i);
                }
                simd::store(to + i, sum);
            }
            if (k > 0) {
                std::copy(to, to + layer.enter, ws.back);
            }
        }
    }
};

} // namespace ase_mlip::snnp
