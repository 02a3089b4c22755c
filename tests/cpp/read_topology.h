#pragma once
// Files of the tests: numbers as numpy's tofile writes them.

#include "both_sides/evaluator.h"

#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

template <typename Number> std::vector<Number> read_numbers(std::istream& stream, size_t count) {
    std::vector<Number> values(count);
    stream.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(count * sizeof(Number)));
    if (!stream) {
        throw std::runtime_error("a file of the test is missing or too short");
    }
    return values;
}

/// n_owned, n_all, n_nodes, n_edges; then the lists in the order of the struct, all int64.
inline mlip::Topology read_topology(const std::string& path) {
    std::ifstream stream(path, std::ios::binary);
    const auto sizes = read_numbers<int64_t>(stream, 4);
    mlip::Topology topology;
    topology.n_owned = sizes[0];
    topology.n_all = sizes[1];
    topology.species = read_numbers<int64_t>(stream, sizes[2]);
    for (auto* list : {&topology.centre, &topology.neighbour, &topology.centre_atom, &topology.neighbour_atom,
                       &topology.reverse}) {
        *list = read_numbers<int64_t>(stream, sizes[3]);
    }
    return topology;
}
