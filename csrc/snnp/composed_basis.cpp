// The basis of an s-NNP composed of torch's own operators: see composed.h. Columns are those of
// csrc/snnp/basis.h.

#include "../common/voigt.h"
#include "composed.h"
#include "formulas.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

namespace ase_mlip::composed {
namespace {

using at::Tensor;

using snnp::kZeroTail;

/// All B-splines of a bank, [E, n + 3] each, and their derivatives.
struct BSplines {
    Tensor values, slopes;
};

BSplines b_splines(const Tensor& coefficients, const Tensor& grid, const Tensor& x, const Tensor& cases) {
    const Tensor row = grid.to(x.dtype()).index_select(0, cases), step = row.select(1, 1);
    const Tensor place = (x - row.select(1, 0)) / step;
    const Tensor first = at::minimum(place.floor().clamp_min(0.0), row.select(1, 2) - 1.0);
    const Tensor t = place - first, u = t.clamp(0.0, 1.0), v = 1.0 - u, beyond = t - u;
    const std::vector<Tensor> slopes{-0.5 * v * v, u * (1.5 * u - 2.0), -v * (1.5 * v - 2.0), 0.5 * u * u};
    std::vector<Tensor> values{v * v * v / 6.0, (u * u * (3.0 * u - 6.0) + 4.0) / 6.0,
                               (v * v * (3.0 * v - 6.0) + 4.0) / 6.0, u * u * u / 6.0};
    for (size_t m = 0; m < 4; ++m) {
        values[m] = values[m] + beyond * slopes[m]; // the straight lines outside the knots
    }
    const Tensor index = first.to(at::kLong).unsqueeze(1) + at::arange(4, cases.options());
    const Tensor zeros = at::zeros({x.size(0), coefficients.size(2)}, x.options());
    return {zeros.scatter(1, index, at::stack(values, 1)),
            zeros.scatter(1, index, at::stack(slopes, 1) / step.unsqueeze(1))};
}

/// From the B-splines of phi or rho [n + 3] to the coefficients that are columns, [n + 3, free].
Tensor free_of(int64_t size, int64_t before, const Tensor& like) {
    const int64_t free = size - kZeroTail - before;
    Tensor map = at::zeros({size, free}, like.options());
    map.slice(0, before, before + free).fill_diagonal_(1.0);
    for (int64_t k = 0; k < before; ++k) {
        map[k][0] = double(1 + before - k);
        map[k][1] = -double(before - k);
    }
    return map;
}

/// [E, K] of the splines of `cases` to [E, M * K], zero for the other cases.
Tensor at_cases(const Tensor& values, const Tensor& cases, int64_t count) {
    const Tensor mask = (cases.unsqueeze(1) == at::arange(count, cases.options())).to(values.dtype());
    return (mask.unsqueeze(2) * values.unsqueeze(1)).flatten(1);
}

/// The graph with what all terms need of an edge.
struct Edges {
    Tensor centres, lengths, directions, pair, keep;
    int64_t nodes, species;

    explicit Edges(const FeatureInputs& in) : nodes(in.types.size(0)), species(in.cases[0].size(0)) {
        centres = at::repeat_interleave(at::arange(nodes, in.types.options()), in.starts.diff(), 0,
                                        in.vectors.size(0));
        lengths = ((in.vectors * in.vectors).sum(1) + 1e-30).sqrt();
        directions = in.vectors / lengths.unsqueeze(1);
        pair = in.types.index_select(0, centres) * species + in.neighbour_types;
        keep = (lengths < in.cutoff).to(in.vectors.dtype());
    }

