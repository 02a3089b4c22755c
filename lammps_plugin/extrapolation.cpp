#include "extrapolation.h"

#include <algorithm>
#include <cmath>

namespace mlip {

Extrapolation::Extrapolation(const SnnpTables& tables, const Description& model,
                             const std::vector<int>& species_of_type)
    : kinds_(kinds_of(tables, model, species_of_type)), coverage_(tables.coverage) {
    coverage_.prepare();
}

double Extrapolation::count(const NativeDomain& domain, std::vector<int64_t>& counts) {
    double smallest = INFINITY;
    for (int k = 0; k < domain.n_centres; ++k) {
        const int place = domain.centres[k];
        const int64_t type = kinds_.type[domain.kinds[place]];
        if (type < 0) {
            continue;
        }
        const double own = gather(domain, place);
        smallest = std::min(smallest, own);
        if (coverage_.matters(std::sqrt(own))) {
            const int64_t found = count_extrapolating(coverage_, type, static_cast<int64_t>(types_.size()),
                                                      vectors_.data(), types_.data(), scratch_);
            counts[place] = std::max(counts[place], found);
        }
    }
    return std::sqrt(smallest);
}

/// The neighbours within the cutoff; the smallest square distance of a candidate.
double Extrapolation::gather(const NativeDomain& domain, int place) {
    const double* from = domain.positions + 3 * static_cast<int64_t>(place);
    const double* limits = kinds_.square_cutoff.data() + kinds_.count() * domain.kinds[place];
    double smallest = INFINITY;
    vectors_.clear();
    types_.clear();
    for (int k = 0; k < domain.counts[place]; ++k) {
        const int other = domain.first[place][k] & domain.mask;
        const double* at = domain.positions + 3 * static_cast<int64_t>(other);
        const double x = at[0] - from[0], y = at[1] - from[1], z = at[2] - from[2];
        const double squared = x * x + y * y + z * z;
        const int64_t type = kinds_.type[domain.kinds[other]];
        if (type < 0) {
            continue;
        }
        smallest = std::min(smallest, squared);
        if (squared <= limits[domain.kinds[other]]) {
            vectors_.insert(vectors_.end(), {x, y, z});
            types_.push_back(type);
        }
    }
    return smallest;
}

} // namespace mlip
