#pragma once
// A number of each atom for `fix pair`: that sets the flag at the steps that want them, and asks for the
// array before the first one.

#include "atom.h"

#include <algorithm>
#include <vector>

namespace mlip {

class AtomValues {
  public:
    bool are_wanted() const { return flag_ != 0; }
    /// Zeros for own and ghost atoms; there may be room for many more.
    void clear(const LAMMPS_NS::Atom& atoms) {
        make_room(atoms);
        std::fill_n(values_.begin(), atoms.nlocal + atoms.nghost, 0.0);
    }
    double* data() { return values_.data(); } // [nmax]
    double& operator[](int atom) { return values_[atom]; }
    double operator[](int atom) const { return values_[atom]; }

    // for fix pair
    int* flag() { return &flag_; }
    double* array(const LAMMPS_NS::Atom& atoms) {
        make_room(atoms);
        return data();
    }

  private:
    void make_room(const LAMMPS_NS::Atom& atoms) {
        values_.resize(std::max<size_t>({values_.size(), static_cast<size_t>(atoms.nmax), 1}), 0.0);
    }

    std::vector<double> values_;
    int flag_ = 0;
};

} // namespace mlip
