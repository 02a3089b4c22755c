#pragma once
// How many threads libtorch takes for one call.

#include <ATen/Parallel.h>

namespace mlip {

/// libtorch has `count` threads while this lives, and then as many as before: the number belongs to the
/// OpenMP run time, which LAMMPS' own threaded styles share, and they rely on having as many threads as
/// arrays.
class TorchThreads {
  public:
    explicit TorchThreads(int count) : before_(at::get_num_threads()) { set(count); }
    ~TorchThreads() { set(before_); }
    TorchThreads(const TorchThreads&) = delete;
    TorchThreads& operator=(const TorchThreads&) = delete;

  private:
    static void set(int count) {
        if (at::get_num_threads() != count) {
            at::set_num_threads(count);
        }
    }

    int before_;
};

} // namespace mlip
