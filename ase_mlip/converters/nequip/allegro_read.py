"""Allegro models (nequip-allegro) as our own network."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...networks.equivariant.allegro import (
    Allegro,
    Contraction,
    ProductEmbedding,
    SplineBasis,
    SplineEmbedding,
)
from ..common import AdapterError
from .parts import (
    Parts,
    expect,
    read_basis,
    read_harmonics,
    read_lengths,
    read_norms,
    read_pair,
    read_perceptron,
    read_power,
    read_scale_shift,
)


def read_allegro(parts: Parts, species: list[int]) -> tuple[Allegro, Tensor]:
    """The network, and the shift of each type in eV, float64 [T]."""
    lengths = read_lengths(parts.require("edge_norm", "EdgeLengthNormalizer"))
    basis, embedding = _read_embedding(parts.require("radial_chemical_embed"), len(species))
    two_body = read_perceptron(parts.require("scalar_embed_mlp", "ScalarMLP").mlp_module, "scalar_embed_mlp")
    tensors = parts.require("tensor_embed", "TwoBodySphericalHarmonicTensorEmbed")
    harmonics = read_harmonics(tensors.sh)
    layers = parts.require("allegro", "Allegro_Module")
    _check_weighter(tensors._edge_weighter)
    _check_weighter(layers._env_weighter)
    readout = parts.require("edge_readout", "ScalarMLP")
    summed = parts.require("edge_eng_sum", "EdgewiseReduce")
    scales, shifts = read_scale_shift(parts, len(species))
    cutoff = parts.take("cutoff", "AddRadialCutoffToData")  # for pair potentials; newer ones bring their own
    power = getattr(basis, "power", None) if cutoff is None else read_power(cutoff.cutoff)
    pair = read_pair(parts, species, power)
    parts.require("total_energy_sum", "AtomwiseReduce")
    parts.finish()
    network = Allegro(
        species,
        lengths,
        basis,
        harmonics,
        embedding,
        two_body,
        read_perceptron(tensors.env_embed_linear, "env_embed_linear"),
        read_perceptron(layers.first_layer_env_embed_projection, "first_layer_env_embed_projection"),
        [read_perceptron(latent, "latents") for latent in layers.latents],
        [_read_contraction(product) for product in layers.tps],
        read_perceptron(readout.mlp_module, "edge_readout"),
        int(layers.num_scalar_features),
        int(layers.num_tensor_features),
        read_norms(layers, "avg_num_neighbors_norm", layers.tps[0].scatter_factor),
        _read_sum_norms(summed),
        scales,
        pair,
    )
    return network, shifts


def _read_embedding(module: torch.nn.Module, n_types: int):
    """Radial functions, and what makes scalars of them and the types."""
    if type(module).__name__ == "TwoBodySplineScalarEmbed":
        spline = module.spline
        basis = SplineBasis(spline.lower, spline.upper, float(spline._const))
        shape = (n_types * n_types, int(spline.num_channels), int(spline.num_splines))
        return basis, SplineEmbedding(spline.class_embed.weight.detach().reshape(shape), n_types)
    children = dict(module.named_children())
    if set(children) != {"bessel_encode", "type_embed"}:
        raise AdapterError(
            f"`radial_chemical_embed` is a `{type(module).__name__}`; supported are "
            "`TwoBodyBesselScalarEmbed` and `TwoBodySplineScalarEmbed`"
        )
    types = children["type_embed"]
    expect(types, "ProductTypeEmbedding", "radial_chemical_embed.type_embed")
    linear = read_perceptron(types.basis_linear, "basis_linear")
    embedding = ProductEmbedding(types.center_embed.weight, types.neighbor_embed.weight, linear)
    return read_basis(children["bessel_encode"], 1.0), embedding


def _read_sum_norms(module: torch.nn.Module) -> Tensor:
    """Norm of the sum of edge energies without 1/√2, which the factor of older nequip-allegro contains."""
    factor = getattr(module, "_factor", None)
    return read_norms(module, "norm_module", math.sqrt(2.0) * (1.0 if factor is None else factor))


def _check_weighter(module: torch.nn.Module) -> None:
    expect(module, "MakeWeightedChannels", "env_weighter")
    if float(module.alpha) != 1.0:
        raise AdapterError(f"`MakeWeightedChannels` has alpha = {module.alpha}, supported is 1")


def _read_contraction(module: torch.nn.Module) -> Contraction:
    """Weights [U or 1, P] and couplings [P, I, J, K], whichever of its short forms the module has."""
    expect(module, "Contracter", "tps")
    weights, couplings = module.weights.detach(), module.w3j.detach()
    if module.num_paths == 1:
        weights, couplings = weights.unsqueeze(-1), couplings.unsqueeze(0)
    if module.w3j_is_ij_diagonal:
        couplings = torch.diag_embed(couplings.transpose(1, 2)).permute(0, 2, 3, 1)
    if weights.dim() == 1:
        weights = weights.unsqueeze(0)
    return Contraction(weights, couplings.contiguous())
