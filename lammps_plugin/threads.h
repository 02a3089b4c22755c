#pragma once
// A few threads that wait for work, without OpenMP: libtorch, LAMMPS and its BLAS may each bring another one.

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

    int count() const { return static_cast<int>(others_.size()) + 1; }
    /// Calls job(0), job(1), ... job(count - 1), each on a thread of its own, and waits for them. What one of
    /// them throws is thrown here.
    void run(const std::function<void(int)>& job);

  private:
    void serve(int number);
    void end_all();
    void call(const std::function<void(int)>& job, int number);

    std::mutex mutex_;
    std::condition_variable begin_, end_;
    const std::function<void(int)>* job_ = nullptr;
    long turn_ = 0;
    int working_ = 0;
    bool stop_ = false;
    std::exception_ptr failure_;
    std::vector<std::thread> others_;
};

} // namespace mlip
