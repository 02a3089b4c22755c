// The operators torch.ops.ase_mlip.* on edges: checks, dispatch by device, derivatives.

#include "../common/cuda_build.h"
#include "composed.h"
#include "kernels.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

namespace ase_mlip {
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// ---- checks -------------------------------------------------------------------------------------------

void check_edge_index(const Tensor& edge_index) {
    TORCH_CHECK(edge_index.dim() == 2 && edge_index.size(0) == 2,
                "`edge_index` must have shape [2, n_edges] (centres, neighbours), got ", edge_index.sizes());
    TORCH_CHECK(edge_index.scalar_type() == at::kLong, "`edge_index` must have dtype int64, got ",
                edge_index.scalar_type(), "; convert it with `.to(torch.int64)`");
}

void check_edge_vectors(const Tensor& vectors, int64_t n_edges, const char* name) {
    TORCH_CHECK(vectors.dim() == 2 && vectors.size(0) == n_edges && vectors.size(1) == 3, "`", name,
                "` must have shape [", n_edges, ", 3] (one row per edge), got ", vectors.sizes());
    TORCH_CHECK(vectors.scalar_type() == at::kFloat || vectors.scalar_type() == at::kDouble, "`", name,
                "` must have dtype float32 or float64, got ", vectors.scalar_type());
}

void check_alike(const Tensor& tensor, const char* name, const Tensor& reference,
                 const char* reference_name) {
    TORCH_CHECK(tensor.device() == reference.device(), "`", name, "` must be on the device of `",
                reference_name, "` (", reference.device(), "), got ", tensor.device(),
                "; move both to one device");
}

void check_count(int64_t count, const char* name) {
    TORCH_CHECK(count >= 0, "`", name, "` must be 0 or more, got ", count);
}

void check_pair(const Tensor& gradients, const Tensor& edge_vectors, int64_t n_edges) {
    check_edge_vectors(gradients, n_edges, "gradients");
    check_edge_vectors(edge_vectors, n_edges, "edge_vectors");
    check_alike(edge_vectors, "edge_vectors", gradients, "gradients");
    TORCH_CHECK(gradients.scalar_type() == edge_vectors.scalar_type(),
                "`gradients` and `edge_vectors` must have one dtype, got ", gradients.scalar_type(), " and ",
                edge_vectors.scalar_type(), "; convert one with `.to(...)`");
}

// ---- values -------------------------------------------------------------------------------------------

/// Whether the tensors are on a GPU for which no kernel was compiled.
bool has_no_kernels(const Tensor& tensor) { return tensor.is_cuda() && !cuda::fits(tensor.get_device()); }

Tensor reverse_edges(const Tensor& edge_index, const Tensor& shifts) {
    check_edge_index(edge_index);
    TORCH_CHECK(shifts.dim() == 2 && shifts.size(0) == edge_index.size(1) && shifts.size(1) == 3,
                "`shifts` must have shape [", edge_index.size(1), ", 3] (one row per edge), got ",
                shifts.sizes());
    TORCH_CHECK(shifts.scalar_type() == at::kLong, "`shifts` must have dtype int64, got ",
                shifts.scalar_type(), "; convert it with `.to(torch.int64)`");
    check_alike(shifts, "shifts", edge_index, "edge_index");
    if (has_no_kernels(edge_index)) {
        return composed::reverse_edges(edge_index, shifts);
    }
    Tensor reverse = at::empty({edge_index.size(1)}, edge_index.options());
    const auto kernel = edge_index.is_cuda() ? cuda::reverse_edges : cpu::reverse_edges;
    kernel(edge_index.contiguous(), shifts.contiguous(), reverse);
    return reverse;
}

Tensor forces_from_gradients(const Tensor& gradients, const Tensor& edge_index, int64_t n_nodes) {
    check_edge_index(edge_index);
    check_edge_vectors(gradients, edge_index.size(1), "gradients");
    check_alike(edge_index, "edge_index", gradients, "gradients");
    check_count(n_nodes, "n_nodes");
    if (has_no_kernels(gradients)) {
        return composed::forces(gradients, edge_index, n_nodes);
    }
    Tensor forces = at::zeros({n_nodes, 3}, gradients.options());
    const auto kernel = gradients.is_cuda() ? cuda::forces : cpu::forces;
    kernel(gradients.contiguous(), edge_index.contiguous(), forces);
    return forces;
}

Tensor virials_from_gradients(const Tensor& gradients, const Tensor& edge_vectors, const Tensor& edge_index,
                              int64_t n_nodes) {
    check_edge_index(edge_index);
    check_pair(gradients, edge_vectors, edge_index.size(1));
    check_alike(edge_index, "edge_index", gradients, "gradients");
    check_count(n_nodes, "n_nodes");
    if (has_no_kernels(gradients)) {
        return composed::atom_virials(gradients, edge_vectors, edge_index, n_nodes);
    }
    Tensor virials = at::zeros({n_nodes, 3, 3}, gradients.options());
    const auto kernel = gradients.is_cuda() ? cuda::atom_virials : cpu::atom_virials;
    kernel(gradients.contiguous(), edge_vectors.contiguous(), edge_index.contiguous(), virials);
    return virials;
}

Tensor virial_from_gradients(const Tensor& gradients, const Tensor& edge_vectors,
                             const Tensor& edge_structure, int64_t n_structures) {
    TORCH_CHECK(edge_structure.dim() == 1 && edge_structure.scalar_type() == at::kLong,
                "`edge_structure` must have shape [n_edges] and dtype int64, got ", edge_structure.sizes(),
                " and ", edge_structure.scalar_type());
    check_pair(gradients, edge_vectors, edge_structure.size(0));
    check_alike(edge_structure, "edge_structure", gradients, "gradients");
    check_count(n_structures, "n_structures");
    if (has_no_kernels(gradients)) {
        return composed::structure_virials(gradients, edge_vectors, edge_structure, n_structures);
    }
    Tensor virials = at::zeros({n_structures, 3, 3}, gradients.options());
    const auto kernel = gradients.is_cuda() ? cuda::structure_virials : cpu::structure_virials;
    kernel(gradients.contiguous(), edge_vectors.contiguous(), edge_structure.contiguous(), virials);
    return virials;
}

// ---- derivatives --------------------------------------------------------------------------------------

// Every backward consists of differentiable calls, so that gradients of gradients exist to any order.

struct Forces : torch::autograd::Function<Forces> {
    static Tensor forward(AutogradContext* context, const Tensor& gradients, const Tensor& edge_index,
                          int64_t n_nodes) {
        context->save_for_backward({edge_index});
        return forces_from_gradients(gradients, edge_index, n_nodes);
    }
    static variable_list backward(AutogradContext* context, variable_list outputs);
};

/// The transpose of Forces: value at the centre minus value at the neighbour, [n_nodes, 3] -> [n_edges, 3].
struct EdgeDifferences : torch::autograd::Function<EdgeDifferences> {
    static Tensor forward(AutogradContext* context, const Tensor& nodes, const Tensor& edge_index) {
        context->save_for_backward({edge_index});
        context->saved_data["n_nodes"] = nodes.size(0);
        return nodes.index_select(0, edge_index[0]) - nodes.index_select(0, edge_index[1]);
    }
    static variable_list backward(AutogradContext* context, variable_list outputs) {
        const Tensor edge_index = context->get_saved_variables()[0];
        const int64_t n_nodes = context->saved_data["n_nodes"].toInt();
        return {Forces::apply(outputs[0], edge_index, n_nodes), Tensor()};
    }
};

variable_list Forces::backward(AutogradContext* context, variable_list outputs) {
    const Tensor edge_index = context->get_saved_variables()[0];
    return {EdgeDifferences::apply(outputs[0], edge_index), Tensor(), Tensor()};
}

/// Gradients of sum_e M_e : (r_e (x) g_e) in g and r, for M [n_edges, 3, 3]; undefined where not needed.
variable_list outer_product_gradients(AutogradContext* context, const Tensor& weights,
                                      const Tensor& gradients, const Tensor& edge_vectors) {
    Tensor to_gradients, to_vectors;
    if (context->needs_input_grad(0)) {
        to_gradients = (weights * edge_vectors.unsqueeze(2)).sum(1);
    }
    if (context->needs_input_grad(1)) {
        to_vectors = (weights * gradients.unsqueeze(1)).sum(2);
    }
    return {to_gradients, to_vectors, Tensor(), Tensor()};
}

struct AtomVirials : torch::autograd::Function<AtomVirials> {
    static Tensor forward(AutogradContext* context, const Tensor& gradients, const Tensor& edge_vectors,
                          const Tensor& edge_index, int64_t n_nodes) {
        context->save_for_backward({gradients, edge_vectors, edge_index});
        return virials_from_gradients(gradients, edge_vectors, edge_index, n_nodes);
    }
    static variable_list backward(AutogradContext* context, variable_list outputs) {
        const variable_list saved = context->get_saved_variables();
        const Tensor ends = outputs[0].index_select(0, saved[2][0]) + outputs[0].index_select(0, saved[2][1]);
        return outer_product_gradients(context, -0.5 * ends, saved[0], saved[1]);
    }
};

struct StructureVirials : torch::autograd::Function<StructureVirials> {
    static Tensor forward(AutogradContext* context, const Tensor& gradients, const Tensor& edge_vectors,
                          const Tensor& edge_structure, int64_t n_structures) {
        context->save_for_backward({gradients, edge_vectors, edge_structure});
        return virial_from_gradients(gradients, edge_vectors, edge_structure, n_structures);
    }
    static variable_list backward(AutogradContext* context, variable_list outputs) {
        const variable_list saved = context->get_saved_variables();
        return outer_product_gradients(context, -outputs[0].index_select(0, saved[2]), saved[0], saved[1]);
    }
};

Tensor differentiable_forces(const Tensor& gradients, const Tensor& edge_index, int64_t n_nodes) {
    return Forces::apply(gradients, edge_index, n_nodes);
}

Tensor differentiable_atom_virials(const Tensor& gradients, const Tensor& edge_vectors,
                                   const Tensor& edge_index, int64_t n_nodes) {
    return AtomVirials::apply(gradients, edge_vectors, edge_index, n_nodes);
}

Tensor differentiable_structure_virials(const Tensor& gradients, const Tensor& edge_vectors,
                                        const Tensor& edge_structure, int64_t n_structures) {
    return StructureVirials::apply(gradients, edge_vectors, edge_structure, n_structures);
}

void register_kernels(torch::Library& library) {
    library.impl("reverse_edges", reverse_edges);
    library.impl("forces_from_gradients", forces_from_gradients);
    library.impl("virials_from_gradients", virials_from_gradients);
    library.impl("virial_from_gradients", virial_from_gradients);
}

} // namespace

TORCH_LIBRARY_FRAGMENT(ase_mlip, library) {
    library.def("reverse_edges(Tensor edge_index, Tensor shifts) -> Tensor");
    library.def("forces_from_gradients(Tensor gradients, Tensor edge_index, int n_nodes) -> Tensor");
    library.def(
        "virials_from_gradients(Tensor gradients, Tensor edge_vectors, Tensor edge_index, int n_nodes) "
        "-> Tensor");
    library.def("virial_from_gradients(Tensor gradients, Tensor edge_vectors, Tensor edge_structure, "
                "int n_structures) -> Tensor");
}

TORCH_LIBRARY_IMPL(ase_mlip, CPU, library) { register_kernels(library); }
TORCH_LIBRARY_IMPL(ase_mlip, CUDA, library) { register_kernels(library); }

TORCH_LIBRARY_IMPL(ase_mlip, Autograd, library) {
    library.impl("forces_from_gradients", differentiable_forces);
    library.impl("virials_from_gradients", differentiable_atom_virials);
    library.impl("virial_from_gradients", differentiable_structure_virials);
}

} // namespace ase_mlip
