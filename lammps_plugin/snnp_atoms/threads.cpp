#include "threads.h"

#include "../../csrc/common/thread_limit.h"

#include <utility>

// What GCC makes of `#pragma omp parallel`; the run times of LLVM and Intel have it, too. Null in a process
// without any: this library links none, so that it never brings a second one.
extern "C" {
void GOMP_parallel(void (*function)(void*), void* data, unsigned threads, unsigned flags)
    __attribute__((weak));
int omp_get_thread_num() __attribute__((weak));
int omp_get_num_threads() __attribute__((weak));
}

namespace mlip {
namespace {

bool has_openmp() {
    return GOMP_parallel != nullptr && omp_get_thread_num != nullptr && omp_get_num_threads != nullptr;
}

} // namespace

Threads::Threads(int count) : count_(count < 1 ? 1 : count) {
    if (has_openmp()) {
        ase_mlip::try_threads(count_); // libgomp ends the process if it cannot make one
        return;
    }
    try {
        for (int number = 1; number < count_; ++number) {
            others_.emplace_back([this, number] { serve(number); });
        }
    } catch (const std::system_error& cause) {
        end_all(); // a thread that is destroyed while it runs would end the process
        ase_mlip::refuse_threads(count_, cause);
    }
}

Threads::~Threads() { end_all(); }

void Threads::end_all() {
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        stop_ = true;
    }
    begin_.notify_all();
    for (std::thread& thread : others_) {
        thread.join();
    }
}

void Threads::run(const std::function<void(int)>& job) {
    if (count_ == 1) {
        job(0);
        return;
    }
    if (has_openmp()) {
        run_with_openmp(job);
    } else {
        run_with_own(job);
    }
    if (failure_) {
        std::rethrow_exception(std::exchange(failure_, nullptr));
    }
}

void Threads::run_with_openmp(const std::function<void(int)>& job) {
    std::pair<Threads*, const std::function<void(int)>*> given{this, &job};
    const auto work = [](void* data) {
        const auto [threads, wanted] = *static_cast<decltype(given)*>(data);
        for (int number = omp_get_thread_num(); number < threads->count_; number += omp_get_num_threads()) {
            threads->call(*wanted, number);
        }
    };
    GOMP_parallel(work, &given, static_cast<unsigned>(count_), 0);
}

void Threads::run_with_own(const std::function<void(int)>& job) {
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        job_ = &job;
        ++turn_;
        working_ = static_cast<int>(others_.size());
    }
    begin_.notify_all();
    call(job, 0);
    std::unique_lock<std::mutex> lock(mutex_);
    end_.wait(lock, [this] { return working_ == 0; });
}

void Threads::call(const std::function<void(int)>& job, int number) {
    try {
        job(number);
    } catch (...) {
        const std::lock_guard<std::mutex> lock(mutex_);
        failure_ = std::current_exception();
    }
}

void Threads::serve(int number) {
    long done = 0;
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
        begin_.wait(lock, [&] { return stop_ || turn_ != done; });
        if (stop_) {
            return;
        }
        done = turn_;
        const std::function<void(int)>* job = job_;
        lock.unlock();
        call(*job, number);
        lock.lock();
        if (--working_ == 0) {
            end_.notify_one();
        }
    }
}

} // namespace mlip
