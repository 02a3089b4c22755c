#include "self_test.h"

#include <ATen/ops/ones.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <stdexcept>

namespace mlip {
namespace {

using Vector = std::array<double, 3>;

double dot(const Vector& a, const Vector& b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

Vector cross(const Vector& a, const Vector& b) {
    return {a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]};
}

Vector row(const std::vector<double>& values, size_t index) {
    return {values[3 * index], values[3 * index + 1], values[3 * index + 2]};
}

/// All pairs within the cutoffs, by a sum over images, sorted by centre.
struct Images {
    std::vector<int64_t> centres, neighbours, shifts; // [E], [E], [E, 3]
    std::vector<double> vectors;                      // [E, 3]

    Images(const SelfTest& test, const Description& model) {
        const auto counts = image_counts(test, model.cutoff);
        const auto n_atoms = static_cast<int64_t>(test.numbers.size());
        for (int64_t i = 0; i < n_atoms; ++i) {
            for (int64_t j = 0; j < n_atoms; ++j) {
                const double limit = cutoff_of(model, test.numbers[i], test.numbers[j]);
                for (int64_t a = -counts[0]; a <= counts[0]; ++a) {
                    for (int64_t b = -counts[1]; b <= counts[1]; ++b) {
                        for (int64_t c = -counts[2]; c <= counts[2]; ++c) {
                            add(test, i, j, {a, b, c}, limit);
                        }
                    }
                }
            }
        }
    }

  private:
    static double cutoff_of(const Description& model, int64_t first, int64_t second) {
        for (const PairCutoff& pair : model.pair_cutoffs) {
            if ((pair.first == first && pair.second == second) ||
                (pair.first == second && pair.second == first)) {
                return pair.cutoff;
            }
        }
        return model.cutoff;
    }

    /// A slab of images is as thick as the reach divided by the height of the cell over the other two
    /// vectors, and positions may lie outside the cell by as much as they spread.
    static std::array<int64_t, 3> image_counts(const SelfTest& test, double cutoff) {
        Vector low{INFINITY, INFINITY, INFINITY}, high{-INFINITY, -INFINITY, -INFINITY};
        for (size_t k = 0; k < test.positions.size(); ++k) {
            low[k % 3] = std::min(low[k % 3], test.positions[k]);
            high[k % 3] = std::max(high[k % 3], test.positions[k]);
        }
        const Vector spread{high[0] - low[0], high[1] - low[1], high[2] - low[2]};
        const double reach = cutoff + std::sqrt(dot(spread, spread));
        const std::array<Vector, 3> cell{row(test.cell, 0), row(test.cell, 1), row(test.cell, 2)};
        const double volume = std::abs(dot(cell[0], cross(cell[1], cell[2])));
        std::array<int64_t, 3> counts{};
        for (int k = 0; k < 3; ++k) {
            const Vector normal = cross(cell[(k + 1) % 3], cell[(k + 2) % 3]);
            counts[k] = static_cast<int64_t>(std::ceil(reach * std::sqrt(dot(normal, normal)) / volume));
        }
        return counts;
    }

