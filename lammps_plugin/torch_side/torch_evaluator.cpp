// The torch side of the pair style: implements Evaluator with a model file and libtorch.

#include "../both_sides/device_policy.h"
#include "../both_sides/rotations.h"
#include "call_state.h"
#include "domain_graph.h"
#include "feature_leverage.h"
#include "self_test.h"
#include "torch_threads.h"

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/core/DeviceGuard.h>

#include <algorithm>
#include <chrono>
#include <stdexcept>

namespace mlip {
namespace {

at::Device find_device(const Options& options) {
    const int gpus = options.device == "cpu" || !at::hasCUDA() ? 0 : static_cast<int>(at::getNumGPUs());
    return at::Device(device_to_try(options.device, gpus, options.local_rank));
}

at::ScalarType find_dtype(const std::string& name) {
    if (name != "float32" && name != "float64") {
        throw std::runtime_error("unsupported `dtype` " + name + "; expected float32 or float64");
    }
    return name == "float32" ? at::kFloat : at::kDouble;
}

ModelFile read_and_choose(const Options& options, at::Device device) {
    ModelFile file = read_model_file(options.path);
    file.description.dtype = options.dtype.empty() ? file.description.dtype : options.dtype;
    file.description.device = device.str();
    file.description.threads = options.threads;
    load_operators(file);
    require_threads(options.threads);
    return file;
}

/// Tensors of any shape as contiguous float64 on the host, in one transfer.
std::vector<at::Tensor> to_host(const std::vector<at::Tensor>& tensors) {
    std::vector<at::Tensor> flat, result;
    for (const at::Tensor& tensor : tensors) {
        flat.push_back(tensor.to(at::kDouble).contiguous().flatten());
    }
    if (flat.empty() || flat[0].is_cpu()) {
        return flat;
    }
    const at::Tensor all = at::cat(flat).cpu();
    int64_t start = 0;
    for (const at::Tensor& part : flat) {
        result.push_back(all.narrow(0, start, part.numel()));
        start += part.numel();
    }
    return result;
}

/// -r (x) dE/dr of each edge, all to the neighbour: [N, 3, 3]
at::Tensor centroid_virials(const Graph& graph, const at::Tensor& gradients) {
    const at::Tensor products = -graph.edge_vectors.unsqueeze(2) * gradients.unsqueeze(1);
    const at::Tensor zeros = at::zeros({graph.species.size(0), 3, 3}, graph.edge_vectors.options());
    return zeros.index_add(0, graph.edge_index[1], products);
}

/// positions -> graph, its edges rotated as asked for -> the model, averaged over its rotations -> numbers on
/// the host, rotated back -> results that point to them
class TorchEvaluator : public Evaluator {
  public:
    explicit TorchEvaluator(const Options& options)
        : device_(find_device(options)), file_(read_and_choose(options, device_)),
          model_(file_, device_, find_dtype(file_.description.dtype)), graph_(file_.description, device_) {
        const TorchThreads threads(options.threads);
        if (options.self_test || !device_.is_cpu()) { // every rank may have another GPU
            const c10::DeviceGuard on_device(device_);
            run_self_test(model_, file_, device_, file_.description.dtype);
        }
        file_.bytes = std::string(); // the archive is not needed any more
        choose_averaging(options.averaging);
        tables_ = model_.snnp_tables();
        if (file_.leverage && file_.leverage->basis == "features") {
            leverage_.emplace(*file_.leverage, device_);
            file_.description.leverage = true;
        }
        if (file_.leverage && file_.leverage->basis == "snnp") {
            if (!tables_) {
                throw std::runtime_error("`" + file_.description.path +
                                         "` has the leverage of an s-NNP, and is none; attach another");
            }
            tables_->leverage = file_.leverage;
            file_.description.leverage = true;
        }
        if (tables_) {
            tables_->coverage = coverage_of(file_.visits, *tables_);
            if (options.self_test) {
                tables_->self_test = with_ghosts(file_, file_.description.dtype);
            }
        }
    }

    const Description& description() const override { return file_.description; }
    const SnnpTables* snnp_tables() const override { return tables_.get(); }

    void set_topology(const Topology& topology) override {
        const c10::DeviceGuard on_device(device_);
        graph_.set_topology(topology);
    }

    const Results& evaluate(const double* positions, const Request& request) override {
        const c10::DeviceGuard on_device(device_);
        const TorchThreads threads(file_.description.threads);
        results_ = Results();
        host_.clear();
        if (graph_.n_owned() == 0) {
            fill_zeros(request);
            return results_;
        }
        Graph graph = graph_.build(positions);
        results_.n_edges = graph.edge_vectors.size(0);
        rotation_ = request.rotation == nullptr
                        ? at::Tensor()
                        : at::tensor(at::ArrayRef<double>(request.rotation, 9), at::kDouble).reshape({3, 3});
        if (rotation_.defined()) {
            graph.edge_vectors = at::matmul(graph.edge_vectors, rotation_.t().to(device_));
        }
        fetch(graph, request);
        rotate_back();
        point_results_to_host();
        return results_;
    }

