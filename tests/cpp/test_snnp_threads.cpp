// Without torch: an s-NNP on atoms with several threads gives the numbers of one, and each thread clears and
// adds little more than its share of the arrays.

#include "expect.h"
#include "snnp/atoms.h"
#include "snnp_atoms/threads.h"

#include <cstdio>
#include <numeric>
#include <random>

using namespace ase_mlip;

namespace {

/// A chain of atoms 1 Å apart, with a pair term alone, in the order given.
struct Chain {
    std::vector<double> positions, coefficients, grid{0.5, 0.25, 12.0}, nothing;
    std::vector<int> kinds, centres, counts, neighbours;
    std::vector<const int*> first;
    std::vector<int64_t> zero{0};

    explicit Chain(const std::vector<int>& order) {
        const int n = static_cast<int>(order.size());
        std::mt19937 generator(1);
        std::uniform_real_distribution<double> any(-0.2, 0.2);
        std::vector<int> atom_of(n);
        for (int atom = 0; atom < n; ++atom) {
            atom_of[order[atom]] = atom;
            positions.insert(positions.end(), {order[atom] + any(generator), any(generator), any(generator)});
            kinds.push_back(0);
            centres.push_back(atom);
        }
        neighbours.reserve(6 * n);
        for (int atom = 0; atom < n; ++atom) {
            first.push_back(neighbours.data() + neighbours.size());
            int count = 0;
            for (const int step : {-3, -2, -1, 1, 2, 3}) {
                const int other = order[atom] + step;
                if (other >= 0 && other < n) {
                    neighbours.push_back(atom_of[other]);
                    ++count;
                }
            }
            counts.push_back(count);
        }
        for (int k = 0; k < 15; ++k) {
            coefficients.push_back(k < 12 ? std::cos(0.7 * k) : 0.0);
        }
    }

    snnp::ModelData model() const {
        snnp::ModelData data;
        data.species = 1;
        data.networks = 1;
        data.cutoff = data.angular_cutoff = 3.5;
        data.phi = {1, 1, 15, coefficients.data(), grid.data()};
        data.rho = data.f = data.g = data.embedding = {1, 0, 15, nothing.data(), grid.data()};
        data.pair_cases = data.radial_cases = data.angle_cases = data.network_cases = zero.data();
        data.skip = nothing.data();
        return data;
    }

    snnp::Domain domain() const {
        snnp::Domain domain;
        domain.n_centres = domain.n_all = static_cast<int>(kinds.size());
        domain.centres = centres.data();
        domain.counts = counts.data();
        domain.first = first.data();
        domain.mask = ~0;
        domain.positions = positions.data();
        domain.kinds = kinds.data();
        return domain;
    }
};

struct Results {
    std::vector<double> forces, virials, centroid_virials;
    double energy = 0.0;
    int64_t blocks = 0;
};

Results evaluate(const Chain& chain, int threads) {
    const size_t n = chain.kinds.size();
    snnp::OnAtoms<double, mlip::Threads> on_atoms(chain.model(), snnp::Kinds{{0}, {0.0}, {3.5 * 3.5}},
                                                  snnp::Coverage{}, threads);
    Results found;
    for (int turn = 0; turn < 2; ++turn) { // what the first leaves behind must not show
        found = {std::vector<double>(3 * n), std::vector<double>(9 * n), std::vector<double>(9 * n)};
        snnp::Targets targets;
        targets.forces = found.forces.data();
        targets.virials = found.virials.data();
        targets.centroid_virials = found.centroid_virials.data();
        targets.virial = true;
        found.energy = on_atoms.evaluate(chain.domain(), targets).energy;
        found.blocks = on_atoms.blocks_touched();
    }
    return found;
}

double difference(const std::vector<double>& a, const std::vector<double>& b) {
    double worst = 0.0;
    for (size_t k = 0; k < a.size(); ++k) {
        worst = std::max(worst, std::abs(a[k] - b[k]));
    }
    return worst;
}

void test(const char* name, const std::vector<int>& order, bool neat) {
    std::printf("%s\n", name);
    const Chain chain(order);
    const Results one = evaluate(chain, 1);
    expect(difference(one.forces, std::vector<double>(one.forces.size())) > 0.1, "forces", 0.0);
    expect(one.blocks == 0, "blocks of one thread", double(one.blocks));
    const auto all = double(order.size() + snnp::OwnTargets::block - 1) / snnp::OwnTargets::block;
    for (const int threads : {2, 3, 8}) {
        const Results several = evaluate(chain, threads);
        expect(difference(several.forces, one.forces) < 1e-12, "forces", double(threads));
        expect(difference(several.virials, one.virials) < 1e-12, "virials", double(threads));
        expect(difference(several.centroid_virials, one.centroid_virials) < 1e-12, "centroid virials", 0.0);
        expect(std::abs(several.energy - one.energy) < 1e-9, "energy", several.energy - one.energy);
        // a thread's share, and a block more at either end
        const double most = all * (threads - 1) / threads + 2 * (threads - 1);
        expect(!neat || double(several.blocks) <= most, "blocks", double(several.blocks));
    }
}

} // namespace

int main() {
    std::vector<int> order(5000); // not a multiple of a block
    std::iota(order.begin(), order.end(), 0);
    test("in order", order, true);
    std::shuffle(order.begin(), order.end(), std::mt19937(2));
    test("in any order", order, false);
    return failures == 0 ? 0 : 1;
}
