#include "scripted_model.h"

#include "../both_sides/elements.h"
#include "../both_sides/library_sums.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/zeros.h>
#include <dlfcn.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/serialization/import.h>
#include <torch/version.h>

#include <algorithm>
#include <cstdio>
#include <sstream>
#include <stdexcept>

namespace mlip {
namespace {

constexpr int64_t kMmapThreshold = 2147483647; // bytes, as in ase_mlip/model_file/model.py
constexpr int64_t kTrimThreshold = -1;         // never

std::optional<c10::OperatorHandle> find_operator(const char* name) {
    return c10::Dispatcher::singleton().findSchema({name, ""});
}

/// The operator, or an error that names the library it should have come from.
c10::OperatorHandle require_operator(const char* name) {
    const auto found = find_operator(name);
    if (!found) {
        throw std::runtime_error(std::string("`") + MLIP_OPS_LIBRARY + "`: expected the operator `" + name +
                                 "`, found none; build it again with `ase-mlip build`");
    }
    return *found;
}

/// glibc keeps large freed blocks from now on, once per process: it matters for every large system.
void tune_allocator() {
    static const bool done = require_operator("ase_mlip::tune_allocator")
                                 .typed<bool(int64_t, int64_t)>()
                                 .call(kMmapThreshold, kTrimThreshold);
#if defined(__GLIBC__)
    static const int warned = done ? 0
                                   : std::fputs("mlip: glibc refused `mallopt`: large systems may run at "
                                                "half the speed\n",
                                                stderr);
    static_cast<void>(warned);
#endif
    static_cast<void>(done);
}

// ---- tables of an s-NNP, by the names of ase_mlip/networks/snnp/snnp.py

template <typename T> std::vector<T> numbers(const at::Tensor& tensor, at::ScalarType dtype) {
    const at::Tensor values = tensor.detach().to(at::kCPU, dtype).contiguous();
    const T* data = values.const_data_ptr<T>();
    return {data, data + values.numel()};
}
std::vector<double> reals(const at::Tensor& tensor) { return numbers<double>(tensor, at::kDouble); }
std::vector<int64_t> integers(const at::Tensor& tensor) { return numbers<int64_t>(tensor, at::kLong); }

SnnpTables::Bank read_bank(const torch::jit::Module& bank) {
    // the file's own code knows those that are no parameters: zeros at the end, a repulsion at the beginning
    const at::Tensor coefficients = bank.get_method("all_coefficients")({}).toTensor();
    return {coefficients.size(0), coefficients.size(1), coefficients.size(2), reals(coefficients),
            reals(bank.attr("grid").toTensor())};
}

SnnpTables::Layer read_layer(const torch::jit::Module& layer) {
    const at::Tensor weight = layer.attr("weight").toTensor();
    return {weight.size(1), weight.size(2), reals(weight), reals(layer.attr("bias").toTensor())};
}

SnnpTables read_tables(const torch::jit::Module& network, const at::Tensor& references) {
    SnnpTables tables;
    const auto bank = [&](const char* name) { return read_bank(network.attr(name).toModule()); };
    const auto table = [&](const char* name) { return integers(network.attr(name).toTensor()); };
    tables.type_of_number = table("types");
    tables.references = reals(references);
    tables.cutoff = network.attr("cutoff").toDouble();
    tables.angular_cutoff = network.attr("angular_cutoff").toDouble();
    tables.scale = network.attr("energy_scale").toTensor().item<double>();
    tables.phi = bank("phi");
    const torch::jit::Module phi = network.attr("phi").toModule();
    tables.before = phi.hasattr("before") ? phi.attr("before").toInt() : 0;
    tables.rho = bank("rho");
    tables.f = bank("f");
    tables.g = bank("g");
    tables.embedding = bank("embedding");
    tables.pair_cases = table("pair_cases");
    tables.radial_cases = table("radial_cases");
    tables.angle_cases = table("angle_cases");
    tables.network_cases = table("network_cases");
    const at::Tensor skip = network.attr("skip").toTensor();
    tables.networks = skip.size(0);
    tables.features = skip.size(1);
    tables.skip = reals(skip);
    if (!network.attr("has_skip").toBool()) {
        std::fill(tables.skip.begin(), tables.skip.end(), 0.0);
    }
    if (network.attr("has_network").toBool()) {
        const torch::jit::Module networks = network.attr("networks").toModule();
        for (const torch::jit::Module& layer : networks.attr("layers").toModule().children()) {
            tables.layers.push_back(read_layer(layer));
        }
        tables.layers.push_back(read_layer(networks.attr("last").toModule()));
    }
    return tables;
}

bool is_snnp(const torch::jit::Module& network) {
    const std::string name = network.type()->name() ? network.type()->name()->qualifiedName() : "";
    return name.starts_with("__torch__.ase_mlip.") && name.ends_with(".SNNP");
}

Outputs call(torch::jit::Module& module, const Graph& graph, std::vector<c10::IValue> further) {
    std::vector<c10::IValue> arguments{graph.species,       graph.edge_index,   graph.edge_vectors,
                                       graph.reverse_edges, graph.node_weights, graph.node_structure,
                                       /*n_structures=*/1};
    arguments.insert(arguments.end(), further.begin(), further.end());
    Outputs outputs;
    for (const auto& entry : module.forward(std::move(arguments)).toGenericDict()) {
        outputs[entry.key().toStringRef()] = entry.value().toTensor().detach();
    }
    return outputs;
}

// ---- files of schema 1, as in ase_mlip/model_file/earlier/first_schema.py

/// Whether a module is of schema 1, where a call says only that derivatives are wanted.
bool takes_derivatives(const torch::jit::Module& module) {
    const auto& arguments = module.get_method("forward").function().getSchema().arguments();
    return std::any_of(arguments.begin(), arguments.end(),
                       [](const c10::Argument& argument) { return argument.name() == "derivatives"; });
}

/// Rotations are written on the module, which no other thread of this process uses; direct heads may be left
/// out beside derivatives, and are asked for apart.
Outputs of_first_schema(torch::jit::Module& module, const Graph& graph, const Rotations& rotations,
                        const std::vector<std::string>& wanted) {
    const auto wants = [&](const std::string& name) {
        return std::find(wanted.begin(), wanted.end(), name) != wanted.end();
    };
    torch::jit::Module network = module.attr("network").toModule();
    if (network.hasattr("rotations")) {
        network.setattr("rotations", rotations.matrices);
        network.setattr("weights", rotations.weights);
        network.setattr("spread", wants("spread"));
    } else if (rotations.weights.size(0) > 0) {
        throw std::runtime_error("the file was written before models could be averaged over rotations; "
                                 "export it again for `symmetrize`");
    }
    const c10::Dict<std::string, at::Tensor> inputs;
    const bool derivatives = wants("forces") || wants("virial") || wants("virials") || wants("gradients");
    Outputs outputs = call(module, graph, {derivatives, inputs});
    if (derivatives && std::any_of(wanted.begin(), wanted.end(), [&](const std::string& name) {
            return name.starts_with("direct_") && !outputs.contains(name);
        })) {
        outputs.merge(call(module, graph, {false, inputs}));
    }
    if (const auto found = outputs.find("virials_by_rotation"); found != outputs.end()) {
        outputs["virial_by_rotation"] = found->second.sum(0, /*keepdim=*/true);
    }
    return outputs;
}

/// A network behind the wrapper of ase_mlip/model_file/earlier/first_contract.py.
torch::jit::Module unwrapped(const torch::jit::Module& network) {
    const std::string name = network.type()->name() ? network.type()->name()->name() : "";
    return name.starts_with("FirstContract") ? network.attr("network").toModule() : network;
}

// ---- species, as in ase_mlip/model_file/self_test.py

/// Throws where the document names elements for which a network has no weights. Networks hold a table `types`
/// [119]; where an unknown number has type 0, as the first species has, only one of that type can be there.
void check_species(const torch::jit::Module& module, const Description& model) {
    for (const auto& buffer : module.named_buffers()) {
        const bool is_table = buffer.name.substr(buffer.name.rfind('.') + 1) == "types";
        if (!is_table || buffer.value.dim() != 1 || buffer.value.size(0) != 119) {
            continue;
        }
        const std::vector<int64_t> types = integers(buffer.value);
        const bool has_gaps = *std::min_element(types.begin() + 1, types.end()) < 0;
        std::string symbols;
        int count = 0;
        for (const int number : model.species) {
            if (types[number] < (has_gaps ? 0 : 1)) {
                symbols += (count++ == 0 ? "" : ", ") + element_symbol(number);
            }
        }
        if (count > (has_gaps ? 0 : 1)) {
            throw std::runtime_error(
                "`" + model.path + "`: `species` lists " + symbols +
                (has_gaps ? ", which the weights do not have" : ", of which the weights have at most one") +
                "; fetch the file again");
        }
    }
}

// Module::to(dtype) of libtorch would convert integer buffers as well, which Python's does not.
void convert(const torch::jit::Module& network, at::ScalarType dtype) {
    const auto convert_one = [&](const at::Tensor& tensor) {
        if (tensor.is_floating_point()) {
            tensor.set_data(tensor.to(dtype));
        }
    };
    for (const at::Tensor& weight : network.parameters()) {
        convert_one(weight);
    }
    for (const at::Tensor& buffer : network.buffers()) {
        convert_one(buffer);
    }
}

} // namespace

struct ScriptedModel::Module {
    mutable torch::jit::Module value;
};

void load_operators(const ModelFile& file) {
    constexpr const char* version = "ase_mlip::schema_version";
    // Python may have registered them already, from this library or another one
    if (!find_operator(version)) {
        verify_library(MLIP_OPS_LIBRARY);
        if (dlopen(MLIP_OPS_LIBRARY, RTLD_NOW | RTLD_LOCAL) == nullptr) {
            throw std::runtime_error(std::string("the operators cannot be loaded: ") + dlerror() +
                                     "; build them with `ase-mlip build`");
        }
    }
    const int64_t available = require_operator(version).typed<int64_t()>().call();
    const std::string& path = file.description.path;
    for (const auto& [name, needed] : file.operators) {
        if (name != "ase_mlip") {
            throw std::runtime_error("`" + path + "` needs the operators `" + name +
                                     "`, which this version does not have; expected only ase_mlip");
        }
        if (needed > available) {
            throw std::runtime_error("`" + path + "` needs version " + std::to_string(needed) +
                                     " of the operators `" + name + "`, expected at most " +
                                     std::to_string(available) + "; upgrade ase_mlip");
        }
    }
    tune_allocator();
}

void require_threads(int count) {
    require_operator("ase_mlip::require_threads").typed<void(int64_t)>().call(count);
}

ScriptedModel::ScriptedModel(const ModelFile& file, at::Device device, at::ScalarType dtype) {
    std::istringstream stream(file.bytes);
    try {
        module_ = std::make_unique<Module>(Module{torch::jit::load(stream, device)});
        module_->value.eval();
        convert(module_->value.attr("network").toModule(), dtype);
    } catch (const std::exception& error) {
        throw std::runtime_error("`" + file.description.path + "` is intact, but torch " + TORCH_VERSION +
                                 " cannot load it (written with torch " + file.torch_version +
                                 "): " + cause_of(error));
    }
    check_species(module_->value, file.description);
}

ScriptedModel::~ScriptedModel() = default;

Rotations ScriptedModel::exported() const {
    const torch::jit::Module network = module_->value.attr("network").toModule();
    if (!network.hasattr("rotations")) { // from before there was averaging
        return {at::zeros({0, 3, 3}, at::kDouble), at::zeros({0}, at::kDouble)};
    }
    // loading a file moves all its tensors to the device
    return {network.attr("rotations").toTensor().cpu(), network.attr("weights").toTensor().cpu()};
}

std::unique_ptr<SnnpTables> ScriptedModel::snnp_tables() const {
    const torch::jit::Module averaged = module_->value.attr("network").toModule();
    if (!averaged.hasattr("network")) { // from before there was averaging
        return nullptr;
    }
    const torch::jit::Module network = unwrapped(averaged.attr("network").toModule());
    if (!is_snnp(network)) {
        return nullptr;
    }
    return std::make_unique<SnnpTables>(
        read_tables(network, module_->value.attr("reference_energies").toTensor()));
}

Outputs ScriptedModel::operator()(const Graph& graph, const Rotations& rotations,
                                  const std::vector<std::string>& wanted) const {
    const torch::jit::GraphOptimizerEnabledGuard no_recompilation(false);
    if (takes_derivatives(module_->value)) {
        return of_first_schema(module_->value, graph, rotations, wanted);
    }
    const c10::Dict<std::string, at::Tensor> inputs;
    return call(module_->value, graph,
                {inputs, rotations.matrices, rotations.weights, /*at_once=*/0, wanted});
}

at::Tensor reverse_edges(const at::Tensor& edge_index, const at::Tensor& shifts) {
    return require_operator("ase_mlip::reverse_edges")
        .typed<at::Tensor(const at::Tensor&, const at::Tensor&)>()
        .call(edge_index, shifts);
}

std::string cause_of(const std::exception& error) {
    const auto* from_torch = dynamic_cast<const c10::Error*>(&error);
    std::istringstream text(from_torch ? from_torch->what_without_backtrace() : error.what());
    std::string line, last, named;
    while (std::getline(text, line)) {
        line.erase(0, line.find_first_not_of(" \t"));
        const size_t colon = line.find("Error: ");
        const bool is_named = colon != std::string::npos && line.find(' ') > colon; // "RuntimeError: ..."
        if (is_named || line.starts_with("CUDA error")) {
            named = line;
        }
        if (!line.empty()) {
            last = line;
        }
    }
    const std::string& cause = named.empty() ? last : named;
    if (cause.find("out of memory") != std::string::npos) { // TorchScript leaves nothing but the message
        return cause + "; use more GPUs or smaller domains, `dtype float32`, or `device cpu`";
    }
    return cause;
}

} // namespace mlip
