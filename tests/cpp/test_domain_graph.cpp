// Both ways of making the graph of a step, plain loops and tensor operations, on one topology: the same
// graph?
//
//   test_domain_graph TOPOLOGY POSITIONS CUTOFF RANGE [Z1 Z2 CUTOFF]

#include "read_topology.h"
#include "torch_side/domain_graph.cpp"

#include <ATen/Parallel.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>

namespace {

int failures = 0;

void expect(bool passed, const char* what) {
    std::printf("%s  %s\n", passed ? "ok  " : "FAIL", what);
    failures += passed ? 0 : 1;
}

template <typename Call> double milliseconds(Call&& call) {
    const auto start = std::chrono::steady_clock::now();
    constexpr int repeats = 5;
    for (int k = 0; k < repeats; ++k) {
        call();
    }
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count() /
           repeats;
}

} // namespace

int main(int count, char** arguments) {
    if (count != 5 && count != 8) {
        std::fprintf(stderr, "usage: %s TOPOLOGY POSITIONS CUTOFF RANGE [Z1 Z2 CUTOFF]\n", arguments[0]);
        return EXIT_FAILURE;
    }
    at::set_num_threads(1);
    const mlip::Topology topology = read_topology(arguments[1]);
    std::ifstream stream(arguments[2], std::ios::binary);
    const auto positions = read_numbers<double>(stream, 3 * topology.n_all);
    mlip::Description model;
    model.cutoff = std::atof(arguments[3]);
    model.interaction_range = std::atof(arguments[4]);
    if (count == 8) {
        model.pair_cutoffs.push_back(
            {std::atoi(arguments[5]), std::atoi(arguments[6]), std::atof(arguments[7])});
    }
    mlip::DomainGraph domain(model, at::kCPU);
    domain.set_topology(topology);
    domain.copy_to_device();
    const mlip::Graph loops = domain.build_with_loops(positions.data());
    const mlip::Graph tensors = domain.build_with_tensors(positions.data());
    expect(loops.edge_index.size(1) > 0, "there are edges");
    expect(at::equal(loops.edge_index, tensors.edge_index), "edge_index");
    expect(at::equal(loops.edge_vectors, tensors.edge_vectors), "edge_vectors");
    expect(at::equal(loops.reverse_edges, tensors.reverse_edges), "reverse_edges");
    std::printf("%ld pairs, %ld edges; loops %.2f ms, tensors %.2f ms\n",
                static_cast<long>(topology.centre.size()), static_cast<long>(loops.edge_index.size(1)),
                milliseconds([&] { domain.build_with_loops(positions.data()); }),
                milliseconds([&] { domain.build_with_tensors(positions.data()); }));
    return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
