#pragma once
// Where the evaluation of a centre keeps its neighbours and what it finds for them. No libtorch in here.

#include "model.h"

namespace ase_mlip::snnp {

/// Neighbours of a centre by species, and in each species the near ones (those with angles) first; every
/// species begins a new vector. What stands between is padding without any influence.
template <typename T> struct Workspace {
    struct Group {
        int64_t type, begin, near_end, end; // entries; `end` includes padding
    };
    std::vector<Group> groups;
    std::vector<int64_t> edges; // [M] edge of an entry, -1 for padding
    std::vector<T> numbers;
    T *x, *y, *z, *length, *inverse;   // [M]
    T* along;                          // [M] 1/2 phi', then the whole part along the direction
    T* d_rho;                          // [A, M]
    T *f, *d_f, *s, *vx, *vy, *vz;     // [B, M]
    T* u;                              // [M, lanes]
    std::vector<unsigned char> pieces; // [M] vectors of numbers of pieces
    T *g, *w, *hidden, *slopes, *back; // features, dE/dG, what the network needs
    int64_t entries = 0;

    /// Makes room for centres with up to `neighbours` neighbours.
    Workspace(const Model<T>& model, int64_t neighbours) {
        const int64_t lanes = simd::lanes<T>;
        entries = round_up(neighbours, lanes) + model.species * lanes;
        groups.resize(model.species);
        edges.resize(entries);
        pieces.resize(entries * sizeof(typename simd::Lanes<T>::integers));
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
        numbers.assign((6 + a + 6 * b + lanes) * entries + 2 * features + 2 * widths + 2 * width, T(0));
        T* next = numbers.data();
        const auto take = [&next](int64_t count) {
            T* taken = next;
            next += count;
            return taken;
        };
        for (T** one : {&x, &y, &z, &length, &inverse, &along}) {
            *one = take(entries);
        }
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
