#pragma once
// Sums over edges on a CPU, whose time falls with the number of threads and whose numbers do not depend on
// it.
//
// A row gets what its edges give in two passes, as centre and as neighbour. Every thread works through parts
// of the edges. As centre the edges of a row stand together: only the first and the last row of a part can
// have edges in another one. As neighbour each part has sums of its own, which are then added in the order of
// the parts. The parts are the same for any number of threads, so a row's numbers are always added in one
// order. (Sorting the edges by neighbour first moves three times the memory: two threads gained nothing.)

#include "../common/parallel.h"

#include <algorithm>
#include <memory>
#include <vector>

namespace ase_mlip::cpu {

constexpr int64_t kEdgesPerChunk = 8192;
constexpr int64_t kEdgesPerPart = 32768; // of the sums to neighbours
constexpr int64_t kMostParts = 32;       // each may need as much memory as the rows
constexpr int64_t kRowsPerBlock = 64;

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

/// What one part of the edges gives to rows [n, width]. Only the blocks of rows that it reaches are cleared
/// and added, as a part of the edges of a large system reaches few of them.
template <typename T, int width> class PartialRows {
  public:
    explicit PartialRows(int64_t n_rows)
        : n_rows_(n_rows), reached_(chunks_of(n_rows, kRowsPerBlock)),
          sums_(std::make_unique_for_overwrite<T[]>(width * kRowsPerBlock * reached_.size())) {}

    template <typename Value> void add(const Value& value, const int64_t* index, int64_t begin, int64_t end) {
        for (int64_t edge = begin; edge < end; ++edge) {
            const int64_t row = index[edge], block = row / kRowsPerBlock;
            T* to = sums_.get() + width * row;
            if (!reached_[block]) {
                reached_[block] = 1;
                std::fill_n(sums_.get() + width * kRowsPerBlock * block, width * kRowsPerBlock, T(0));
            }
            for (int k = 0; k < width; ++k) {
                to[k] += value(edge, k);
            }
        }
    }

    /// Adds a block to its rows, and forgets it.
    void move_to(T* rows, int64_t block) {
        if (reached_[block]) {
            const int64_t end = width * std::min(n_rows_, kRowsPerBlock * (block + 1));
            for (int64_t n = width * kRowsPerBlock * block; n < end; ++n) {
                rows[n] += sums_[n];
            }
            reached_[block] = 0;
        }
    }

  private:
    int64_t n_rows_;
    std::vector<char> reached_;
    std::unique_ptr<T[]> sums_;
};

/// The same for an `index` in any order, whose numbers lie in [0, n_rows).
template <typename T, int width, typename Value>
void add_unsorted(const Value& value, const int64_t* index, int64_t n_edges, T* rows, int64_t n_rows) {
    const int64_t size = std::max(kEdgesPerPart, chunks_of(n_edges, kMostParts));
    const int64_t blocks = chunks_of(n_rows, kRowsPerBlock);
    if (n_edges <= size || at::in_parallel_region() || at::get_num_threads() == 1) {
        PartialRows<T, width> sums(n_edges == 0 ? 0 : n_rows); // one for all parts stays in the cache
        for (int64_t begin = 0; begin < n_edges; begin += size) {
            sums.add(value, index, begin, std::min(n_edges, begin + size));
            for (int64_t block = 0; block < blocks; ++block) {
                sums.move_to(rows, block);
            }
        }
        return;
    }
    std::vector<PartialRows<T, width>> parts;
    for (int64_t part = 0; part < chunks_of(n_edges, size); ++part) {
        parts.emplace_back(n_rows);
    }
    parallel_chunks(n_edges, size, [&](int64_t part, int64_t begin, int64_t end) {
        parts[part].add(value, index, begin, end);
    });
    parallel_for(blocks, 16, [&](int64_t begin, int64_t end) {
        for (PartialRows<T, width>& part : parts) {
            for (int64_t block = begin; block < end; ++block) {
                part.move_to(rows, block);
            }
        }
    });
}

} // namespace ase_mlip::cpu
