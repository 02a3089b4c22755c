#include "topology.h"

#include <cmath>
#include <stdexcept>
#include <string>
#include <unordered_map>

namespace mlip {
namespace {

// Images of one atom are a lattice vector apart, copies of one image differ by rounding.
constexpr double kSameVector = 1e-5; // Å

struct Builder {
    const DomainAtoms& atoms;
    const Neighbours& neighbours;
    double reach2;
    DomainTopology result;
    std::vector<int64_t> node_of_atom;                  // [n_all]
    std::unordered_map<int64_t, int64_t> node_of_owner; // by rank and index
    std::vector<int64_t> first_pair;                    // [n_centres + 1]

    int64_t n_centres() const { return static_cast<int64_t>(first_pair.size()) - 1; }

    /// Give an own or ghost atom its node, a new one if the owner is met for the first time.
    void add_node(int atom) {
        const auto next = static_cast<int64_t>(result.atom_of_node.size());
        const auto [found, is_new] = node_of_owner.try_emplace(atoms.owner[atom], next);
        node_of_atom[atom] = found->second;
        if (is_new) {
            result.atom_of_node.push_back(atom);
            result.topology.species.push_back(atoms.species[atom]);
        }
    }

    void add_owned_nodes() {
        node_of_atom.assign(atoms.n_all, -1);
        for (int i = 0; i < atoms.n_owned; ++i) {
            if (atoms.species[i] > 0) {
                add_node(i);
            }
        }
        result.topology.n_owned = static_cast<int64_t>(result.atom_of_node.size());
    }

    double distance2(int a, int b) const {
        const double* from = atoms.positions + 3 * static_cast<int64_t>(a);
        const double* to = atoms.positions + 3 * static_cast<int64_t>(b);
        const double x = to[0] - from[0], y = to[1] - from[1], z = to[2] - from[2];
        return x * x + y * y + z * z;
    }

    void add_pairs_of(int64_t centre) {
        Topology& topology = result.topology;
        const int atom = result.atom_of_node[centre];
        for (int k = 0; k < neighbours.count[atom]; ++k) {
            const int other = neighbours.first[atom][k] & neighbours.mask;
            if (atoms.species[other] <= 0) {
                continue;
            }
            const double d2 = distance2(atom, other);
            if (!(d2 <= reach2)) {
                continue;
            }
            if (d2 < kSmallestDistance * kSmallestDistance) {
                throw std::runtime_error("two atoms are at one place (distance " +
                                         std::to_string(std::sqrt(d2)) +
                                         " Å); look for overlapping atoms, or `delete_atoms overlap`");
            }
            if (node_of_atom[other] < 0) {
                add_node(other);
            }
            topology.centre.push_back(centre);
            topology.neighbour.push_back(node_of_atom[other]);
            topology.centre_atom.push_back(atom);
            topology.neighbour_atom.push_back(other);
        }
        first_pair.push_back(static_cast<int64_t>(topology.centre.size()));
    }

    /// Nodes are numbered as they are found, so one level of ghosts after the other has its pairs added.
    void add_pairs(int hops) {
        first_pair.push_back(0);
        int64_t done = 0;
        for (int hop = 0; hop < hops; ++hop) {
            const auto end = static_cast<int64_t>(result.atom_of_node.size());
            for (; done < end; ++done) {
                add_pairs_of(done);
            }
        }
    }

    /// From the neighbour's side the same pair goes to the same node with the opposite vector, though perhaps
    /// to another of its ghost atoms.
    int64_t find_reverse(int64_t pair) const {
        const Topology& topology = result.topology;
        const int64_t from = topology.neighbour[pair];
        if (from >= n_centres()) {
            return -1;
        }
        for (int64_t other = first_pair[from]; other < first_pair[from + 1]; ++other) {
            if (topology.neighbour[other] == topology.centre[pair] && is_opposite(pair, other)) {
                return other;
            }
        }
        return -1;
    }

    bool is_opposite(int64_t first, int64_t second) const {
        const Topology& t = result.topology;
        const double* x = atoms.positions;
        for (int k = 0; k < 3; ++k) {
            const double one = x[3 * t.neighbour_atom[first] + k] - x[3 * t.centre_atom[first] + k];
            const double two = x[3 * t.neighbour_atom[second] + k] - x[3 * t.centre_atom[second] + k];
            if (std::abs(one + two) > kSameVector) {
                return false;
            }
        }
        return true;
    }

    void add_reverse() {
        Topology& topology = result.topology;
        const auto n_pairs = static_cast<int64_t>(topology.centre.size());
        topology.reverse.assign(n_pairs, -1);
        for (int64_t pair = 0; pair < n_pairs; ++pair) {
            if (topology.reverse[pair] >= 0) {
                continue;
            }
            const int64_t reverse = find_reverse(pair);
            topology.reverse[pair] = reverse;
            if (reverse >= 0) {
                topology.reverse[reverse] = pair;
            }
        }
    }
};

} // namespace

DomainTopology build_topology(const DomainAtoms& atoms, const Neighbours& neighbours, double reach,
                              int hops) {
    Builder builder{atoms, neighbours, reach * reach, {}, {}, {}, {}};
    builder.result.topology.n_all = atoms.n_all;
    builder.add_owned_nodes();
    builder.add_pairs(hops);
    builder.add_reverse();
    return std::move(builder.result);
}

} // namespace mlip
