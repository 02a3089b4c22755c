#pragma once
// How far the atoms of an s-NNP are from its training data, from the neighbour list alone: the least-squares
// basis of csrc/snnp/basis.h for each atom, whitened. Knows neither libtorch nor a LAMMPS class.

#include "../snnp_atoms/native_domain.h"
#include "../snnp_atoms/threads.h"

#include <cstdint>
#include <memory>
#include <vector>

namespace mlip {

struct BasisTables;
template <typename T> class AtomLeverages;

class SnnpLeverage : public ase_mlip::snnp::Visitor {
  public:
    /// `species_of_type`: atomic number by LAMMPS' type, 0 for atoms that are not ours. Throws
    /// std::runtime_error where the leverage is of another basis.
    SnnpLeverage(const SnnpTables& tables, const Description& model, const std::vector<int>& species_of_type);
    ~SnnpLeverage() override;

    /// Raises `leverages` [n_all] of the centres to those of this model.
    void raise(const NativeDomain& domain, double* leverages);

    /// The same with what the native kernel finds: it calls `see` for each centre, from as many threads as
    /// the model has, in between.
    void begin(const NativeDomain& domain, double* leverages);
    void see(int thread, int centre, const ase_mlip::snnp::Arrangement<float>& neighbours) override;
    void see(int thread, int centre, const ase_mlip::snnp::Arrangement<double>& neighbours) override;
    void finish();

  private:
    Threads& threads();

    std::unique_ptr<BasisTables> basis_;
    std::unique_ptr<AtomLeverages<float>> float_; // one of the two, by the precision of the model
    std::unique_ptr<AtomLeverages<double>> double_;
    int count_;                        // of threads
    std::unique_ptr<Threads> threads_; // made when first needed
};

} // namespace mlip
