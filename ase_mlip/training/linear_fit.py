"""Least squares for the s-NNP without a network, whose energy is linear in the coefficients of φ, ρ and g.

With f and the linear weights fixed, energies, forces and stresses are sums over coefficients times numbers
that only the structures decide: the rows of :mod:`ase_mlip.optimal_design.rows.linear_basis`. The fit is a
model of its own, and the start from which a network is trained.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from ase.stress import full_3x3_to_voigt_6_stress

from ..data.batches import GraphDataset
from ..data.references import Sample
from ..errors import DataError
from ..graph.neighbors import concatenate
from ..model_file.potential import Potential
from ..networks.snnp.snnp import SNNP
from ..optimal_design.rows.linear_basis import (
    LinearBasis,
    decomposed,
    periodic_volume,
    rows_of_graph,
    taking_part,
    undetermined,
)
from ..optimal_design.rows.structure_rows import Rows

_AT_ONCE = 64  # structures evaluated together
# Of the Voigt components of a stress: the others stand twice in the matrix, whose squares are summed.
_TWICE = np.sqrt([1.0, 1.0, 1.0, 2.0, 2.0, 2.0])


@dataclass
class LinearFit:
    """What a fit found: number of coefficients, root mean square residuals, constants."""

    coefficients: int
    energy_rmse: float  # eV/atom
    forces_rmse: float  # eV/Å
    constants: dict[int, float]  # eV by atomic number, to be added to the reference energies; or none
    undetermined: list[str]  # coefficients that the data alone do not determine


def fit_linear(
    network: SNNP,
    data: GraphDataset,
    reference_energies: Mapping[int, float],
    energy_weight: float = 100.0,
    forces_weight: float = 1.0,
    stress_weight: float = 100.0,
    ridge: float = 0.0,
    curvature: float = 0.0,
    constants: bool = True,
) -> LinearFit:
    """Set φ and g of ``network`` to the least-squares solution for its f, in place.

    The linear weights become one for the angular filters and zero for the radial ones, which φ replaces.
    Without a pair term the first ρ takes its place, with the weight one; the others could add nothing. The
    network proper, if there is one, is left out of the fit and stays as it is.

    Parameters
    ----------
    network : SNNP
        with skip, without embedding
    data : GraphDataset
        structures whose energies (eV), forces (eV/Å) and stresses (eV/Å³) are fitted
    reference_energies : mapping of float
        eV by atomic number, taken off the energies first
    energy_weight, forces_weight, stress_weight : float
        of the residuals per atom in eV, in eV/Å, in eV/Å³
    ridge : float
        added to the diagonal of the normal matrix scaled to a unit diagonal
    curvature : float
        weight of the squared second differences of the coefficients; 1 makes them count like the mean
        diagonal element of the normal matrix
    constants : bool
        fit a constant for each element, too. The mean energy of the data is no good origin for a sum over
        neighbours; energies of isolated atoms are, and leave nothing to fit

    Returns
    -------
    LinearFit
        what the fit leaves of the errors

    Raises
    ------
    DataError
        the network has neither pair term nor radial filters, no skip, or has an embedding; or the data leave
        coefficients undetermined and there is no ``ridge``: the message names them
    """
    basis = LinearBasis(network, constants)
    by_label = (energy_weight, forces_weight, stress_weight)
    equations = list(_equations(basis, data, reference_energies, by_label))
    if not equations:
        raise DataError("`data`: expected energies, forces or stresses to fit, got none; name their keys")
    matrix, right, weights = (np.concatenate(parts) for parts in list(zip(*equations, strict=True))[:3])
    bending = curvature * basis.curvature_form()
    solution, left_open = _solve(matrix * weights[:, None], right * weights, basis.names, ridge, bending)
    fitted, found_constants = solution[: len(basis.unknowns)], solution[len(basis.unknowns) :]
    with torch.no_grad():
        for (bank, *place), value in zip(basis.unknowns, fitted, strict=True):
            bank.coefficients[tuple(place)] = float(value)
        _take_over(network, basis.network)
    labels = np.concatenate([part[3] for part in equations])
    rmse = [_rms((matrix @ solution - right)[labels == label]) for label in ("energy", "forces")]
    numbers = basis.species if constants else []
    by_number = {number: float(value) for number, value in zip(numbers, found_constants, strict=True)}
    return LinearFit(basis.size, *rmse, by_number, left_open)


def _take_over(network: SNNP, linear: SNNP) -> None:
    """Give ``network`` the splines of the fitted copy, in its own unit of energy."""
    scale = network.energy_scale.double()
    for mine, found in ((network.phi, linear.phi), (network.g, linear.g)):
        mine.coefficients.copy_(found.coefficients / scale)
    network.skip.zero_()
    network.skip[:, network.rho.channels :] = 1.0
    if not network.has_pair:
        network.rho.coefficients[:, :1] = (linear.rho.coefficients / scale).to(network.rho.coefficients)
        network.skip[:, 0] = 1.0


_Equations = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _equations(
    basis: LinearBasis,
    data: GraphDataset,
    reference_energies: Mapping[int, float],
    weights: tuple[float, float, float],
) -> Iterator[_Equations]:
    """Of every structure with a reference: rows [m, p], right side, weights and label of each row, [m]."""
    # What is there without coefficients: the repulsive core, where data lie below the first knot.
    potential = Potential(basis.network, {})
    for start in range(0, len(data), _AT_ONCE):
        indices = range(start, min(start + _AT_ONCE, len(data)))
        graph = concatenate([data.graph(index) for index in indices])
        samples = [data.samples[index] for index in indices]
        fixed = _fixed_part(potential, graph)
        all_rows = rows_of_graph(basis, graph, [periodic_volume(sample.atoms) for sample in samples])
        first = 0
        for k, (sample, rows) in enumerate(zip(samples, all_rows, strict=True)):
            own = slice(first, first + rows.n_atoms)
            first += rows.n_atoms
            equations = _of_structure(
                sample, rows, reference_energies, weights, (fixed[0][k], fixed[1][own], fixed[2][k])
            )
            if equations is not None:
                yield equations


def _of_structure(
    sample: Sample,
    rows: Rows,
    reference_energies: Mapping[int, float],
    weights: tuple[float, float, float],
    fixed: tuple[float, np.ndarray, np.ndarray],
) -> _Equations | None:
    """``fixed`` are energy (eV), forces (eV/Å) and virial (eV) without coefficients; None without labels."""
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray, str]] = []
    if sample.energy is not None:
        reference = sum(reference_energies.get(int(z), 0.0) for z in sample.atoms.numbers)
        energy = (sample.energy - reference - fixed[0]) / rows.n_atoms
        parts.append((rows.energy, np.array([energy]), np.array([weights[0]]), "energy"))
    if sample.forces is not None:
        forces = (sample.forces - fixed[1]).ravel()
        parts.append((rows.forces, forces, np.full(len(forces), weights[1]), "forces"))
    if sample.stress is not None:
        stress = sample.stress + fixed[2] / periodic_volume(sample.atoms)  # its symmetric part is taken below
        parts.append((rows.stress, full_3x3_to_voigt_6_stress(stress), weights[2] * _TWICE, "stress"))
    if not parts:
        return None
    labels = np.concatenate([np.full(len(right), label) for _, right, _, label in parts])
    matrix, right, of_rows = (np.concatenate([part[k] for part in parts]) for k in range(3))
    return matrix, right, of_rows, labels


def _fixed_part(potential: Potential, graph) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    none = torch.zeros(0, 3, 3, dtype=torch.float64)
    results = potential(
        *(graph.species, graph.edge_index, graph.edge_vectors, graph.reverse_edges, graph.node_weights),
        *(graph.structure, graph.n_structures, {}),
        *(none, none[:, 0, 0], 0, ["forces", "virial"]),
    )
    return tuple(results[name].numpy() for name in ("energy", "forces", "virial"))


def _solve(
    matrix: np.ndarray, right: np.ndarray, names: list[str], ridge: float, bending: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """The minimum, with ``bending`` in units of the normal matrix's mean diagonal added to that matrix.

    Also the names of coefficients that neither the data nor anything but ``bending`` and ``ridge`` determine.
    """
    normal = matrix.T @ matrix
    left_open = undetermined(normal, names)
    scale, values, low, vectors = decomposed(normal + np.mean(np.diag(normal)) * bending)
    if low.any() and ridge <= 0:
        named = taking_part(vectors[:, low], names)
        raise DataError(
            f"the data leave {int(low.sum())} of {len(names)} combinations of coefficients undetermined, "
            f"among {shortened(named)}; give a `ridge`, more data, fewer intervals, or a longer first knot "
            "`inner`"
        )
    values = np.maximum(values, 0.0) + max(ridge, 0.0)
    return vectors @ ((vectors.T @ (matrix.T @ right / scale)) / values) / scale, left_open


def shortened(names: list[str]) -> str:
    """The first dozen of the names, for messages."""
    return ", ".join(names[:12]) + (" ..." if len(names) > 12 else "")


def _rms(errors: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(errors)))) if len(errors) else 0.0
