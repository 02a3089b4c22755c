#include "snnp_extrapolation.h"

#include <algorithm>
#include <cmath>

namespace mlip {

SnnpExtrapolation::SnnpExtrapolation(const SnnpTables& tables, const Description& model,
                                     const std::vector<int>& species_of_type)
    : kinds_(kinds_of(tables, model, species_of_type)), coverage_(tables.coverage) {
    coverage_.prepare();
}

double SnnpExtrapolation::count(const NativeDomain& domain, std::vector<int64_t>& counts) {
    double smallest = INFINITY;
    for (int k = 0; k < domain.n_centres; ++k) {
        const int atom = domain.centres[k];
        const int64_t type = kinds_.type[domain.kinds[atom]];
        if (type < 0) {
            continue;
        }
        vectors_.clear();
        types_.clear();
        const double own =
            edges_within(domain, kinds_, atom, [&](int, const double* vector, int64_t of_other) {
                vectors_.insert(vectors_.end(), vector, vector + 3);
                types_.push_back(of_other);
            });
        smallest = std::min(smallest, own);
        if (coverage_.matters(std::sqrt(own))) {
            const int64_t found = count_extrapolating(coverage_, type, static_cast<int64_t>(types_.size()),
                                                      vectors_.data(), types_.data(), scratch_);
            counts[atom] = std::max(counts[atom], found);
        }
    }
    return std::sqrt(smallest);
}

} // namespace mlip
