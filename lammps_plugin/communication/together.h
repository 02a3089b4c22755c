#pragma once
// What can go wrong on one rank ends the run on all, with its message.

#include "agreement.h"

#include "error.h"
#include "lammps.h"
#include "pointers.h"

#include <exception>
#include <string>

namespace mlip {

/// Ends the run on all ranks with the message of the first that has one; an empty message is none.
inline void stop_together(LAMMPS_NS::LAMMPS* lmp, const std::string& mine) {
    const std::string problem = first_problem(mine, lmp->world);
    if (!problem.empty()) {
        lmp->error->all(FLERR, "pair_style mlip: {}", problem);
    }
}

/// What this rank does by itself, without messages to others. If it fails on any rank, all stop with the
/// message of the first: one that stopped alone would leave the others waiting for its next message, for ever
/// in a program that calls LAMMPS as a library.
template <typename Work> void together(LAMMPS_NS::LAMMPS* lmp, const Work& work) {
    std::string problem;
    try {
        work();
    } catch (const std::exception& failure) {
        problem = failure.what();
        problem = problem.empty() ? "an error without a message" : problem;
    }
    stop_together(lmp, problem);
}

} // namespace mlip
