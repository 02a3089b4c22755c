#pragma once
// Forces of a direct head do not add up to zero; without their net force the centre of mass stays at rest.

#include "../domain/topology.h"

#include <mpi.h>

#include <vector>

namespace mlip {

/// Takes from the forces of all ranks' owned nodes their mean, column by column of `width` (three, or three
/// for each sample). The forces of a node stand in row `row_of(node)` of [rows, width]. Collective.
template <typename RowOf>
void remove_net_force(std::vector<double>& forces, int width, int64_t n_owned, const RowOf& row_of,
                      MPI_Comm world) {
    std::vector<double> sums(width + 1, 0.0);
    sums[width] = static_cast<double>(n_owned);
    for (int64_t node = 0; node < n_owned; ++node) {
        const double* of_node = forces.data() + width * static_cast<int64_t>(row_of(node));
        for (int k = 0; k < width; ++k) {
            sums[k] += of_node[k];
        }
    }
    MPI_Allreduce(MPI_IN_PLACE, sums.data(), width + 1, MPI_DOUBLE, MPI_SUM, world);
    for (int64_t node = 0; node < n_owned; ++node) {
        double* of_node = forces.data() + width * static_cast<int64_t>(row_of(node));
        for (int k = 0; k < width; ++k) {
            of_node[k] -= sums[k] / sums[width];
        }
    }
}

} // namespace mlip
