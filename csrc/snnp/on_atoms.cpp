// The class torch.classes.ase_mlip.SnnpOnAtoms: an s-NNP straight from positions and a stored neighbour list
// to energies, forces and virials on a CPU, for the ASE calculator. The pair style of LAMMPS does the same.

#include "../common/parallel.h"
#include "../common/tensor_check.h"
#include "atoms.h"
#include "kernels.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/custom_class.h>

#include <algorithm>

namespace ase_mlip {
namespace {

using at::Tensor;
using snnp::Coverage;
using snnp::Domain;
using snnp::Kinds;
using snnp::KnotGrid;
using snnp::Sums;
using snnp::Targets;

/// libtorch's threads, as many as there are at the time.
struct TorchThreads {
    int count() const { return at::get_num_threads(); }
    template <typename Job> void run(const Job& job) const {
        parallel_for(count(), 1, [&](int64_t begin, int64_t end) {
            for (int64_t number = begin; number < end; ++number) {
                job(static_cast<int>(number));
            }
        });
    }
};

template <typename T> std::vector<T> values_of(const Tensor& tensor) {
    const T* first = tensor.const_data_ptr<T>();
    return {first, first + tensor.numel()};
}

/// Every number at least 0 and below `limit`.
void check_range(const Tensor& numbers, const char* name, int64_t limit) {
    const int* first = numbers.const_data_ptr<int>();
    const auto [least, most] = std::minmax_element(first, first + numbers.numel());
    TORCH_CHECK(numbers.numel() == 0 || (*least >= 0 && *most < limit), "`", name, "` must lie in [0, ",
                limit, "), got ", *least < 0 ? *least : *most);
}

/// Tables of pairs, near pairs and angles, bool [S, S, intervals + 1] and [S, S, S, intervals + 1]; or
/// nothing.
Coverage coverage_of(const std::vector<Tensor>& tables, const cpu::SnnpWeights& weights) {
    Coverage coverage;
    if (tables.empty()) {
        return coverage;
    }
    TORCH_CHECK(tables.size() == 3, "`coverage`: expected 3 tables or none, got ", tables.size());
    const int64_t s = weights.cases[3].size(0);
    coverage.species = s;
    coverage.pairs = KnotGrid::of(weights.grids[1].const_data_ptr<double>());
    coverage.near = KnotGrid::of(weights.grids[2].const_data_ptr<double>());
    coverage.angles = KnotGrid::of(weights.grids[3].const_data_ptr<double>());
    check_contiguous(tables[0], "coverage", {s, s, coverage.pairs.count + 1}, at::kByte);
    check_contiguous(tables[1], "coverage", {s, s, coverage.near.count + 1}, at::kByte);
    check_contiguous(tables[2], "coverage", {s, s, s, coverage.angles.count + 1}, at::kByte);
    coverage.has_pair = values_of<uint8_t>(tables[0]);
    coverage.has_near = values_of<uint8_t>(tables[1]);
    coverage.has_angle = values_of<uint8_t>(tables[2]);
    return coverage;
}

/// A stored list: N atoms, G periodic images of atoms, and the pairs of each atom.
struct List {
    Tensor kinds;      // int32 [N]
    Tensor owners;     // int32 [G] atom of an image
    Tensor offsets;    // [G, 3] what an image is away from its atom, Å
    Tensor starts;     // int32 [N + 1]
    Tensor neighbours; // int32 [E] the other atoms of pairs: atoms, then images

    void check_all() const {
        const int64_t n = kinds.size(0), images = owners.size(0), edges = neighbours.size(0);
        check_contiguous(kinds, "kinds", {n}, at::kInt);
        check_contiguous(owners, "owners", {images}, at::kInt);
        check_contiguous(offsets, "offsets", {images, 3}, at::kDouble);
        check_contiguous(starts, "starts", {n + 1}, at::kInt);
        check_contiguous(neighbours, "neighbours", {edges}, at::kInt);
        const int* first = starts.const_data_ptr<int>();
        TORCH_CHECK(std::is_sorted(first, first + n + 1) && first[0] == 0 && first[n] == edges,
                    "`starts` must rise from 0 to the number of pairs, ", edges);
        check_range(owners, "owners", n);
        check_range(neighbours, "neighbours", n + images);
    }
};

/// The list in the form of atoms.h, with a ghost atom for each image.
struct WithImages {
    std::vector<double> positions; // [N + G, 3]
    std::vector<int> kinds, centres, counts;
    std::vector<const int*> first;

    WithImages(const Tensor& atoms, const List& list) {
        const int64_t n = atoms.size(0), images = list.owners.size(0);
        positions = values_of<double>(atoms);
        positions.resize(3 * (n + images));
        kinds = values_of<int>(list.kinds);
        kinds.resize(n + images);
        const int* owners = list.owners.const_data_ptr<int>();
        const double* offsets = list.offsets.const_data_ptr<double>();
        for (int64_t k = 0; k < images; ++k) {
            kinds[n + k] = kinds[owners[k]];
            for (int c = 0; c < 3; ++c) {
                positions[3 * (n + k) + c] = positions[3 * owners[k] + c] + offsets[3 * k + c];
            }
        }
        const int* starts = list.starts.const_data_ptr<int>();
        const int* neighbours = list.neighbours.const_data_ptr<int>();
        for (int64_t i = 0; i < n; ++i) {
            centres.push_back(static_cast<int>(i));
            counts.push_back(starts[i + 1] - starts[i]);
            first.push_back(neighbours + starts[i]);
        }
    }

