"""Least squares for the s-NNP without a network, whose energy is linear in the coefficients of φ, ρ and g.

With f and the linear weights fixed, energies, forces and stresses are sums over coefficients times numbers
that only the structures decide. Each column of that matrix is the model's own answer with one coefficient
set to one, so nothing about the splines is written a second time here. The fit is a model of its own, and the
start from which a network is trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from ase.data import chemical_symbols
from torch import Tensor

from . import _ops
from .architectures.snnp import SNNP
from .architectures.splines import SplineBank
from .batches import Batch, GraphDataset
from .errors import DataError
from .potential import Potential

# Of the largest eigenvalue of the scaled normal matrix: below, rounding decides.
_SINGULAR = 1e-12
_AT_ONCE = 64  # structures evaluated together
_SHARE = 0.05  # of a coefficient in what is undetermined, from which it is named


@dataclass
class LinearFit:
    """What a fit found: number of coefficients, root mean square residuals, constants."""

    coefficients: int
    energy_rmse: float  # eV/atom
    forces_rmse: float  # eV/Å
    constants: dict[int, float]  # eV by atomic number, to be added to the reference energies; or none
    undetermined: list[str]  # coefficients that the data alone do not determine


@dataclass
class _Unknown:
    bank: SplineBank
    case: int
    channel: int
    index: int
    name: str


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
    network: with skip, without embedding
    data: structures whose energies (eV), forces (eV/Å) and stresses (eV/Å³) are fitted
    reference_energies: eV by atomic number, taken off the energies first
    energy_weight, forces_weight, stress_weight: of the residuals per atom in eV, in eV/Å, in eV/Å³
    ridge: added to the diagonal of the normal matrix scaled to a unit diagonal
    curvature: weight of the squared second differences of the coefficients; 1 makes them count like the mean
        diagonal element of the normal matrix
    constants: fit a constant for each element, too. The mean energy of the data is no good origin for a sum
        over neighbours; energies of isolated atoms are, and leave nothing to fit

    Raises
    ------
    DataError
        the network has neither pair term nor radial filters, no skip, or has an embedding; or the data leave
        coefficients undetermined and there is no ``ridge``: the message names them
    """
    without_skip = network.n_features > 0 and not network.has_skip
    if not (network.has_pair or network.has_radial) or without_skip or network.has_embedding:
        raise DataError(
            "`network`: a linear fit needs `skip`, and a pair term or radial filters; no embedding"
        )
    _ops.load()
    linear = _without_network(network)
    unknowns = _unknowns(linear)
    numbers = network.hypers.species if constants else []
    matrix, right = _system(linear, unknowns, data, reference_energies, numbers)
    weights = _row_weights(data, energy_weight, forces_weight, stress_weight)
    names = [unknown.name for unknown in unknowns]
    names += [f"the constant of {chemical_symbols[number]}" for number in numbers]
    bending = curvature * _second_differences(unknowns, len(names))
    solution, undetermined = _solve(matrix * weights[:, None], right * weights, names, ridge, bending)
    fitted, found_constants = solution[: len(unknowns)], solution[len(unknowns) :]
    with torch.no_grad():
        for unknown, value in zip(unknowns, fitted, strict=True):
            unknown.bank.coefficients[unknown.case, unknown.channel, unknown.index] = float(value)
        _take_over(network, linear)
    errors = matrix @ solution - right
    of_energies, of_forces = _row_weights(data, 1.0, 0.0, 0.0) > 0, _row_weights(data, 0.0, 1.0, 0.0) > 0
    by_number = {number: float(value) for number, value in zip(numbers, found_constants, strict=True)}
    rmse = [_rms(errors, of_energies), _rms(errors, of_forces)]
    return LinearFit(len(names), *rmse, by_number, undetermined)


def _without_network(network: SNNP) -> SNNP:
    """A copy in float64 with φ, or one ρ, and g alone, all zero."""
    hypers = network.hypers.__class__(**vars(network.hypers))
    hypers.hidden, hypers.radial_filters = [], int(not network.has_pair)
    linear = SNNP(hypers).double().eval().requires_grad_(False)
    linear.f.coefficients.copy_(network.f.coefficients)
    linear.skip.fill_(1.0)
    for bank in (linear.phi, linear.rho, linear.g):
        bank.coefficients.zero_()
    return linear


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


def _unknowns(network: SNNP) -> list[_Unknown]:
    symbols = [chemical_symbols[z] for z in network.hypers.species]
    tables = (
        ("phi", network.phi, network.pair_cases),
        ("rho", network.rho, network.radial_cases),
        ("g", network.g, network.angle_cases),
    )
    found = []
    for label, bank, cases in tables:
        for case in range(bank.coefficients.size(0)):
            served = (cases == case).nonzero()[0].tolist()
            elements = "-".join(symbols[t] for t in served)
            origin, step, _ = bank.grid[case].tolist()
            origin += bank.before * step
            for channel in range(bank.channels):
                for index in range(bank.coefficients.size(2)):
                    place = f"{label}{channel + 1 if label == 'g' else ''} {elements} at"
                    name = f"{place} {origin + (index - 1) * step:.2f}"
                    found.append(_Unknown(bank, case, channel, index, name))
    return found