  private:
    /// After the self-test, whose numbers are those of the file as it was exported.
    void choose_averaging(const std::optional<Averaging>& chosen) {
        Description& model = file_.description;
        if (!chosen) {
            rotations_ = model_.exported();
            model.rotations = static_cast<int>(rotations_.weights.size(0));
            model.averaging = model.rotations > 0 ? "as exported" : "none";
            keep_operations(file_.keeps_lattice);
            return;
        }
        const auto count = static_cast<int64_t>(chosen->rotations.size());
        rotations_.matrices = at::zeros({count, 3, 3}, at::kDouble);
        std::copy_n(count == 0 ? nullptr : chosen->rotations[0].data(), 9 * count,
                    rotations_.matrices.data_ptr<double>());
        rotations_.weights = at::tensor(at::ArrayRef<double>(chosen->weights), at::kDouble);
        model.rotations = static_cast<int>(count);
        model.averaging = chosen->name;
        keep_operations(chosen->lattice);
    }

    /// The operations of a crystal's group, which the boxes it is used in have to keep.
    void keep_operations(bool lattice) {
        if (lattice) {
            const at::Tensor matrices = rotations_.matrices.contiguous();
            const double* begin = matrices.data_ptr<double>();
            file_.description.operations.assign(begin, begin + matrices.numel());
        }
    }

    /// Evaluate, and bring what is wanted to the host.
    void fetch(const Graph& graph, const Request& request) {
        using Clock = std::chrono::steady_clock;
        const auto start = Clock::now();
        const bool spread = request.spread && file_.description.rotations > 0;
        Outputs outputs = model_(graph, rotations_, wanted(request, spread));
        auto end = Clock::now();
        std::vector<std::string> names = returned(request, outputs);
        if (request.centroid_virials) {
            const auto gradients = outputs.find("gradients");
            if (gradients == outputs.end()) { // the first files of ase_mlip 0.1
                throw std::runtime_error(
                    "`" + file_.description.path +
                    "` was exported without `gradients`, which centroid virials need; export it again with "
                    "`ase-mlip export --from model-file`");
            }
            outputs["centroid_virials"] = centroid_virials(graph, gradients->second);
            names.emplace_back("centroid_virials");
        }
        if (request.leverage && leverage_) {
            outputs["leverage"] = (*leverage_)(outputs.at("features"), graph.species);
            names.emplace_back("leverage");
        }
        if (spread) {
            add_samples(graph, request, outputs, names);
        }
        std::vector<at::Tensor> tensors;
        for (const std::string& name : names) {
            tensors.push_back(outputs.at(name));
        }
        tensors = to_host(tensors);
        if (device_.is_cuda()) {
            end = Clock::now(); // only the transfer waits for the device
        }
        for (size_t k = 0; k < names.size(); ++k) {
            const bool is_head = names[k] == "direct_virials" || names[k] == "direct_stresses";
            host_[names[k] == "direct_forces" ? "forces" : is_head ? "virials" : names[k]] = tensors[k];
        }
        results_.seconds_model = std::chrono::duration<double>(end - start).count();
    }

    /// What each rotation gave: forces of every node, sums of energies and virials.
    void add_samples(const Graph& graph, const Request& request, Outputs& outputs,
                     std::vector<std::string>& names) {
        const at::Tensor& weights = graph.node_weights;
        const std::string head = request.direct ? "direct_" : "";
        outputs["forces_by_sample"] = outputs.at(head + "forces_by_rotation");
        outputs["energy_by_sample"] = at::matmul(weights, outputs.at("energies_by_rotation").to(at::kDouble));
        names.insert(names.end(), {"forces_by_sample", "energy_by_sample"});
        if (!request.direct) { // a derivative's virial is that of all nodes, a head's of the owned
            outputs["virial_by_sample"] = outputs.at("virial_by_rotation");
            names.push_back("virial_by_sample");
        }
        for (const char* name : {"direct_virials_by_rotation", "direct_stresses_by_rotation"}) {
            if (request.direct && outputs.contains(name)) {
                outputs["virial_by_sample"] =
                    at::matmul(weights, outputs.at(name).to(at::kDouble).flatten(1));
                names.push_back("virial_by_sample");
            }
        }
    }

    /// What the model has to compute beside the energies.
    std::vector<std::string> wanted(const Request& request, bool spread) const {
        std::vector<std::string> names;
        if (request.direct) {
            if (request.centroid_virials) {
                throw std::runtime_error(
                    "`" + file_.description.path +
                    "` gives no centroid virials with direct forces; use conservative ones");
            }
            for (const char* name : {"direct_forces", "direct_stresses", "direct_virials"}) {
                if (file_.has_output(name)) {
                    names.emplace_back(name);
                }
            }
        } else {
            names = {"forces", "virial"};
            if (request.virials) {
                names.emplace_back("virials");
            }
            if (request.centroid_virials) { // not in files written before there were any
                names.emplace_back("gradients");
            }
        }
        if (request.leverage && leverage_) {
            names.emplace_back("features");
        }
        if (spread) {
            names.emplace_back("spread");
        }
        return names;
    }