    Domain domain() const {
        Domain domain;
        domain.n_centres = static_cast<int>(centres.size());
        domain.n_all = static_cast<int>(kinds.size());
        domain.centres = centres.data();
        domain.counts = counts.data();
        domain.first = first.data();
        domain.mask = ~0;
        domain.positions = positions.data();
        domain.kinds = kinds.data();
        return domain;
    }
};

/// Adds the values of images to those of their atoms: [N + G, width] to [N, width].
Tensor fold(const Tensor& values, const List& list) {
    const int64_t n = list.kinds.size(0), width = values.size(1);
    const int* owners = list.owners.const_data_ptr<int>();
    double* from = values.data_ptr<double>();
    for (int64_t k = 0; k < list.owners.size(0); ++k) {
        for (int64_t c = 0; c < width; ++c) {
            from[owners[k] * width + c] += from[(n + k) * width + c];
        }
    }
    return values.narrow(0, 0, n);
}

/// Energies [N], forces [N, 3], virials [N, 9] (or [0, 9]), virial [9], counts [N], shortest distance.
using Found = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, double>;

struct SnnpOnAtoms : torch::CustomClassHolder {
    /// Tables as for the operator `snnp`, float64; `references` [S] in eV, `square_cutoffs` [S, S] in Å^2.
    SnnpOnAtoms(std::vector<Tensor> coefficients, std::vector<Tensor> grids, std::vector<Tensor> cases,
                Tensor skip, std::vector<Tensor> layers, double scale, double cutoff, double angular_cutoff,
                const Tensor& references, const Tensor& square_cutoffs, const std::vector<Tensor>& coverage,
                bool in_float32) {
        const cpu::SnnpWeights weights{std::move(coefficients),
                                       std::move(grids),
                                       std::move(cases),
                                       std::move(skip),
                                       std::move(layers),
                                       scale,
                                       cutoff,
                                       angular_cutoff};
        cpu::check_weights(weights);
        kinds_ = weights.cases[3].size(0);
        check_contiguous(references, "references", {kinds_}, at::kDouble);
        check_contiguous(square_cutoffs, "square_cutoffs", {kinds_, kinds_}, at::kDouble);
        Kinds kinds{{}, values_of<double>(references), values_of<double>(square_cutoffs)};
        for (int64_t type = 0; type < kinds_; ++type) {
            kinds.type.push_back(type);
        }
        const snnp::ModelData data = cpu::model_data(weights);
        if (in_float32) {
            float_ = std::make_unique<snnp::OnAtoms<float, TorchThreads>>(data, kinds,
                                                                          coverage_of(coverage, weights));
        } else {
            double_ = std::make_unique<snnp::OnAtoms<double, TorchThreads>>(data, kinds,
                                                                            coverage_of(coverage, weights));
        }
    }

    Found evaluate(const Tensor& positions, const Tensor& kinds, const Tensor& owners, const Tensor& offsets,
                   const Tensor& starts, const Tensor& neighbours, bool with_virials) {
        const List list{kinds, owners, offsets, starts, neighbours};
        const int64_t n = kinds.size(0), n_all = n + owners.size(0);
        list.check_all();
        check_contiguous(positions, "positions", {n, 3}, at::kDouble);
        check_range(kinds, "kinds", kinds_);
        const WithImages all(positions, list);
        const auto options = positions.options();
        const Tensor energies = at::zeros({n_all}, options), forces = at::zeros({n_all, 3}, options),
                     virials = at::zeros({with_virials ? n_all : 0, 9}, options),
                     counts = at::zeros({n_all}, options.dtype(at::kLong));
        Targets targets;
        targets.energies = energies.data_ptr<double>();
        targets.forces = forces.data_ptr<double>();
        targets.virials = with_virials ? virials.data_ptr<double>() : nullptr;
        targets.extrapolating = counts.data_ptr<int64_t>();
        targets.virial = true;
        const Sums sums =
            float_ ? float_->evaluate(all.domain(), targets) : double_->evaluate(all.domain(), targets);
        const Tensor virial = at::empty({9}, options);
        std::copy_n(sums.virial, 9, virial.data_ptr<double>());
        return {energies.narrow(0, 0, n),
                fold(forces, list),
                with_virials ? fold(virials, list) : virials,
                virial,
                counts.narrow(0, 0, n),
                sums.shortest};
    }

  private:
    int64_t kinds_ = 0;
    std::unique_ptr<snnp::OnAtoms<float, TorchThreads>> float_; // one of the two
    std::unique_ptr<snnp::OnAtoms<double, TorchThreads>> double_;
};

} // namespace

TORCH_LIBRARY_FRAGMENT(ase_mlip, library) {
    library.class_<SnnpOnAtoms>("SnnpOnAtoms")
        .def(torch::init<std::vector<Tensor>, std::vector<Tensor>, std::vector<Tensor>, Tensor,
                         std::vector<Tensor>, double, double, double, Tensor, Tensor, std::vector<Tensor>,
                         bool>())
        .def("evaluate", &SnnpOnAtoms::evaluate);
}

} // namespace ase_mlip
