#include "ghost_sums.h"

#include "atom.h"
#include "comm.h"
#include "pair.h"

#include <algorithm>

namespace mlip {

void GhostSums::add_to_owners(int width) {
    width_ = width;
    comm->reverse_comm(&pair_, width);
}

const double* GhostSums::of_nodes(const DomainTopology& nodes, const double* numbers, int width) {
    if (comm->nprocs == 1) {
        return nullptr;
    }
    // one more: a pointer to no element may be null
    values.assign(static_cast<size_t>(width) * (atom->nlocal + atom->nghost) + 1, 0.0);
    const auto n_nodes = static_cast<int64_t>(nodes.atom_of_node.size());
    for (int64_t node = nodes.topology.n_owned; node < n_nodes; ++node) {
        const auto i = static_cast<ptrdiff_t>(nodes.atom_of_node[node]);
        std::copy_n(numbers + width * node, width, values.begin() + width * i);
    }
    add_to_owners(width);
    return values.data();
}

int GhostSums::pack(int n, int first, double* buffer) const {
    const size_t count = static_cast<size_t>(n) * width_;
    std::copy_n(values.begin() + static_cast<ptrdiff_t>(first) * width_, count, buffer);
    return static_cast<int>(count);
}

void GhostSums::unpack(int n, const int* list, const double* buffer) {
    for (int k = 0; k < n; ++k) {
        for (int w = 0; w < width_; ++w) {
            values[static_cast<size_t>(list[k]) * width_ + w] += *buffer++;
        }
    }
}

} // namespace mlip
