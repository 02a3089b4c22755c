#pragma once
// The neighbours of a centre in the order in which an s-NNP goes through them. No libtorch in here.

#include "../simd/aligned.h"
#include "model.h"

namespace ase_mlip::snnp {

/// The centre's neighbours as the caller has them; vectors from the centre in Å, [n, 3].
template <typename T> struct Neighbours {
    int64_t count;
    const T* vectors;
    const int64_t* types;
};

/// Neighbours of a centre by species, and in each species the near ones (those with angles) first; every
/// species begins a new vector. What stands between is padding without any influence. One that was arranged
/// for wide vectors serves narrower ones as well.
template <typename T> struct Arrangement {
    struct Group {
        int64_t type, begin, near_end, far_end, end; // entries; those from `far_end` on are padding
    };
    std::vector<Group> groups;
    std::vector<int64_t> edges;      // [M] edge of an entry, -1 for padding
    int64_t most, entries;           // neighbours there is room for; M
    T *x, *y, *z, *length, *inverse; // [M] directions; Å; 1/Å

    /// Makes room for centres with up to `neighbours` neighbours.
    Arrangement(int64_t species, T cutoff, T angular_cutoff, int64_t neighbours)
        : groups(species), most(neighbours),
          entries(round_up(neighbours, simd::most_lanes<T>) + species * simd::most_lanes<T>),
          far_(cutoff * cutoff), near_(angular_cutoff * angular_cutoff) {
        edges.resize(entries);
        places_.assign(5 * entries, T(0));
        T* next = places_.data();
        for (T** one : {&x, &y, &z, &length, &inverse}) {
            *one = next;
            next += entries;
        }
    }
    Arrangement(const Arrangement&) = delete;
    Arrangement& operator=(const Arrangement&) = delete;

    /// Takes neighbours in.
    template <int W> ASE_MLIP_ALWAYS_INLINE void arrange(const Neighbours<T>& neighbours) {
        place(neighbours, simd::lanes<T, W>);
        find_directions<W>();
    }

  private:
    static ASE_MLIP_ALWAYS_INLINE T square(const T* v) { return v[0] * v[0] + v[1] * v[1] + v[2] * v[2]; }

    /// Every species begins with a multiple of `lanes`.
    ASE_MLIP_ALWAYS_INLINE void place(const Neighbours<T>& neighbours, int64_t lanes) {
        count(neighbours);
        int64_t entry = 0;
        for (size_t t = 0; t < groups.size(); ++t) {
            Group& group = groups[t];
            const int64_t near_end = entry + group.near_end, far_end = entry + group.far_end;
            group = {static_cast<int64_t>(t), entry, entry, near_end, round_up(far_end, lanes)};
            pad(far_end, group.end);
            entry = group.end;
        }
        for (int64_t k = 0; k < neighbours.count; ++k) { // `near_end` and `far_end` count up to what they are
            const T* v = neighbours.vectors + 3 * k;
            const T squared = square(v);
            Group& group = groups[neighbours.types[k]];
            if (squared < near_) {
                fill(group.near_end++, k, v, squared);
            } else if (squared < far_) {
                fill(group.far_end++, k, v, squared);
            }
        }
    }

    template <int W> ASE_MLIP_ALWAYS_INLINE void find_directions() {
        using V = simd::Vector<T, W>;
        constexpr int64_t L = simd::lanes<T, W>;
        for (int64_t entry = 0; entry < groups.back().end; entry += L) {
            // the smallest number keeps an edge without length finite
            const V squared = simd::load<W>(length + entry) + T(1e-30);
            V root = {};
            for (int64_t lane = 0; lane < L; ++lane) {
                root[lane] = std::sqrt(squared[lane]);
            }
            const V inverted = T(1) / root;
            simd::store(length + entry, root);
            simd::store(inverse + entry, inverted);
            for (T* component : {x, y, z}) {
                simd::store(component + entry, simd::load<W>(component + entry) * inverted);
            }
        }
    }

    /// The near ones and all of each species into `near_end` and `far_end`.
    ASE_MLIP_ALWAYS_INLINE void count(const Neighbours<T>& neighbours) {
        for (Group& group : groups) {
            group.near_end = group.far_end = 0;
        }
        for (int64_t k = 0; k < neighbours.count; ++k) {
            const T squared = square(neighbours.vectors + 3 * k);
            Group& group = groups[neighbours.types[k]];
            group.near_end += squared < near_;
            group.far_end += squared < far_;
        }
    }

    ASE_MLIP_ALWAYS_INLINE void fill(int64_t entry, int64_t edge, const T* v, T squared) {
        edges[entry] = edge;
        x[entry] = v[0];
        y[entry] = v[1];
        z[entry] = v[2];
        length[entry] = squared;
    }
    ASE_MLIP_ALWAYS_INLINE void pad(int64_t begin, int64_t end) {
        for (int64_t entry = begin; entry < end; ++entry) {
            edges[entry] = -1;
            x[entry] = y[entry] = z[entry] = T(0);
            length[entry] = far_;
        }
    }

    T far_, near_; // squares of the cutoffs, Å^2
    simd::Numbers<T> places_;
};

} // namespace ase_mlip::snnp
