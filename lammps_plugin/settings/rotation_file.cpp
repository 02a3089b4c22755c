#include "rotation_file.h"

#include <fstream>
#include <sstream>
#include <stdexcept>

namespace mlip {

namespace {

[[noreturn]] void refuse(const std::string& path, const std::string& why) {
    throw std::runtime_error("pair_style mlip: rotations file `" + path + "`: " + why +
                             "; write one with: ase-mlip rotations SCHEME -o FILE");
}

/// Not R Rᵀ = 1 within the tolerance of the numbers as they are written.
bool is_not_orthogonal(const Matrix& m) {
    const Matrix transposed = {m[0], m[3], m[6], m[1], m[4], m[7], m[2], m[5], m[8]};
    const Matrix square = product(m, transposed);
    double worst = 0.0;
    for (int k = 0; k < 9; ++k) {
        worst = std::max(worst, std::abs(square[k] - (k % 4 == 0 ? 1.0 : 0.0)));
    }
    return !(worst < 1e-9);
}

} // namespace

Averaging read_rotations(const std::string& path) {
    std::ifstream file(path);
    if (!file) {
        refuse(path, "cannot be read");
    }
    std::string magic, lattice;
    size_t count = 0;
    Averaging averaging;
    std::getline(file, magic);
    std::getline(file, averaging.name);
    file >> lattice >> count;
    if (magic != "ase_mlip rotations 1" || !file || (lattice != "crystal" && lattice != "any")) {
        refuse(path,
               "expected `ase_mlip rotations 1`, a name, and `any N` or `crystal N` in its first lines");
    }
    averaging.lattice = lattice == "crystal";
    double sum = 0.0;
    for (double weight = 0.0; file >> weight; sum += weight) {
        Matrix matrix{};
        for (double& value : matrix) {
            file >> value;
        }
        if (!file || is_not_orthogonal(matrix)) {
            refuse(path, "matrix " + std::to_string(averaging.rotations.size() + 1) + " of " +
                             std::to_string(count) + " is incomplete or not orthogonal");
        }
        averaging.rotations.push_back(matrix);
        averaging.weights.push_back(weight);
    }
    if (averaging.rotations.size() != count || !file.eof() || !(std::abs(sum - 1.0) < 1e-9)) {
        std::ostringstream what;
        what << "expected " << count << " matrices with weights of sum 1, found "
             << averaging.rotations.size() << " of sum " << sum;
        refuse(path, what.str());
    }
    return averaging;
}

} // namespace mlip
