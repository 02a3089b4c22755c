#pragma once
// Where the evaluation of a centre keeps its neighbours and what it finds for them. No libtorch in here.

#include "arrangement.h"

namespace ase_mlip::snnp {

/// A centre's neighbours, and what belongs to them.
template <typename T> struct Workspace : Arrangement<T> {
    simd::Numbers<T> numbers;
    T* along;                          // [M] 1/2 phi', then the whole part along the direction
    T* d_rho;                          // [A, M]
    T *f, *d_f, *s, *vx, *vy, *vz;     // [B, M]
    T* u;                              // [M, lanes of the widest vectors]
    std::vector<unsigned char> pieces; // [M] widest vectors of numbers of pieces
    T *g, *w, *hidden, *slopes, *back; // features, dE/dG, what the network needs

    /// Makes room for centres with up to `neighbours` neighbours.
    Workspace(const Model<T>& model, int64_t neighbours)
        : Arrangement<T>(model.species, model.cutoff, model.angular_cutoff, neighbours) {
        const int64_t lanes = simd::most_lanes<T>, entries = this->entries;
        pieces.resize(entries * simd::kWidest);
        int64_t width = model.padded_features(), widths = 0;
        for (const Network<T>& network : model.networks) {
            int64_t sum = 0;
            for (const Layer<T>& layer : network.hidden) {
                width = std::max(width, layer.leave);
                sum += layer.leave;
            }
            widths = std::max(widths, sum);
        }
        const int64_t a = model.rho.channels, b = model.f.channels;
        const int64_t features = model.padded_features();
        numbers.assign((1 + a + 6 * b + lanes) * entries + 2 * features + 2 * widths + 2 * width, T(0));
        T* next = numbers.data();
        const auto take = [&next](int64_t count) {
            T* taken = next;
            next += count;
            return taken;
        };
        along = take(entries);
        d_rho = take(a * entries);
        for (T** many : {&f, &d_f, &s, &vx, &vy, &vz}) {
            *many = take(b * entries);
        }
        u = take(lanes * entries);
        g = take(features);
        w = take(features);
        hidden = take(widths);
        slopes = take(widths);
        back = take(2 * width);
    }
};

} // namespace ase_mlip::snnp
