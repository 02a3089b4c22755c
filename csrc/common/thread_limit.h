#pragma once
// What to say when the system refuses a thread, and a trial whether it would. No libtorch in here: the
// threads of the LAMMPS plugin use it, too.

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace ase_mlip {

[[noreturn]] inline void refuse_threads(int64_t count, const std::system_error& cause) {
    throw std::runtime_error(
        "threads: expected " + std::to_string(count) + " in this process, the system refused one (" +
        cause.code().message() +
        "); set OMP_NUM_THREADS to fewer, or raise the limits of the system (`ulimit -u`, "
        "`ulimit -v`, the number of processes of a container)");
}

/// Starts so many threads at once, counting the one that calls, and ends them. Throws std::runtime_error.
inline void try_threads(int64_t count) {
    std::mutex mutex;
    std::condition_variable all_there;
    bool there = false;
    std::vector<std::thread> others;
    const auto finish = [&] {
        {
            const std::lock_guard<std::mutex> lock(mutex);
            there = true;
        }
        all_there.notify_all();
        for (std::thread& other : others) {
            other.join();
        }
    };
    try {
        while (static_cast<int64_t>(others.size()) + 1 < count) {
            others.emplace_back([&] {
                std::unique_lock<std::mutex> lock(mutex);
                all_there.wait(lock, [&] { return there; });
            });
        }
    } catch (const std::system_error& cause) {
        finish();
        refuse_threads(count, cause);
    }
    finish();
}

} // namespace ase_mlip
