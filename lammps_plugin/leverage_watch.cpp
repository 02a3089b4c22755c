// How far the atoms are from the model's training data, for fix pair, where the file says so:
// ase_mlip/model_file/leverage_file.py says what a leverage is.

#include "pair_mlip.h"

#include "atom.h"
#include "error.h"

#include <algorithm>

using namespace LAMMPS_NS;

/// Those of s-NNPs come from the neighbour list, whatever evaluates the model.
void PairMLIP::watch_leverage() {
    snnp_leverages_.clear();
    together([&] {
        for (int k = 0; k < evaluator_->description().members; ++k) {
            const mlip::Evaluator& model = evaluator_->member(k);
            const mlip::SnnpTables* tables = model.snnp_tables();
            if (tables != nullptr && tables->leverage) {
                snnp_leverages_.push_back(
                    std::make_unique<mlip::SnnpLeverage>(*tables, model.description(), species_of_type_));
            }
        }
    });
}

/// What fix pair reads, which asks before the first step.
void* PairMLIP::leverage_array() {
    if (!evaluator_->description().leverage) {
        error->all(FLERR,
                   "pair_style mlip: fix pair asks for `leverage`, but `{}` has none; attach that of its "
                   "training data with `ase-mlip design --attach MODEL DATA -o NEW`, and take the new file",
                   evaluator_->description().path);
    }
    leverage_.resize(std::max<size_t>({leverage_.size(), static_cast<size_t>(atom->nmax), 1}));
    return leverage_.data();
}

/// At the steps that fix pair asks for. Atoms that are not the model's keep zeros.
void PairMLIP::tally_leverage(const mlip::Results& results) {
    if (leverage_flag_ == 0) {
        return;
    }
    leverage_.assign(std::max(atom->nmax, 1), 0.0);
    for (int64_t node = 0; results.leverage != nullptr && node < topology().n_owned; ++node) {
        leverage_[candidates_.place_of_node[node]] = results.leverage[node];
    }
    if (!snnp_leverages_.empty()) {
        const mlip::NativeDomain domain = native_domain();
        together([&] {
            for (const auto& one : snnp_leverages_) {
                one->raise(domain, leverage_.data());
            }
        });
    }
}

/// The same of the native kernel's one model, which shows the neighbours that it finds to what is given here;
/// null at steps that do not ask.
mlip::SnnpLeverage* PairMLIP::begin_leverage(const mlip::NativeDomain& domain) {
    if (leverage_flag_ == 0 || snnp_leverages_.empty()) {
        return nullptr;
    }
    leverage_.assign(std::max(atom->nmax, 1), 0.0);
    together([&] { snnp_leverages_[0]->begin(domain, leverage_.data()); });
    return snnp_leverages_[0].get();
}
