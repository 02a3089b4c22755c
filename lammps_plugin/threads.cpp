#include "threads.h"

#include "../csrc/thread_limit.h"

#include <utility>

namespace mlip {

Threads::Threads(int count) {
    try {
        for (int number = 1; number < count; ++number) {
            others_.emplace_back([this, number] { serve(number); });
        }
    } catch (const std::system_error& cause) {
        end_all(); // a thread that is destroyed while it runs would end the process
        ase_mlip::refuse_threads(count, cause);
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
    if (others_.empty()) {
        job(0);
        return;
    }
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
    if (failure_) {
        std::rethrow_exception(std::exchange(failure_, nullptr));
    }
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