    void add(const SelfTest& test, int64_t i, int64_t j, const std::array<int64_t, 3>& shift, double limit) {
        const bool oneself = i == j && shift == std::array<int64_t, 3>{0, 0, 0};
        Vector vector;
        for (int k = 0; k < 3; ++k) {
            double lattice = 0.0;
            for (int l = 0; l < 3; ++l) {
                lattice += static_cast<double>(shift[l]) * test.cell[3 * l + k];
            }
            vector[k] = test.positions[3 * j + k] - test.positions[3 * i + k] + lattice;
        }
        if (oneself || !(std::sqrt(dot(vector, vector)) <= limit)) {
            return;
        }
        centres.push_back(i);
        neighbours.push_back(j);
        shifts.insert(shifts.end(), shift.begin(), shift.end());
        vectors.insert(vectors.end(), vector.begin(), vector.end());
    }
};

at::Tensor integers(const std::vector<int64_t>& values, at::Device device) {
    return at::tensor(values, at::kLong).to(device);
}

Graph make_graph(const SelfTest& test, const Description& model, at::Device device) {
    const Images images(test, model);
    Graph graph;
    graph.species = integers(test.numbers, device);
    graph.edge_index =
        at::stack({integers(images.centres, at::kCPU), integers(images.neighbours, at::kCPU)}).to(device);
    graph.edge_vectors = at::tensor(images.vectors, at::kDouble).reshape({-1, 3}).to(device);
    graph.reverse_edges =
        reverse_edges(graph.edge_index, integers(images.shifts, at::kCPU).reshape({-1, 3}).to(device));
    graph.node_weights = at::ones({graph.species.size(0)}, graph.edge_vectors.options());
    graph.node_structure = at::zeros_like(graph.species);
    return graph;
}

/// All that the file gives numbers for, with the rotations that it was exported with.
Outputs evaluate(const ScriptedModel& model, const SelfTest& test, const Graph& graph) {
    std::vector<std::string> wanted;
    for (const auto& [name, expected] : test.reference) {
        wanted.push_back(name);
    }
    return model(graph, model.exported(), wanted);
}

std::string number(double value, const char* format = "%.9g") {
    char text[64];
    std::snprintf(text, sizeof text, format, value);
    return text;
}

/// Empty, or what was expected and what was got.
std::string compare(const std::string& name, const Quantity& expected, const Outputs& outputs,
                    double tolerance) {
    const auto found = outputs.find(name);
    if (found == outputs.end() || found->second.sizes() != at::IntArrayRef(expected.shape)) {
        return "`" + name + "`: expected an output of another shape, got " +
               (found == outputs.end() ? "none" : c10::str(found->second.sizes()));
    }
    const at::Tensor got = found->second.to(at::kCPU, at::kDouble).contiguous();
    size_t worst = 0;
    double largest = -1.0;
    for (size_t k = 0; k < expected.values.size(); ++k) {
        const double difference = std::abs(got.data_ptr<double>()[k] - expected.values[k]);
        if (!(difference <= largest)) { // NaN counts as the worst
            worst = k;
            largest = std::isnan(difference) ? INFINITY : difference;
        }
    }
    if (largest <= tolerance) {
        return "";
    }
    return "`" + name + "`: expected " + number(expected.values[worst]) + ", got " +
           number(got.data_ptr<double>()[worst]) + ", tolerance " + number(tolerance, "%.1e");
}

} // namespace

void run_self_test(const ScriptedModel& model, const ModelFile& file, at::Device device,
                   const std::string& dtype) {
    const SelfTest& test = file.self_test;
    std::string failures;
    try {
        const auto& by_device = test.tolerances.at(dtype);
        const auto& tolerances =
            by_device.contains("cuda") && device.is_cuda() ? by_device.at("cuda") : by_device.at("cpu");
        const Outputs outputs = evaluate(model, test, make_graph(test, file.description, device));
        for (const auto& [name, expected] : test.reference) {
            const std::string failure = compare(name, expected, outputs, tolerances.at(name));
            failures += (failures.empty() || failure.empty() ? "" : "; ") + failure;
        }
    } catch (const std::exception& error) {
        failures = "it stopped with: " + cause_of(error);
    }
    if (!failures.empty()) {
        throw std::runtime_error("`" + file.description.path + "` fails its self-test in " + dtype + " on `" +
                                 device.str() + "`: " + failures +
                                 ". The file is intact, but torch or the operators compute something else "
                                 "here than at its export; see `ase-mlip doctor`");
    }
}

GhostedSelfTest with_ghosts(const ModelFile& file, const std::string& dtype) {
    const SelfTest& test = file.self_test;
    const Images images(test, file.description);
    GhostedSelfTest found;
    const auto n = static_cast<int>(test.numbers.size());
    found.numbers.assign(test.numbers.begin(), test.numbers.end());
    found.positions = test.positions;
    found.counts.assign(n, 0);
    for (int atom = 0; atom < n; ++atom) {
        found.owners.push_back(atom);
    }
    for (size_t edge = 0; edge < images.centres.size(); ++edge) {
        const int64_t centre = images.centres[edge], owner = images.neighbours[edge];
        found.counts[centre] += 1;
        found.owners.push_back(static_cast<int>(owner));
        found.numbers.push_back(static_cast<int>(test.numbers[owner]));
        for (int k = 0; k < 3; ++k) {
            found.positions.push_back(test.positions[3 * centre + k] + images.vectors[3 * edge + k]);
        }
    }
    for (const char* name : {"energy", "forces", "virial"}) {
        if (test.reference.contains(name)) {
            found.reference[name] = test.reference.at(name).values;
            found.tolerances[name] = test.tolerances.at(dtype).at("cpu").at(name);
        }
    }
    return found;
}

} // namespace mlip
