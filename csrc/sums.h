#pragma once
// Sums over edges on a CPU, whose time falls with the number of threads and whose numbers do not depend on
// it.
//
// A row gets what its edges give in two passes. As centre: the edges of a row stand together, and every
// thread works through chunks of edges. As neighbour: a counting sort first brings together the edges of a
// block of rows, each block in the order of the edges, and every thread works through blocks. Both add the
// numbers of a row in one order always.

#include "parallel.h"

#include <memory>
#include <vector>

namespace ase_mlip::cpu {

constexpr int64_t kEdgesPerChunk = 4096;
constexpr int64_t kMostBlocks = 64;

/// What a run of edges with one index gives to the row of this number, if other chunks may have a part in it.
template <typename T, int width> struct Part {
    int64_t row = -1;
    T sum[width] = {};
};

/// rows[index[e]] += value(e, k) for rows [n, width], where `index` never decreases.
template <typename T, int width, typename Value>
void add_sorted(const Value& value, const int64_t* index, int64_t n_edges, T* rows) {
    std::vector<Part<T, width>> parts(2 * chunks_of(n_edges, kEdgesPerChunk)); // first and last run of each
    parallel_chunks(n_edges, kEdgesPerChunk, [&](int64_t chunk, int64_t begin, int64_t end) {
        for (int64_t edge = begin; edge < end;) {
            const int64_t first = edge, row = index[edge];
            T sum[width] = {};
            for (; edge < end && index[edge] == row; ++edge) {
                for (int k = 0; k < width; ++k) {
                    sum[k] += value(edge, k);
                }
            }
            const bool shared = first == begin || edge == end;
            Part<T, width>& part = parts[2 * chunk + (first == begin ? 0 : 1)];
            part.row = shared ? row : part.row;
            T* to = shared ? part.sum : rows + width * row;
            for (int k = 0; k < width; ++k) {
                to[k] += sum[k];
            }
        }
    });
    for (const Part<T, width>& part : parts) {
        for (int k = 0; part.row >= 0 && k < width; ++k) {
            rows[width * part.row + k] += part.sum[k];
        }
    }
}

/// Numbers of edges, sorted by the block of rows they belong to.
class EdgesByBlock {
  public:
    EdgesByBlock(const int64_t* index, int64_t n_edges, int64_t n_rows)
        : edges_(std::make_unique_for_overwrite<int64_t[]>(n_edges)) {
        while ((n_rows >> shift_) >= kMostBlocks) {
            ++shift_;
        }
        blocks_ = n_rows == 0 ? 0 : ((n_rows - 1) >> shift_) + 1;
        const int64_t size = std::max(kEdgesPerChunk, chunks_of(n_edges, kMostBlocks));
        const int64_t chunks = chunks_of(n_edges, size);
        std::vector<int64_t> next(chunks * blocks_); // place of the next edge of a chunk in a block
        parallel_chunks(n_edges, size, [&](int64_t chunk, int64_t begin, int64_t end) {
            for (int64_t edge = begin; edge < end; ++edge) {
                ++next[chunk * blocks_ + (index[edge] >> shift_)];
            }
        });
        int64_t sum = 0;
        for (int64_t block = 0; block < blocks_; ++block) {
            first_.push_back(sum);
            for (int64_t chunk = 0; chunk < chunks; ++chunk) {
                const int64_t count = next[chunk * blocks_ + block];
                next[chunk * blocks_ + block] = sum;
                sum += count;
            }
        }
        first_.push_back(sum);
        parallel_chunks(n_edges, size, [&](int64_t chunk, int64_t begin, int64_t end) {
            for (int64_t edge = begin; edge < end; ++edge) {
                edges_[next[chunk * blocks_ + (index[edge] >> shift_)]++] = edge;
            }
        });
    }

    /// Calls job(edge) for all edges, those of a row always by one thread and in their order.
    template <typename Job> void for_each(const Job& job) const {
        parallel_for(blocks_, 1, [&](int64_t begin, int64_t end) {
            for (int64_t n = first_[begin]; n < first_[end]; ++n) {
                job(edges_[n]);
            }
        });
    }

  private:
    int64_t blocks_ = 0;
    int shift_ = 0;
    std::vector<int64_t> first_; // [blocks + 1]
    std::unique_ptr<int64_t[]> edges_;
};

/// The same for an `index` in any order, whose numbers lie in [0, n_rows).
template <typename T, int width, typename Value>
void add_unsorted(const Value& value, const int64_t* index, int64_t n_edges, T* rows, int64_t n_rows) {
    const auto add = [&](int64_t edge) {
        T* to = rows + width * index[edge];
        for (int k = 0; k < width; ++k) {
            to[k] += value(edge, k);
        }
    };
    if (n_edges <= kEdgesPerChunk || at::get_num_threads() == 1) {
        for (int64_t edge = 0; edge < n_edges; ++edge) {
            add(edge);
        }
        return;
    }
    EdgesByBlock(index, n_edges, n_rows).for_each(add);
}

} // namespace ase_mlip::cpu