def _system(
    network: SNNP,
    unknowns: list[_Unknown],
    data: GraphDataset,
    reference_energies: Mapping[int, float],
    constants: list[int],
) -> tuple[np.ndarray, np.ndarray]:
    """The matrix, a column per unknown and one per constant, and the right side; rows as :func:`_flat`'s."""
    batches = [data.collate(range(k, min(k + _AT_ONCE, len(data)))) for k in range(0, len(data), _AT_ONCE)]
    table = torch.zeros(119, dtype=torch.float64)
    for number, energy in reference_energies.items():
        table[number] = energy
    potential = Potential(network, {})
    # What is there without coefficients: the repulsive core, where data lie below the first knot.
    fixed = np.concatenate([_answers(potential, batch) for batch in batches])
    columns = []
    for unknown in unknowns:
        place = (unknown.case, unknown.channel, unknown.index)
        unknown.bank.coefficients[place] = 1.0
        columns.append(np.concatenate([_answers(potential, batch) for batch in batches]) - fixed)
        unknown.bank.coefficients[place] = 0.0
    for number in constants:
        columns.append(np.concatenate([_counts(batch, number) for batch in batches]))
    right = [
        _flat(b, b.energies.index_add(0, b.structure, -table[b.species]), b.forces, b.stresses)
        for b in batches
    ]
    return np.stack(columns, axis=1), np.concatenate(right) - fixed


def _answers(potential: Potential, batch: Batch) -> np.ndarray:
    none = torch.zeros(0, 3, 3, dtype=torch.float64)
    results = potential(
        *(batch.species, batch.edge_index, batch.edge_vectors, batch.reverse_edges, batch.node_weights),
        *(batch.structure, batch.n_structures, {}),
        *(none, none[:, 0, 0], 0, ["forces", "virial"]),
    )
    virials = results["virial"]
    stresses = -0.5 * (virials + virials.transpose(1, 2)) / batch.volumes[:, None, None]
    return _flat(batch, results["energy"], results["forces"], stresses)


def _counts(batch: Batch, number: int) -> np.ndarray:
    """What a constant of one eV for the atoms of an element gives."""
    own = (batch.species == number).double()
    energies = torch.zeros_like(batch.energies).index_add(0, batch.structure, own)
    return _flat(batch, energies, torch.zeros_like(batch.forces), torch.zeros_like(batch.stresses))


def _flat(batch: Batch, energies: Tensor, forces: Tensor, stresses: Tensor) -> np.ndarray:
    """Energies per atom, then forces, then stresses of all structures of a batch."""
    return torch.cat([energies / batch.n_atoms, forces.flatten(), stresses.flatten()]).numpy()


def _row_weights(data: GraphDataset, energy: float, forces: float, stress: float) -> np.ndarray:
    """Zero where a reference is missing."""
    rows = []
    for k in range(0, len(data), _AT_ONCE):
        batch = data.collate(range(k, min(k + _AT_ONCE, len(data))))
        masks = [m.double() for m in (batch.energy_mask, batch.forces_mask, batch.stress_mask)]
        weighted = [energy * masks[0], forces * masks[1].repeat_interleave(3)]
        rows += [*weighted, stress * masks[2].repeat_interleave(9)]
    return torch.cat(rows).numpy()


def _solve(
    matrix: np.ndarray, right: np.ndarray, names: list[str], ridge: float, bending: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """The minimum, with ``bending`` in units of the normal matrix's mean diagonal added to that matrix.

    Also the names of coefficients that neither the data nor anything but ``bending`` and ``ridge`` determine.
    """
    normal = matrix.T @ matrix
    _, _, low, vectors = _decomposed(normal)
    undetermined = _taking_part(vectors[:, low], names)
    scale, values, low, vectors = _decomposed(normal + np.mean(np.diag(normal)) * bending)
    if low.any() and ridge <= 0:
        named = _taking_part(vectors[:, low], names)
        raise DataError(
            f"the data leave {int(low.sum())} of {len(names)} combinations of coefficients undetermined, "
            f"among {shortened(named)}; give a `ridge`, more data, fewer intervals, or a longer first knot "
            "`inner`"
        )
    values = np.maximum(values, 0.0) + max(ridge, 0.0)
    return vectors @ ((vectors.T @ (matrix.T @ right / scale)) / values) / scale, undetermined


def _decomposed(normal: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Scale of each unknown, then eigenvalues, which of them rounding decides, and eigenvectors, scaled."""
    diagonal = np.sqrt(np.diag(normal))
    scale = np.where(diagonal > 0, diagonal, max(diagonal.max(initial=0.0), 1.0))
    values, vectors = np.linalg.eigh(normal / np.outer(scale, scale))
    return scale, values, values < _SINGULAR * values[-1], vectors


def _taking_part(vectors: np.ndarray, names: list[str]) -> list[str]:
    """Names of the coefficients with a share in what the orthonormal columns span."""
    shares = (vectors**2).sum(axis=1)
    return [name for name, share in zip(names, shares, strict=True) if share > _SHARE]


def shortened(names: list[str]) -> str:
    """The first dozen of the names, for messages."""
    return ", ".join(names[:12]) + (" ..." if len(names) > 12 else "")


def _second_differences(unknowns: list[_Unknown], size: int) -> np.ndarray:
    """The quadratic form of the squared second differences within every spline, [size, size]."""
    total = np.zeros((size, size))
    for k in range(1, len(unknowns) - 1):
        a, b = unknowns[k - 1], unknowns[k + 1]
        if a.bank is b.bank and (a.case, a.channel) == (b.case, b.channel):
            total[k - 1 : k + 2, k - 1 : k + 2] += np.outer([1.0, -2.0, 1.0], [1.0, -2.0, 1.0])
    return total


def _rms(errors: np.ndarray, chosen: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(errors[chosen])))) if chosen.any() else 0.0
