// The ranks agree on the device, and on an error, whatever each of them found: run with 1 and with 2 ranks.
// tests/lammps/test_devices.py compiles and starts it.

#include "communication/agreement.h"

#include <cstdio>
#include <stdexcept>
#include <vector>

namespace {

using mlip::Attempt;

int failures = 0;

void expect(bool condition, const char* what) {
    if (!condition) {
        ++failures;
        std::printf("FAIL %s\n", what);
    }
}

struct Case {
    const char* name;
    Attempt attempts[2]; // of rank 0 and 1
    const char* reasons[2];
    bool all_on_cpu;
    const char* reason;
};

constexpr const char* kNone = "torch sees no GPU";
const std::vector<Case> kTwoRanks{
    {"both have GPUs", {Attempt::took_gpu, Attempt::took_gpu}, {"", ""}, false, ""},
    {"neither has", {Attempt::took_cpu, Attempt::took_cpu}, {kNone, kNone}, true, kNone},
    {"the second has none",
     {Attempt::took_gpu, Attempt::took_cpu},
     {"", kNone},
     true,
     "rank 1: torch sees no GPU, and all ranks take the same kind"},
    {"the first fails",
     {Attempt::failed, Attempt::took_gpu},
     {"self-test", ""},
     true,
     "rank 0: self-test, and all ranks take the same kind"},
    {"both fail", {Attempt::failed, Attempt::failed}, {"first", "second"}, true, "rank 0: first"},
    {"one fails, one has none",
     {Attempt::took_cpu, Attempt::failed},
     {kNone, "second"},
     true,
     "torch sees no GPU"},
    {"an explicit device has no say",
     {Attempt::explicit_device, Attempt::took_gpu},
     {"anything", ""},
     false,
     ""},
};

void check_two_ranks(int rank) {
    for (const Case& each : kTwoRanks) {
        const mlip::Decision found = mlip::agree(each.attempts[rank], each.reasons[rank], MPI_COMM_WORLD);
        expect(found.all_on_cpu == each.all_on_cpu && found.reason == each.reason, each.name);
    }
    const std::string mine = rank == 1 ? "`a.pt`: no such file" : "";
    expect(mlip::first_problem(mine, MPI_COMM_WORLD) == "`a.pt`: no such file", "one rank's problem");
    expect(mlip::first_problem(rank == 0 ? "first" : "second", MPI_COMM_WORLD) == "first", "two problems");
}

void check_choice() {
    expect(mlip::device_to_try("auto", 0, 3) == "cpu", "auto without GPUs");
    expect(mlip::device_to_try("auto", 2, 3) == "cuda:1", "auto gives GPUs in turn");
    expect(mlip::device_to_try("cuda", 2, 2) == "cuda:0", "cuda gives GPUs in turn");
    expect(mlip::device_to_try("cuda:1", 2, 0) == "cuda:1", "one by its number");
    expect(mlip::device_to_try("cpu", 2, 0) == "cpu", "the CPU");
    for (const char* wrong : {"gpu", "cuda:", "cuda:x", "cuda:2", "cuda:12345"}) {
        bool refused = false;
        try {
            mlip::device_to_try(wrong, 2, 0);
        } catch (const std::runtime_error&) {
            refused = true;
        }
        expect(refused, wrong);
    }
}

} // namespace

int main(int argc, char** argv) {
    MPI_Init(&argc, &argv);
    int rank = 0, ranks = 1;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    check_choice();
    if (ranks == 2) {
        check_two_ranks(rank);
    } else {
        const mlip::Decision found = mlip::agree(Attempt::failed, "self-test", MPI_COMM_WORLD);
        expect(found.all_on_cpu && found.reason == "self-test", "one rank fails");
        expect(mlip::first_problem("", MPI_COMM_WORLD).empty(), "no problem");
    }
    std::printf("rank %d of %d: %d failures\n", rank, ranks, failures);
    MPI_Finalize();
    return failures;
}