    /// Those of the outputs that go to the host as they are.
    static std::vector<std::string> returned(const Request& request, const Outputs& outputs) {
        std::vector<std::string> names{"energies", "energy"};
        const std::vector<const char*> heads{"direct_forces", "direct_stresses", "direct_virials"};
        for (const char* name : request.direct ? heads : std::vector{"forces", "virial", "virials"}) {
            if (outputs.contains(name)) {
                names.emplace_back(name);
            }
        }
        return names;
    }

    /// The model saw R x: forces F become R^T F, tensors W become R^T W R.
    void rotate_back() {
        if (!rotation_.defined()) {
            return;
        }
        for (auto& [name, values] : host_) {
            if (name == "forces") {
                values = at::matmul(values.reshape({-1, 3}), rotation_).contiguous();
            } else if (name.starts_with("virial") || name == "centroid_virials") {
                const at::Tensor tensors = values.reshape({-1, 3, 3});
                values = at::matmul(at::matmul(rotation_.t(), tensors), rotation_).contiguous();
            }
        }
    }

    /// A domain without atoms of its own adds nothing to anybody.
    void fill_zeros(const Request& request) {
        // one more element: a pointer to no element may be null
        const auto zeros = [&](int64_t size) {
            return at::zeros({size * graph_.n_nodes() + 1}, at::kDouble);
        };
        host_["energies"] = zeros(1);
        host_["forces"] = zeros(3);
        const bool has_direct_virials = file_.description.direct_virials || file_.description.direct_stresses;
        if (request.direct ? has_direct_virials : request.virials) {
            host_["virials"] = zeros(9);
        }
        if (request.centroid_virials) {
            host_["centroid_virials"] = zeros(9);
        }
        if (request.leverage && leverage_) {
            host_["leverage"] = zeros(1);
        }
        if (request.spread && file_.description.rotations > 0) {
            const auto samples = static_cast<int64_t>(file_.description.rotations);
            host_["forces_by_sample"] = zeros(3 * samples);
            host_["energy_by_sample"] = at::zeros({samples}, at::kDouble);
            if (has_direct_virials || !request.direct) {
                host_["virial_by_sample"] = at::zeros({9 * samples}, at::kDouble);
            }
        }
        point_results_to_host();
    }

    void point_results_to_host() {
        const auto data = [&](const char* name) -> const double* {
            const auto found = host_.find(name);
            return found == host_.end() ? nullptr : found->second.data_ptr<double>();
        };
        results_.energies = data("energies");
        results_.forces = data("forces");
        results_.virials = data("virials");
        results_.centroid_virials = data("centroid_virials");
        results_.leverage = data("leverage");
        results_.forces_by_sample = data("forces_by_sample");
        results_.energy_by_sample = data("energy_by_sample");
        results_.virial_by_sample = data("virial_by_sample");
        if (results_.forces_by_sample != nullptr) {
            host_["sample_weights"] = rotations_.weights.contiguous();
            results_.sample_weights = data("sample_weights");
            results_.samples = file_.description.rotations;
        }
        if (const double* energy = data("energy")) {
            results_.energy = *energy;
        }
        if (const double* virial = data("virial")) {
            std::copy_n(virial, 9, results_.virial);
        }
    }

    at::Device device_;
    ModelFile file_;
    ScriptedModel model_;
    Rotations rotations_; // to average over
    DomainGraph graph_;
    std::unique_ptr<SnnpTables> tables_;
    std::optional<FeatureLeverage> leverage_;
    at::Tensor rotation_;                    // float64 [3, 3] or undefined
    std::map<std::string, at::Tensor> host_; // what the results point to
    Results results_;
};

template <typename Call> decltype(auto) guarded(Call&& call) {
    const CallState state;
    try {
        return call();
    } catch (const std::exception& error) {
        throw std::runtime_error(cause_of(error));
    }
}

/// The boundary: whatever goes wrong becomes one line for people.
class GuardedEvaluator : public Evaluator {
  public:
    explicit GuardedEvaluator(const Options& options)
        : inner_(guarded([&] { return std::make_unique<TorchEvaluator>(options); })) {}

    const Description& description() const override { return inner_->description(); }
    const SnnpTables* snnp_tables() const override { return inner_->snnp_tables(); }
    void set_topology(const Topology& topology) override {
        guarded([&] { inner_->set_topology(topology); });
    }
    const Results& evaluate(const double* positions, const Request& request) override {
        return guarded([&]() -> const Results& { return inner_->evaluate(positions, request); });
    }

  private:
    std::unique_ptr<TorchEvaluator> inner_;
};

} // namespace
} // namespace mlip

#define MLIP_EXPORT extern "C" __attribute__((visibility("default")))

MLIP_EXPORT mlip::Evaluator* mlip_create_evaluator(const mlip::Options& options) {
    return new mlip::GuardedEvaluator(options);
}

MLIP_EXPORT void mlip_delete_evaluator(mlip::Evaluator* evaluator) { delete evaluator; }

MLIP_EXPORT int mlip_interface_version() { return mlip::kInterfaceVersion; }
