#include "native_snnp.h"

#include "../snnp_atoms/threads.h"

#include <stdexcept>

namespace mlip {
namespace {

using ase_mlip::snnp::BankData;
using ase_mlip::snnp::Coverage;
using ase_mlip::snnp::ModelData;

BankData bank_data(const SnnpTables::Bank& bank) {
    return {bank.cases, bank.channels, bank.size, bank.coefficients.data(), bank.grid.data()};
}

ModelData model_data(const SnnpTables& tables) {
    ModelData data;
    data.species = static_cast<int64_t>(tables.network_cases.size());
    data.networks = tables.networks;
    data.features = tables.features;
    data.cutoff = tables.cutoff;
    data.angular_cutoff = tables.angular_cutoff;
    data.scale = tables.scale;
    data.phi = bank_data(tables.phi);
    data.rho = bank_data(tables.rho);
    data.f = bank_data(tables.f);
    data.g = bank_data(tables.g);
    data.embedding = bank_data(tables.embedding);
    data.pair_cases = tables.pair_cases.data();
    data.radial_cases = tables.radial_cases.data();
    data.angle_cases = tables.angle_cases.data();
    data.network_cases = tables.network_cases.data();
    data.skip = tables.skip.data();
    for (const SnnpTables::Layer& layer : tables.layers) {
        data.layers.push_back({layer.weight.data(), layer.bias.data(), layer.enter, layer.leave});
    }
    return data;
}

void check(const NativeSums& sums) {
    if (sums.bad_position >= 0) {
        throw std::runtime_error("positions: expected finite numbers, got others; check the input, or "
                                 "reduce the timestep that led here");
    }
    if (sums.shortest < kSmallestDistance) {
        throw std::runtime_error("two atoms are at one place (distance " + std::to_string(sums.shortest) +
                                 " Å); look for overlapping atoms, or `delete_atoms overlap`, or reduce "
                                 "the timestep");
    }
    if (sums.bad_result >= 0) {
        throw NotFinite(sums.bad_result);
    }
}

template <typename T> class Native : public NativeSnnp {
  public:
    Native(const SnnpTables& tables, const Description& model, const std::vector<int>& species)
        : on_atoms_(model_data(tables), kinds_of(tables, model, species), tables.coverage, model.threads) {}

    NativeSums evaluate(const NativeDomain& domain, const NativeTargets& targets) override {
        const NativeSums sums = on_atoms_.evaluate(domain, targets);
        check(sums);
        return sums;
    }
    double memory() const override { return on_atoms_.memory(); }

  private:
    ase_mlip::snnp::OnAtoms<T, Threads> on_atoms_;
};

} // namespace

std::unique_ptr<NativeSnnp> make_native_snnp(const SnnpTables& tables, const Description& model,
                                             const std::vector<int>& species_of_type) {
    if (model.dtype == "float32") {
        return std::make_unique<Native<float>>(tables, model, species_of_type);
    }
    return std::make_unique<Native<double>>(tables, model, species_of_type);
}

} // namespace mlip
