#pragma once
// What the ranks find out together. Every function is collective: all ranks call it, whatever happened to
// them.

#include "../both_sides/device_policy.h"

#include <mpi.h>

#include <string>

namespace mlip {

/// The text of one rank on all of them.
inline std::string text_of(int rank, std::string text, MPI_Comm world) {
    int length = static_cast<int>(text.size());
    MPI_Bcast(&length, 1, MPI_INT, rank, world);
    text.resize(length);
    MPI_Bcast(text.data(), length, MPI_CHAR, rank, world);
    return text;
}

/// The first rank for which it is true, or the number of ranks if there is none.
inline int first_rank(bool mine, MPI_Comm world) {
    int rank = 0, ranks = 1, first = 0;
    MPI_Comm_rank(world, &rank);
    MPI_Comm_size(world, &ranks);
    const int candidate = mine ? rank : ranks;
    MPI_Allreduce(&candidate, &first, 1, MPI_INT, MPI_MIN, world);
    return first;
}

/// The message of the first rank that has one, on all ranks; empty if none has.
inline std::string first_problem(const std::string& mine, MPI_Comm world) {
    int ranks = 1;
    MPI_Comm_size(world, &ranks);
    const int first = first_rank(!mine.empty(), world);
    return first == ranks ? std::string() : text_of(first, mine, world);
}

/// Whether all ranks have to take the CPU, and why; `why` is this rank's reason not to have taken a GPU.
inline Decision agree(Attempt mine, const std::string& why, MPI_Comm world) {
    int ranks = 1;
    MPI_Comm_size(world, &ranks);
    const bool any_took_gpu = first_rank(mine == Attempt::took_gpu, world) < ranks;
    const int first = first_rank(mine == Attempt::took_cpu || mine == Attempt::failed, world);
    if (first == ranks) {
        return decide(any_took_gpu, false, "");
    }
    const std::string reason = text_of(first, why, world);
    const bool says_who = ranks > 1 && reason != "torch sees no GPU";
    return decide(any_took_gpu, true,
                  (says_who || any_took_gpu ? "rank " + std::to_string(first) + ": " : "") + reason);
}

} // namespace mlip
