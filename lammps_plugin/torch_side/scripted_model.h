#pragma once
// The only C++ file that calls TorchScript, and the operators it needs: both must stay replaceable.

#include "../model_file/model_file.h"

#include <ATen/core/Tensor.h>

#include <exception>
#include <map>
#include <memory>
#include <string>

namespace mlip {

/// One structure as the scripted potential takes it (see ase_mlip/model_file/potential.py).
struct Graph {
    at::Tensor species;        // int64 [N]
    at::Tensor edge_index;     // int64 [2, E], sorted by centre
    at::Tensor edge_vectors;   // float64 [E, 3], Å
    at::Tensor reverse_edges;  // int64 [E]
    at::Tensor node_weights;   // float64 [N]
    at::Tensor node_structure; // int64 [N], zeros
};

/// To average over, float64 on the CPU whatever the device; G = 0 is the plain network.
struct Rotations {
    at::Tensor matrices; // [G, 3, 3]
    at::Tensor weights;  // [G], sum 1
};

/// What the potential returns, by name: float64 tensors on its device.
using Outputs = std::map<std::string, at::Tensor>;

/// Make torch.ops.ase_mlip.* available and check that it is all that the file needs. Throws
/// std::runtime_error.
void load_operators(const ModelFile& file);

/// Throws std::runtime_error unless the system lets this process have so many threads.
void require_threads(int count);

class ScriptedModel {
  public:
    /// The network gets `dtype`; sums and reference energies stay in float64.
    ScriptedModel(const ModelFile& file, at::Device device, at::ScalarType dtype);
    ~ScriptedModel();

    /// What the file was exported with, on the host, wherever the network is.
    Rotations exported() const;

    /// The tables of an s-NNP in the dtype that the network has; nothing for another architecture.
    std::unique_ptr<SnnpTables> snnp_tables() const;

    /// `energies`, `energy` and what else is asked for by the names of ase_mlip/model_file/potential.py, as
    /// far as the file has it; nothing else is computed. Writes nothing on the module.
    Outputs operator()(const Graph& graph, const Rotations& rotations,
                       const std::vector<std::string>& wanted) const;

  private:
    struct Module; // keeps TorchScript's headers out of the others' compilation
    std::unique_ptr<Module> module_;
};

/// edge -> the edge with exchanged ends and opposite shifts (int64 [E, 3]), by the operator.
at::Tensor reverse_edges(const at::Tensor& edge_index, const at::Tensor& shifts);

/// TorchScript puts its own traceback first, libtorch its own last: the line in between that says the cause.
std::string cause_of(const std::exception& error);

} // namespace mlip
