#include "topology.h"

#include <cmath>
#include <stdexcept>
#include <string>
#include <unordered_map>

namespace mlip {
namespace {

// Images of one atom are a lattice vector apart, copies of one image differ by rounding.
constexpr double kSameVector = 1e-5; // Å
constexpr double kSamePlace = 1e-3;  // Å; nearer atoms are a mistake, and give no meaningful force

struct Builder {
    const Places& places;
    const Neighbours& neighbours;
    double reach2;
    Candidates result;
    std::vector<int64_t> node_of_place;
    std::unordered_map<int64_t, int64_t> node_of_atom; // by identity
    std::vector<int64_t> first_edge;                   // [n_centres + 1]

    int64_t n_centres() const { return static_cast<int64_t>(first_edge.size()) - 1; }

    /// Give a place the node of its atom, a new one if the atom is met for the first time.
    void add_node(int place) {
        const auto next = static_cast<int64_t>(result.place_of_node.size());
        const auto [found, is_new] = node_of_atom.try_emplace(places.owner[place], next);
        node_of_place[place] = found->second;
        if (is_new) {
            result.place_of_node.push_back(place);
            result.topology.species.push_back(places.species[place]);
        }
    }

    void add_owned_nodes() {
        node_of_place.assign(places.n_places, -1);
        for (int i = 0; i < places.n_owned; ++i) {
            if (places.species[i] > 0) {
                add_node(i);
            }
        }
        result.topology.n_owned = static_cast<int64_t>(result.place_of_node.size());
    }

    double distance2(int a, int b) const {
        const double* from = places.positions + 3 * static_cast<int64_t>(a);
        const double* to = places.positions + 3 * static_cast<int64_t>(b);
        const double x = to[0] - from[0], y = to[1] - from[1], z = to[2] - from[2];
        return x * x + y * y + z * z;
    }

    void add_edges_of(int64_t centre) {
        Topology& topology = result.topology;
        const int place = result.place_of_node[centre];
        for (int k = 0; k < neighbours.count[place]; ++k) {
            const int other = neighbours.first[place][k] & neighbours.mask;
            if (places.species[other] <= 0) {
                continue;
            }
            const double d2 = distance2(place, other);
            if (!(d2 <= reach2)) {
                continue;
            }
            if (d2 < kSamePlace * kSamePlace) {
                throw std::runtime_error("two atoms are at one place (distance " +
                                         std::to_string(std::sqrt(d2)) +
                                         " Å); look for overlapping atoms, or `delete_atoms overlap`");
            }
            if (node_of_place[other] < 0) {
                add_node(other);
            }
            topology.centre.push_back(centre);
            topology.neighbour.push_back(node_of_place[other]);
            topology.centre_place.push_back(place);
            topology.neighbour_place.push_back(other);
        }
        first_edge.push_back(static_cast<int64_t>(topology.centre.size()));
    }

    /// Nodes are numbered as they are found, so one level of ghosts after the other has its edges added.
    void add_edges(int hops) {
        first_edge.push_back(0);
        int64_t done = 0;
        for (int hop = 0; hop < hops; ++hop) {
            const auto end = static_cast<int64_t>(result.place_of_node.size());
            for (; done < end; ++done) {
                add_edges_of(done);
            }
        }
    }

    /// From the neighbour's side the same pair is an edge to the same atom with the opposite vector, though
    /// perhaps to another of its places.
    int64_t find_reverse(int64_t edge) const {
        const Topology& topology = result.topology;
        const int64_t from = topology.neighbour[edge];
        if (from >= n_centres()) {
            return -1;
        }
        for (int64_t other = first_edge[from]; other < first_edge[from + 1]; ++other) {
            if (topology.neighbour[other] == topology.centre[edge] && is_opposite(edge, other)) {
                return other;
            }
        }
        return -1;
    }

    bool is_opposite(int64_t first, int64_t second) const {
        const Topology& t = result.topology;
        const double* x = places.positions;
        for (int k = 0; k < 3; ++k) {
            const double one = x[3 * t.neighbour_place[first] + k] - x[3 * t.centre_place[first] + k];
            const double two = x[3 * t.neighbour_place[second] + k] - x[3 * t.centre_place[second] + k];
            if (std::abs(one + two) > kSameVector) {
                return false;
            }
        }
        return true;
    }

    void add_reverse() {
        Topology& topology = result.topology;
        const auto n_edges = static_cast<int64_t>(topology.centre.size());
        topology.reverse.assign(n_edges, -1);
        for (int64_t edge = 0; edge < n_edges; ++edge) {
            if (topology.reverse[edge] >= 0) {
                continue;
            }
            const int64_t reverse = find_reverse(edge);
            topology.reverse[edge] = reverse;
            if (reverse >= 0) {
                topology.reverse[reverse] = edge;
            }
        }
    }
};

} // namespace

Candidates build_candidates(const Places& places, const Neighbours& neighbours, double reach, int hops) {
    Builder builder{places, neighbours, reach * reach, {}, {}, {}, {}};
    builder.result.topology.n_places = places.n_places;
    builder.add_owned_nodes();
    builder.add_edges(hops);
    builder.add_reverse();
    return std::move(builder.result);
}

} // namespace mlip
