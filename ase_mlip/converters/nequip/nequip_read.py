"""NequIP's GNN as our own network.

Couplings are measured on a copy of the model in float64, so that they are those the family computes with.
"""

from __future__ import annotations

from torch import Tensor

from ...networks.equivariant.nequip import NequIP
from ..common import AdapterError
from .layer import read_layer
from .parts import (
    Parts,
    read_basis,
    read_harmonics,
    read_lengths,
    read_pair,
    read_perceptron,
    read_scale_shift,
)


def read_nequip(parts: Parts, species: list[int]) -> tuple[NequIP, Tensor]:
    """The network, and the shift of each type in eV, float64 [T]."""
    embed = parts.require("type_embed", "NodeTypeEmbed")
    if getattr(embed, "do_categorical_graph_field_embed", False):
        fields = ", ".join(embed.categorical_graph_field_embed_modules.keys())
        raise AdapterError(
            f"`categorical_graph_field_embed` (`{fields}`) is not supported: edges are all it gets"
        )
    harmonics = read_harmonics(parts.require("spharm", "SphericalHarmonicEdgeAttrs").sh)
    lengths = read_lengths(parts.require("edge_norm", "EdgeLengthNormalizer"))
    factor = parts.take("factor", "ApplyFactor")
    basis = read_basis(parts.require("bessel_encode"), 1.0 if factor is None else float(factor.factor))
    layers = []
    while f"layer{len(layers)}_convnet" in parts.modules:
        name = f"layer{len(layers)}_convnet"
        layers.append(read_layer(parts.require(name, "ConvNetLayer"), parts.exact[name], name))
    readout = read_perceptron(parts.require("per_atom_energy_readout", "ScalarMLP").mlp_module, "readout")
    scales, shifts = read_scale_shift(parts, len(species))
    pair = read_pair(parts, species, basis.power)
    parts.require("total_energy_sum", "AtomwiseReduce")
    parts.finish()
    embedding = embed.embed_module.weight
    return NequIP(species, embedding, lengths, basis, harmonics, layers, readout, scales, pair), shifts
