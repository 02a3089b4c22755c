// The self-test inside every model file with the native kernel, which works on tables of its own.

#include "native_snnp.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <exception>

namespace mlip {
namespace {

/// The structure as LAMMPS would have it; its types are those of the model's species, counted from 1.
struct Structure {
    const GhostedSelfTest& test;
    std::vector<int> species{0}, kinds, centres, neighbours;
    std::vector<const int*> first;

    Structure(const GhostedSelfTest& given, const Description& model) : test(given) {
        species.insert(species.end(), model.species.begin(), model.species.end());
        for (const int number : test.numbers) {
            const auto found = std::find(species.begin() + 1, species.end(), number);
            kinds.push_back(static_cast<int>(found - species.begin()));
        }
        const int n = static_cast<int>(test.counts.size());
        for (int ghost = n; ghost < static_cast<int>(kinds.size()); ++ghost) {
            neighbours.push_back(ghost);
        }
        int begin = 0;
        for (int centre = 0; centre < n; ++centre) {
            centres.push_back(centre);
            first.push_back(neighbours.data() + begin);
            begin += test.counts[centre];
        }
    }

    NativeDomain domain() const {
        NativeDomain domain;
        domain.n_centres = static_cast<int>(centres.size());
        domain.n_all = static_cast<int>(kinds.size());
        domain.centres = centres.data();
        domain.counts = test.counts.data();
        domain.first = first.data();
        domain.mask = ~0;
        domain.kinds = kinds.data();
        domain.positions = test.positions.data();
        return domain;
    }
};

using Numbers = std::map<std::string, std::vector<double>>;

Numbers evaluate(const SnnpTables& tables, const Description& model) {
    const GhostedSelfTest& test = *tables.self_test;
    const Structure structure(test, model);
    std::vector<double> forces(3 * test.numbers.size(), 0.0);
    NativeTargets targets;
    targets.forces = forces.data();
    targets.virial = true;
    const auto kernel = make_native_snnp(tables, model, structure.species);
    const NativeSums sums = kernel->evaluate(structure.domain(), targets);
    const size_t n = test.counts.size();
    for (size_t k = 3 * n; k < forces.size(); ++k) {
        forces[3 * test.owners[k / 3] + k % 3] += forces[k];
    }
    forces.resize(3 * n);
    return {{"energy", {sums.energy}}, {"forces", forces}, {"virial", {sums.virial, sums.virial + 9}}};
}

/// Empty, or what was expected and what was got.
std::string compare(const std::string& name, const std::vector<double>& expected,
                    const std::vector<double>& got, double tolerance) {
    for (size_t k = 0; k < expected.size(); ++k) {
        if (!(std::abs(got[k] - expected[k]) <= tolerance)) { // also NaN
            char text[160];
            std::snprintf(text, sizeof text, "`%s`: expected %.9g, got %.9g, tolerance %.1e", name.c_str(),
                          expected[k], got[k], tolerance);
            return text;
        }
    }
    return "";
}

std::string failures_of(const SnnpTables& tables, const Description& model) {
    std::string failures;
    const Numbers found = evaluate(tables, model);
    for (const auto& [name, expected] : tables.self_test->reference) {
        const std::string failure =
            compare(name, expected, found.at(name), tables.self_test->tolerances.at(name));
        failures += (failures.empty() || failure.empty() ? "" : "; ") + failure;
    }
    return failures;
}

} // namespace

std::string native_self_test(const SnnpTables& tables, const Description& model) {
    if (!tables.self_test) {
        return "";
    }
    std::string failures;
    try {
        failures = failures_of(tables, model);
    } catch (const std::exception& error) {
        failures = std::string("it stopped with: ") + error.what();
    }
    if (failures.empty()) {
        return "";
    }
    return "`" + model.path + "` fails its self-test in " + model.dtype +
           " on `cpu` with the native kernel: " + failures +
           ". The file is intact, but this kernel computes something else here than the model did at its "
           "export; see `ase-mlip doctor`, or take `kernel torch`";
}

} // namespace mlip
