"""What a model's energy, forces and stress are without the coefficients: taken off labels before a fit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress

from ...graph.neighbors import build_graph
from ...model_file.potential import Potential
from .linear_basis import LinearBasis

Values = dict[str, np.ndarray]


def core_of(basis: LinearBasis) -> Callable[[Atoms], Values]:
    """What an s-NNP has without coefficients: the repulsion of the nuclei below the first knot."""
    potential = Potential(basis.network, {})

    def fixed(atoms: Atoms) -> Values:
        graph = build_graph(atoms, basis.cutoff)
        none = torch.zeros(0, 3, 3, dtype=torch.float64)
        results = potential(
            *(graph.species, graph.edge_index, graph.edge_vectors, graph.reverse_edges, graph.node_weights),
            *(graph.structure, graph.n_structures, {}),
            *(none, none[:, 0, 0], 0, ["forces", "virial"]),
        )
        energy, forces, virial = (results[name].detach().numpy() for name in ("energy", "forces", "virial"))
        values = {"energy": energy / len(atoms), "forces": forces.ravel()}
        if atoms.pbc.all():
            values["stress"] = full_3x3_to_voigt_6_stress(-virial[0] / atoms.get_volume())
        return values

    return fixed


def predictions_of(model: str) -> Callable[[Atoms], Values]:
    """A model's own numbers, in float64: its features correct them."""
    from ...calculators.calculator import MLIPCalculator

    calculators: list[MLIPCalculator] = []

    def fixed(atoms: Atoms) -> Values:
        if not calculators:
            calculators.append(MLIPCalculator(model, dtype="float64"))
        names = ("energy", "forces", "stress") if atoms.pbc.all() else ("energy", "forces")
        results = calculators[0].evaluate([atoms], properties=names)[0]
        values = {"energy": np.array([results["energy"] / len(atoms)]), "forces": results["forces"].ravel()}
        return values | ({"stress": np.asarray(results["stress"])} if "stress" in names else {})

    return fixed
