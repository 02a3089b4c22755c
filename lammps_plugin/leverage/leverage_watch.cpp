#include "leverage_watch.h"

#include "../communication/together.h"

#include "atom.h"
#include "error.h"

using namespace LAMMPS_NS;

namespace mlip {

void LeverageWatch::begin() {
    snnp_leverages_.clear();
    together(lmp, [&] {
        for (int k = 0; k < model_.description().members; ++k) {
            const Evaluator& member = model_.evaluator->member(k);
            const SnnpTables* tables = member.snnp_tables();
            if (tables != nullptr && tables->leverage) {
                snnp_leverages_.push_back(
                    std::make_unique<SnnpLeverage>(*tables, member.description(), model_.species_of_type));
            }
        }
    });
}

double* LeverageWatch::array() {
    if (!model_.description().leverage) {
        error->all(FLERR,
                   "pair_style mlip: fix pair asks for `leverage`, but `{}` has none; attach that of its "
                   "training data with `ase-mlip design --attach MODEL DATA -o NEW`, and take the new file",
                   model_.description().path);
    }
    return of_atoms_.array(*atom);
}

void LeverageWatch::tally(const DomainTopology& nodes, const Results& results, const NativeDomain& domain) {
    if (!is_wanted()) {
        return;
    }
    of_atoms_.clear(*atom);
    for (int64_t node = 0; results.leverage != nullptr && node < nodes.topology.n_owned; ++node) {
        of_atoms_[nodes.atom_of_node[node]] = results.leverage[node];
    }
    if (!snnp_leverages_.empty()) {
        together(lmp, [&] {
            for (const auto& one : snnp_leverages_) {
                one->raise(domain, of_atoms_.data());
            }
        });
    }
}

ase_mlip::snnp::Visitor* LeverageWatch::visitor(const NativeDomain& domain) {
    visits_ = is_wanted() && !snnp_leverages_.empty();
    if (!visits_) {
        return nullptr;
    }
    of_atoms_.clear(*atom);
    together(lmp, [&] { snnp_leverages_[0]->begin(domain, of_atoms_.data()); });
    return snnp_leverages_[0].get();
}

void LeverageWatch::finish() {
    if (visits_) {
        together(lmp, [&] { snnp_leverages_[0]->finish(); });
    }
}

} // namespace mlip
