#include "snnp_leverage.h"

#include "atom_leverages.h"

namespace mlip {
namespace {

namespace basis = ase_mlip::snnp::basis;
namespace training = ase_mlip::snnp::training;
using training::Bank;

/// The first `channels` splines of each case.
Bank bank_of(const SnnpTables::Bank& bank, int64_t channels) {
    std::vector<double> kept;
    for (int64_t m = 0; m < bank.cases; ++m) {
        const auto begin = bank.coefficients.begin() + m * bank.channels * bank.size;
        kept.insert(kept.end(), begin, begin + channels * bank.size);
    }
    return training::make_bank(kept.data(), bank.grid.data(), bank.cases, channels, bank.size);
}

/// Sums over angles take for granted that all cosines lie between the same knots.
void check_knots(const SnnpTables::Bank& g, const std::string& path) {
    for (int64_t k = 0; k < 3 * g.cases; ++k) {
        if (g.grid[k] != g.grid[k % 3]) {
            throw std::runtime_error("`" + path + "`: expected the same knots of all g, got others");
        }
    }
    if (g.cases > 0 && (g.grid[0] > -1.0 || g.grid[0] + g.grid[1] * g.grid[2] < 1.0 - 1e-12)) {
        throw std::runtime_error("`" + path + "`: expected knots of g from -1 to 1, got others");
    }
}

} // namespace

BasisTables::BasisTables(const SnnpTables& given, const Description& model,
                         const std::vector<int>& species_of_type)
    : held(given), kinds(kinds_of(given, model, species_of_type)) {
    held.leverage.reset(); // it is large
    tables.species = static_cast<int64_t>(held.network_cases.size());
    tables.cutoff = held.cutoff;
    tables.angular_cutoff = held.angular_cutoff;
    tables.pair_cases = held.pair_cases.data();
    tables.radial_cases = held.radial_cases.data();
    tables.angle_cases = held.angle_cases.data();
    const int64_t radial = held.phi.channels > 0 ? 0 : 1; // of rho, which stands for phi where there is none
    tables.banks[0] = bank_of(held.phi, held.phi.channels);
    tables.banks[1] = bank_of(held.rho, radial);
    tables.banks[2] = bank_of(held.f, held.f.channels);
    tables.banks[3] = bank_of(held.g, held.g.channels);
    columns = basis::columns_of(tables, held.before);
    cases = basis::cases_of(tables);
    if (given.leverage->size != columns.count) {
        throw std::runtime_error("`" + model.path + "` has a leverage of " +
                                 std::to_string(given.leverage->size) + " coefficients, expected " +
                                 std::to_string(columns.count) +
                                 "; attach that of its training data with `ase-mlip design --attach`");
    }
    check_knots(held.g, model.path);
    for (const int number : species_of_type) {
        block_of_kind.push_back(number > 0 ? given.leverage->block_of[number] : -1);
    }
}

SnnpLeverage::SnnpLeverage(const SnnpTables& tables, const Description& model,
                           const std::vector<int>& species_of_type)
    : basis_(std::make_unique<BasisTables>(tables, model, species_of_type)),
      count_(std::max(model.threads, 1)) {
    if (model.dtype == "float32") {
        float_ = std::make_unique<AtomLeverages<float>>(*basis_, *tables.leverage);
    } else {
        double_ = std::make_unique<AtomLeverages<double>>(*basis_, *tables.leverage);
    }
}

SnnpLeverage::~SnnpLeverage() = default;

void SnnpLeverage::raise(const NativeDomain& domain, double* leverages) {
    begin(domain, leverages);
    threads().run([this](int thread) {
        float_ ? float_->see_all(thread) : double_->see_all(thread);
        float_ ? float_->finish(thread) : double_->finish(thread);
    });
}

void SnnpLeverage::begin(const NativeDomain& domain, double* leverages) {
    float_ ? float_->begin(domain, leverages, count_) : double_->begin(domain, leverages, count_);
}

void SnnpLeverage::see(int thread, int centre, const ase_mlip::snnp::Arrangement<float>& neighbours) {
    float_->see(thread, centre, neighbours);
}

void SnnpLeverage::see(int thread, int centre, const ase_mlip::snnp::Arrangement<double>& neighbours) {
    double_->see(thread, centre, neighbours);
}

void SnnpLeverage::finish() {
    threads().run([this](int thread) { float_ ? float_->finish(thread) : double_->finish(thread); });
}

Threads& SnnpLeverage::threads() {
    if (!threads_) {
        threads_ = std::make_unique<Threads>(count_);
    }
    return *threads_;
}

} // namespace mlip