    Tensor summed(const Tensor& to, const Tensor& values) const {
        std::vector<int64_t> shape = values.sizes().vec();
        shape[0] = nodes;
        return at::zeros(shape, values.options()).index_add(0, to, values);
    }
};

/// Sums of the basis [N, P], and with `rows` their derivatives by the edge vectors [E, 3, P].
struct Found {
    std::vector<Tensor> values, gradients;
};

void radial(const FeatureInputs& in, const Edges& edges, size_t which, int64_t before, double factor,
            bool rows, Found& found) {
    const Tensor& coefficients = in.coefficients[which];
    const int64_t channels = coefficients.size(1), size = coefficients.size(2);
    const Tensor cases = in.cases[which].flatten().index_select(0, edges.pair);
    const BSplines splines = b_splines(coefficients, in.grids[which], edges.lengths, cases);
    const Tensor map = free_of(size, before, in.vectors), keep = factor * edges.keep.unsqueeze(1);
    const auto columns = [&](const Tensor& values) {
        const Tensor every = (keep * values).matmul(map).unsqueeze(1).expand({-1, channels, -1});
        return at_cases(every.flatten(1), cases, coefficients.size(0));
    };
    found.values.push_back(edges.summed(edges.centres, columns(splines.values)));
    if (rows) {
        found.gradients.push_back(edges.directions.unsqueeze(2) * columns(splines.slopes).unsqueeze(1));
    }
}

/// Outer products [T, 3, M * C * K] of a direction, filters [T, C] and B-splines [T, K].
Tensor product(const Tensor& direction, const Tensor& filters, const Tensor& splines, const Tensor& cases,
               int64_t count) {
    const Tensor both = (filters.unsqueeze(2) * splines.unsqueeze(1)).flatten(1);
    return direction.unsqueeze(2) * at_cases(both, cases, count).unsqueeze(1);
}

void angular(const FeatureInputs& in, const Edges& edges, bool rows, Found& found) {
    const Tensor &filters = in.coefficients[2], &g = in.coefficients[3];
    const Tensor near =
        (edges.lengths < in.angular_cutoff).logical_and(edges.keep > 0.0).nonzero().squeeze(1);
    const auto of_near = [&](const Tensor& x) { return x.index_select(0, near); };
    const Tensor c = of_near(edges.centres), kind = of_near(in.neighbour_types),
                 e = of_near(edges.directions);
    const Tensor cases_f = in.cases[1].flatten().index_select(0, of_near(edges.pair));
    const BSplines splines = b_splines(filters, in.grids[2], of_near(edges.lengths), cases_f);
    const Tensor of_case = filters.index_select(0, cases_f); // [E, C, K]
    const Tensor values = of_case.matmul(splines.values.unsqueeze(2)).squeeze(2);
    const Tensor slopes = of_case.matmul(splines.slopes.unsqueeze(2)).squeeze(2);
    const auto [j, k] = triplets(c, edges.nodes);
    const auto take = [](const Tensor& x, const Tensor& which) { return x.index_select(0, which); };
    const Tensor e_j = take(e, j), e_k = take(e, k), cosine = (e_j * e_k).sum(1), centre = take(c, j);
    const Tensor row =
        (take(in.types, centre) * edges.species + take(kind, j)) * edges.species + take(kind, k);
    const Tensor cases = take(in.cases[2].flatten(), row);
    const int64_t count = g.size(0);
    const BSplines b = b_splines(g, in.grids[3], cosine, cases);
    const Tensor f_j = take(values, j), f_k = take(values, k), f = f_j * f_k;
    const Tensor both = (f.unsqueeze(2) * b.values.unsqueeze(1)).flatten(1);
    found.values.push_back(edges.summed(centre, at_cases(both, cases, count)));
    if (!rows) {
        return;
    }
    const Tensor lengths = of_near(edges.lengths).unsqueeze(1), angle = cosine.unsqueeze(1);
    const Tensor by_j = product(e_j, take(slopes, j) * f_k, b.values, cases, count) +
                        product((e_k - angle * e_j) / take(lengths, j), f, b.slopes, cases, count);
    const Tensor by_k = product(e_k, f_j * take(slopes, k), b.values, cases, count) +
                        product((e_j - angle * e_k) / take(lengths, k), f, b.slopes, cases, count);
    const Tensor zeros = at::zeros({in.vectors.size(0), 3, both.size(1) * count}, in.vectors.options());
    found.gradients.push_back(zeros.index_add(0, take(near, j), by_j).index_add(0, take(near, k), by_k));
}

Found all_terms(const FeatureInputs& in, const Edges& edges, int64_t before, bool rows) {
    Found found;
    radial(in, edges, 0, before, 0.5, rows, found);
    radial(in, edges, 1, 0, 1.0, rows, found);
    angular(in, edges, rows, found);
    return found;
}

} // namespace

void check_basis(const FeatureInputs& in, int64_t before) {
    TORCH_CHECK(in.coefficients.size() == 4 && in.grids.size() == 4 && in.cases.size() >= 3,
                "expected 4 banks of splines with their grids and 3 tables of cases");
    const Tensor &phi = in.coefficients[0], &rho = in.coefficients[1], &f = in.coefficients[2],
                 &g = in.coefficients[3];
    TORCH_CHECK(f.size(0) == rho.size(0) && f.size(1) == g.size(1),
                "`coefficients`: f must have the cases of rho and the channels of g, got ", f.sizes(), ", ",
                rho.sizes(), " and ", g.sizes());
    TORCH_CHECK(rho.size(2) > kZeroTail,
                "`coefficients`: rho must have more than the last three, which vanish, got ", rho.sizes());
    const int64_t free = phi.size(2) - kZeroTail - before;
    TORCH_CHECK(before >= 0 && free >= (before > 0 ? 2 : 1),
                "`before` must leave two coefficients of phi beside the last three, got ", before, " of ",
                phi.size(2));
}

Tensor snnp_basis(int64_t before, const FeatureInputs& in) {
    const at::NoGradGuard no_gradients;
    check_basis(in, before);
    return at::cat(all_terms(in, Edges(in), before, false).values, 1);
}

std::tuple<Tensor, Tensor, Tensor> snnp_basis_rows(const Tensor& neighbours, const Tensor& structures,
                                                   int64_t before, const FeatureInputs& in) {
    const at::NoGradGuard no_gradients;
    check_basis(in, before);
    const Edges edges(in);
    const Found found = all_terms(in, edges, before, true);
    const Tensor gradients = at::cat(found.gradients, 2);
    const Tensor forces = edges.summed(edges.centres, gradients) - edges.summed(neighbours, gradients);
    const Tensor structure = at::repeat_interleave(at::arange(structures.size(0) - 1, structures.options()),
                                                   structures.diff(), 0, edges.nodes)
                                 .index_select(0, edges.centres);
    std::vector<Tensor> strains;
    for (const auto& [x, y] : kVoigt) {
        const Tensor twice = in.vectors.select(1, x).unsqueeze(1) * gradients.select(1, y) +
                             in.vectors.select(1, y).unsqueeze(1) * gradients.select(1, x);
        strains.push_back(at::zeros({structures.size(0) - 1, twice.size(1)}, twice.options())
                              .index_add(0, structure, 0.5 * twice));
    }
    return {at::cat(found.values, 1), forces, at::stack(strains, 1)};
}

} // namespace ase_mlip::composed
