// A process without Python: loads the operator library, calls it from TorchScript, compares with hand values.
//
//   test_operators LIBRARY

#include <dlfcn.h>
#include <torch/csrc/jit/frontend/resolver.h>
#include <torch/csrc/jit/frontend/sugared_value.h>
#include <torch/script.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>

namespace {

const char* const kScript = R"(
def forces(gradients: Tensor, edge_index: Tensor, n_nodes: int) -> Tensor:
    return ase_mlip.forces_from_gradients(gradients, edge_index, n_nodes)

def virials(gradients: Tensor, vectors: Tensor, edge_index: Tensor, n_nodes: int) -> Tensor:
    return ase_mlip.virials_from_gradients(gradients, vectors, edge_index, n_nodes)

def virial(gradients: Tensor, vectors: Tensor, structure: Tensor, n_structures: int) -> Tensor:
    return ase_mlip.virial_from_gradients(gradients, vectors, structure, n_structures)

def reverse(edge_index: Tensor, shifts: Tensor) -> Tensor:
    return ase_mlip.reverse_edges(edge_index, shifts)

def version() -> int:
    return ase_mlip.schema_version()
)";

/// Lets the text say ase_mlip.NAME, as a saved model says torch.ops.ase_mlip.NAME.
struct OperatorNames : torch::jit::Resolver {
    std::shared_ptr<torch::jit::SugaredValue> resolveValue(const std::string& name,
                                                           torch::jit::GraphFunction&,
                                                           const torch::jit::SourceRange&) override {
        return name == "ase_mlip" ? std::make_shared<torch::jit::BuiltinModule>(name) : nullptr;
    }
};

int failures = 0;

void expect(bool passed, const std::string& what) {
    std::printf("%s  %s\n", passed ? "ok  " : "FAIL", what.c_str());
    failures += passed ? 0 : 1;
}

template <typename Call> std::string message_of(Call&& call) {
    try {
        call();
    } catch (const std::exception& error) {
        return error.what();
    }
    return "";
}

// Three atoms: 0-1 and 1-2 bonded both ways, 0 with its own image along the first cell vector.
struct Example {
    at::Tensor edge_index = at::tensor({0, 0, 0, 1, 1, 2, 0, 0, 1, 0, 2, 1}, at::kLong).reshape({2, 6});
    at::Tensor shifts =
        at::tensor({1, 0, 0, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, -1}, at::kLong).reshape({6, 3});
    at::Tensor gradients = at::arange(18, at::kDouble).reshape({6, 3});
    at::Tensor vectors = at::ones({6, 3}, at::kDouble);
    at::Tensor structure = at::zeros({6}, at::kLong);
};

void test_values(torch::jit::CompilationUnit& script) {
    const Example x;
    const at::Tensor reverse = script.run_method("reverse", x.edge_index, x.shifts).toTensor();
    expect(at::equal(reverse, at::tensor({1, 0, 3, 2, 5, 4}, at::kLong)), "every edge finds its reverse");

    // x components: self images cancel on atom 0; 0-1: g = 6 and 9; 1-2: g = 12 and 15
    const at::Tensor forces = script.run_method("forces", x.gradients, x.edge_index, 3).toTensor();
    const at::Tensor by_hand = at::tensor({-3., -3., -3., 0., 0., 0., 3., 3., 3.}, at::kDouble);
    expect(at::allclose(forces.flatten(), by_hand), "forces are the hand values");

    const at::Tensor virials =
        script.run_method("virials", x.gradients, x.vectors, x.edge_index, 3).toTensor();
    const at::Tensor virial = script.run_method("virial", x.gradients, x.vectors, x.structure, 1).toTensor();
    // with all vectors (1, 1, 1) a row is minus the sum of the gradients: 45, 51, 57
    const at::Tensor row = -at::tensor({45., 51., 57.}, at::kDouble);
    expect(at::allclose(virial[0], row.expand({3, 3})), "the virial is the hand value");
    expect(at::allclose(virials.sum(0), virial[0]), "per-atom virials add up to the virial");
}

void test_derivative(torch::jit::CompilationUnit& script) {
    Example x;
    x.gradients.set_requires_grad(true);
    const at::Tensor forces = script.run_method("forces", x.gradients, x.edge_index, 3).toTensor();
    (forces * forces).sum().backward();
    const at::Tensor twice = 2 * forces.detach();
    const at::Tensor expected =
        twice.index_select(0, x.edge_index[0]) - twice.index_select(0, x.edge_index[1]);
    expect(at::allclose(x.gradients.grad(), expected), "derivatives work without Python");
}

void test_edges_of_use(torch::jit::CompilationUnit& script) {
    const Example x;
    const at::Tensor none = at::zeros({2, 0}, at::kLong), no_vectors = at::zeros({0, 3}, at::kDouble);
    expect(script.run_method("forces", no_vectors, none, 0).toTensor().size(0) == 0, "no atoms");
    expect(script.run_method("forces", no_vectors, none, 2).toTensor().abs().sum().item<double>() == 0,
           "atoms without edges");
    const std::string out_of_range =
        message_of([&] { script.run_method("forces", x.gradients, x.edge_index, 2); });
    expect(out_of_range.find("`edge_index` must lie in [0, 2), got 2") != std::string::npos,
           "an index out of range is an error that says so");
    const std::string wrong_shape =
        message_of([&] { script.run_method("forces", x.vectors.slice(0, 0, 2), x.edge_index, 3); });
    expect(wrong_shape.find("`gradients` must have shape [6, 3]") != std::string::npos,
           "a wrong shape is an error that says so");
    // many edges, so that several threads take part
    const at::Tensor many = x.edge_index.repeat({1, 20000});
    const at::Tensor ones = at::ones({many.size(1), 3}, at::kDouble);
    expect(script.run_method("forces", ones, many, 3).toTensor().sum().item<double>() == 0,
           "many edges leave no net force");
}

} // namespace

int main(int count, char** arguments) {
    if (count != 2) {
        std::fprintf(stderr, "usage: %s LIBRARY\n", arguments[0]);
        return EXIT_FAILURE;
    }
    if (dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL) == nullptr) {
        std::fprintf(stderr, "`LIBRARY`: %s\n", dlerror());
        return EXIT_FAILURE;
    }
    torch::jit::CompilationUnit script;
    script.define(std::nullopt, kScript, std::make_shared<OperatorNames>(), nullptr);
    expect(script.run_method("version").toInt() == 4, "schema version");
    test_values(script);
    test_derivative(script);
    test_edges_of_use(script);
    return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
