// The s-NNP composed of torch's own operators: see composed.h. The features are those of
// ase_mlip/networks/snnp/snnp.py, their derivatives torch's.

#include "composed.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

namespace ase_mlip::composed {
namespace {

using at::Tensor;

/// C splines for each of M cases, at x [E] of the given cases: [E, C]; as of csrc/snnp/formulas.h.
struct Splines {
    Tensor coefficients; // [M, C, n + 3]
    Tensor grid;         // [M, 3] first knot, distance of knots, intervals

    int64_t channels() const { return coefficients.size(1); }

    Tensor at(const Tensor& x, const Tensor& cases) const {
        const int64_t size = coefficients.size(2);
        const Tensor rows = grid.index_select(0, cases);
        const Tensor intervals = rows.select(1, 2).to(at::kLong);
        const Tensor u = (x - rows.select(1, 0).to(x.dtype())) / rows.select(1, 1).to(x.dtype()) + 1.0;
        const Tensor piece = at::minimum(u.detach().floor().to(at::kLong).clamp_min(0), intervals + 1);
        const Tensor first = at::minimum((piece - 1).clamp_min(0), intervals - 1);
        const Tensor table = coefficients.transpose(1, 2).reshape({coefficients.size(0) * size, channels()});
        Tensor c[4];
        for (int64_t k = 0; k < 4; ++k) {
            c[k] = table.index_select(0, cases * size + first + k);
        }
        const Tensor is_before = (piece == 0).unsqueeze(1), is_behind = (piece > intervals).unsqueeze(1);
        // powers of u on the interval, which is the first one before the knots and the last one behind
        const Tensor p1 = (c[2] - c[0]) / 2.0, p2 = (c[0] + c[2]) / 2.0 - c[1];
        const Tensor p3 = (c[3] - c[0]) / 6.0 + (c[1] - c[2]) / 2.0;
        const Tensor p0 = (c[0] + 4.0 * c[1] + c[2]) / 6.0;
        const Tensor behind = (c[1] + 4.0 * c[2] + c[3]) / 6.0, slope = (c[3] - c[1]) / 2.0;
        const Tensor t = (u - piece.to(x.dtype())).unsqueeze(1);
        const Tensor inside = p0 + t * (p1 + t * (p2 + t * p3));
        // a line touches the first knot at t = 1 of its piece, the last one at t = 0
        return at::where(is_before, p0 + (t - 1.0) * p1, at::where(is_behind, behind + t * slope, inside));
    }
};

/// Rows that stay in the sum, and no NaN of the others.
Tensor only(const Tensor& keep, const Tensor& values) {
    return at::where(keep.unsqueeze(1), values, at::zeros_like(values));
}

/// Sums over the edges of each centre, [N, channels] side by side: 1/2 phi, rho and G3. `wanted` [N]: centres
/// that get features.
Tensor features_of(const FeatureInputs& in, const std::vector<Splines>& banks, const Tensor& wanted) {
    const Splines &phi = banks[0], &rho = banks[1], &f = banks[2], &g = banks[3];
    const int64_t nodes = in.types.size(0), edges = in.vectors.size(0), species = in.cases[0].size(0);
    const Tensor centres =
        at::repeat_interleave(at::arange(nodes, in.types.options()), in.starts.diff(), 0, edges);
    // the smallest number keeps the gradient of an edge without length finite
    const Tensor distances = ((in.vectors * in.vectors).sum(1) + 1e-30).sqrt();
    const Tensor own = in.types.index_select(0, centres), pair = own * species + in.neighbour_types;
    const Tensor keep = (distances < in.cutoff).logical_and(wanted.index_select(0, centres));
    const auto summed = [&](const Tensor& to, const Tensor& values) {
        return at::zeros({nodes, values.size(1)}, values.options()).index_add(0, to, values);
    };
    const auto cases = [&](size_t which, const Tensor& index) {
        return in.cases[which].flatten().index_select(0, index);
    };
    std::vector<Tensor> found;
    found.push_back(summed(centres, only(keep, 0.5 * phi.at(distances, cases(0, pair)))));
    found.push_back(summed(centres, only(keep, rho.at(distances, cases(1, pair)))));
    const Tensor near = (distances.detach() < in.angular_cutoff).logical_and(keep).nonzero().squeeze(1);
    const Tensor c = centres.index_select(0, near), r = distances.index_select(0, near);
    const Tensor kind = in.neighbour_types.index_select(0, near);
    const Tensor values = f.at(r, cases(1, pair.index_select(0, near)));
    const Tensor directions = in.vectors.index_select(0, near) / r.unsqueeze(1);
    const auto [j, k] = triplets(c, nodes);
    const Tensor cosines = (directions.index_select(0, j) * directions.index_select(0, k)).sum(1);
    const Tensor centre = c.index_select(0, j);
    const Tensor row = (in.types.index_select(0, centre) * species + kind.index_select(0, j)) * species +
                       kind.index_select(0, k);
    found.push_back(
        summed(centre, values.index_select(0, j) * values.index_select(0, k) * g.at(cosines, cases(2, row))));
    return at::cat(found, 1);
}

std::vector<Splines> banks_of(const FeatureInputs& in) {
    std::vector<Splines> banks;
    for (size_t k = 0; k < in.coefficients.size(); ++k) {
        banks.push_back({in.coefficients[k].to(in.vectors.dtype()), in.grids[k]});
    }
    return banks;
}

Tensor all_nodes(const FeatureInputs& in) { return at::ones_like(in.types, at::kBool); }

/// The small networks, [N]; every one sees all nodes.
Tensor through(const std::vector<Tensor>& layers, const Tensor& x, const Tensor& cases) {
    Tensor h = x.unsqueeze(0).expand({layers[0].size(0), -1, -1});
    for (size_t k = 0; k < layers.size(); k += 2) {
        h = at::baddbmm(layers[k + 1].to(x.dtype()).unsqueeze(1), h, layers[k].to(x.dtype()));
        h = k + 2 < layers.size() ? at::silu(h) : h;
    }
    return h.squeeze(2).gather(0, cases.unsqueeze(0)).squeeze(0);
}

/// What the features [N, F] give to the energies, [N].
Tensor read(const cpu::SnnpWeights& weights, const Tensor& types, const Tensor& features) {
    const Tensor cases = weights.cases[3].index_select(0, types);
    Tensor energies = (weights.skip.to(features.dtype()).index_select(0, cases) * features).sum(1);
    const Splines embedding{weights.coefficients[4].to(features.dtype()), weights.grids[4]};
    if (embedding.channels() > 0) {
        const Tensor total = features.sum(1);
        energies =
            energies + (embedding.at(total, types) - embedding.at(at::zeros_like(total), types)).select(1, 0);
    }
    if (!weights.layers.empty()) {
        energies = energies + through(weights.layers, features, cases) -
                   through(weights.layers, at::zeros_like(features), cases);
    }
    return energies;
}

} // namespace

std::pair<Tensor, Tensor> triplets(const Tensor& centres, int64_t nodes) {
    const Tensor counts = at::zeros({nodes}, centres.options()).index_add(0, centres, at::ones_like(centres));
    const Tensor start = (counts.cumsum(0) - counts).index_select(0, centres);
    const Tensor edges = at::arange(centres.size(0), centres.options());
    const Tensor before = edges - start; // edges of this centre that come first
    const Tensor second = at::repeat_interleave(edges, before, 0);
    const Tensor offset =
        at::arange(second.size(0), centres.options()) - (before.cumsum(0) - before).index_select(0, second);
    return {start.index_select(0, second) + offset, second};
}

std::tuple<Tensor, Tensor> snnp(const cpu::SnnpInputs& inputs, const cpu::SnnpWeights& weights,
                                const Tensor& scale) {
    const at::AutoGradMode with_gradients(true);
    const Tensor vectors = inputs.edge_vectors.detach().requires_grad_(true);
    const std::vector<Tensor> banks(weights.coefficients.begin(), weights.coefficients.begin() + 4);
    const FeatureInputs in{vectors,       inputs.starts, inputs.types,   inputs.neighbour_types, banks,
                           weights.grids, weights.cases, weights.cutoff, weights.angular_cutoff};
    const Tensor wanted = inputs.node_weights != 0.0;
    const Tensor features = features_of(in, banks_of(in), wanted);
    const int64_t pairs = weights.coefficients[0].size(1);
    Tensor energies = features.narrow(1, 0, pairs).sum(1);
    if (features.size(1) > pairs) {
        energies =
            energies + read(weights, inputs.types, features.narrow(1, pairs, features.size(1) - pairs));
    }
    energies = at::where(wanted, energies * scale.to(energies.dtype()), at::zeros_like(energies));
    const Tensor total = (inputs.node_weights * energies).sum();
    const auto gradient = torch::autograd::grad({total}, {vectors}, {}, std::nullopt, false, true)[0];
    return {energies.detach(), gradient.defined() ? gradient : at::zeros_like(vectors)};
}

Tensor snnp_features(const FeatureInputs& in) { return features_of(in, banks_of(in), all_nodes(in)); }

Tensor snnp_features_backward(const Tensor& slopes, const FeatureInputs& inputs) {
    const at::AutoGradMode with_gradients(true);
    FeatureInputs in = inputs;
    in.vectors = inputs.vectors.detach().requires_grad_(true);
    const Tensor total = (slopes.detach() * snnp_features(in)).sum();
    const Tensor found = torch::autograd::grad({total}, {in.vectors}, {}, std::nullopt, false, true)[0];
    return found.defined() ? found : at::zeros_like(in.vectors);
}

std::vector<Tensor> snnp_features_parameters(const Tensor& values, const Tensor& slopes,
                                             const Tensor& directions, const FeatureInputs& inputs) {
    const at::AutoGradMode with_gradients(true);
    FeatureInputs in = inputs;
    in.vectors = inputs.vectors.detach().requires_grad_(true);
    const Tensor weights = slopes.detach().requires_grad_(true);
    std::vector<Tensor> wanted{weights};
    for (Tensor& coefficients : in.coefficients) {
        coefficients = coefficients.detach().requires_grad_(true);
        wanted.push_back(coefficients);
    }
    const Tensor features = snnp_features(in);
    const Tensor by_vectors = torch::autograd::grad({(weights * features).sum()}, {in.vectors}, {},
                                                    std::nullopt, /*create_graph=*/true, true)[0];
    Tensor total = (values.detach() * features).sum();
    if (by_vectors.defined()) {
        total = total + (directions.detach() * by_vectors).sum();
    }
    std::vector<Tensor> found = torch::autograd::grad({total}, wanted, {}, std::nullopt, false, true);
    for (size_t k = 0; k < found.size(); ++k) {
        found[k] = found[k].defined() ? found[k] : at::zeros_like(wanted[k]);
    }
    return found;
}

} // namespace ase_mlip::composed
