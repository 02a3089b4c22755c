#include "native_domain.h"

namespace mlip {

using ase_mlip::snnp::Kinds;

Kinds kinds_of(const SnnpTables& tables, const Description& model, const std::vector<int>& species) {
    Kinds kinds;
    for (const int number : species) {
        kinds.type.push_back(number > 0 ? tables.type_of_number[number] : -1);
        kinds.reference.push_back(tables.references[number]);
    }
    const size_t count = species.size();
    kinds.square_cutoff.assign(count * count, model.cutoff * model.cutoff);
    for (const PairCutoff& pair : model.pair_cutoffs) {
        for (size_t i = 0; i < count * count; ++i) {
            const int a = species[i / count], b = species[i % count];
            if ((a == pair.first && b == pair.second) || (a == pair.second && b == pair.first)) {
                kinds.square_cutoff[i] = pair.cutoff * pair.cutoff;
            }
        }
    }
    return kinds;
}

} // namespace mlip
