#pragma once
// The threads of the native kernel: those of the OpenMP run time that LAMMPS has brought, so that they are
// also those of LAMMPS' own threaded styles and of libtorch; without one, a few of our own that wait for
// work.

#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace mlip {

class Threads {
  public:
    /// `count` with the one that calls. Throws std::runtime_error if the system refuses one.
    explicit Threads(int count);
    ~Threads();
    Threads(const Threads&) = delete;
    Threads& operator=(const Threads&) = delete;

    int count() const { return count_; }
    /// Calls job(0), job(1), ... job(count - 1), each on a thread of its own if OpenMP gives as many, and
    /// waits for them. What one of them throws is thrown here.
    void run(const std::function<void(int)>& job);

  private:
    void run_with_openmp(const std::function<void(int)>& job);
    void run_with_own(const std::function<void(int)>& job);
    void serve(int number);
    void call(const std::function<void(int)>& job, int number);
    void end_all();

    const int count_;
    std::mutex mutex_;
    std::condition_variable begin_, end_;
    const std::function<void(int)>* job_ = nullptr;
    long turn_ = 0;
    int working_ = 0;
    bool stop_ = false;
    std::exception_ptr failure_;
    std::vector<std::thread> others_; // none with OpenMP
};

} // namespace mlip
