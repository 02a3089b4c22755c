"""The basis in whose coefficients an s-NNP without a network is linear, and its rows for structures.

With f and the linear weights fixed, energies, forces and stresses are sums over the coefficients of φ
(without a pair term: of one ρ) and g, times numbers that only the structures decide. The operators of
``csrc/snnp/basis.h`` give these numbers: the same that a least-squares fit (``ase_mlip.training.linear_fit``)
takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols
from torch import Tensor

from ...building import _ops
from ...errors import DataError, StructureError
from ...graph.neighbors import Graph, build_graph, check_species, concatenate
from ...networks.snnp.snnp import SNNP
from .structure_rows import LABELS, Rows, checked_labels

SINGULAR = 1e-12  # of the largest eigenvalue of the scaled information: below, rounding decides
SHARE = 0.05  # of a coefficient in what is undetermined, from which it is named
RIDGE, CURVATURE = 1e-10, 1e-6  # of the prior: those of a training's least-squares start
AT_ONCE = 16  # structures worked through together, so that several threads have some


class LinearBasis:
    """The functions that a least-squares fit of an s-NNP is a sum of, with f as in ``network``.

    Parameters
    ----------
    network : SNNP
        its coefficients are not looked at, but for those of f
    constants : bool
        whether the last columns are a constant for each element

    Attributes
    ----------
    names : list of str
        of the p columns, such as ``"phi Si-O at 2.10"`` (Å), ``"g3 Si-O-O at -0.20"`` (cosine), ``"the
        constant of Si"``
    size : int
        number of columns p
    cutoff : float
        Å
    species : list of int
        atomic numbers
    network : SNNP
        the s-NNP in float64 with these terms alone, all coefficients zero
    unknowns : list of tuple
        (bank, case, channel, index) of the columns that are coefficients of splines
    constants : bool
        whether the last columns are a constant for each element, eV

    Raises
    ------
    DataError
        the network has neither pair term nor radial filters, no skip, or has an embedding
    """

    def __init__(self, network: SNNP, constants: bool = True):
        without_skip = network.n_features > 0 and not network.has_skip
        if not (network.has_pair or network.has_radial) or without_skip or network.has_embedding:
            raise DataError(
                "`network`: a linear fit needs `skip`, and a pair term or radial filters; no embedding"
            )
        _ops.load()
        self.network = _without_network(network)
        self.species = list(network.hypers.species)
        self.cutoff = network.cutoff
        self.constants = constants
        self.unknowns, self.names = _unknowns(self.network)
        if constants:
            self.names += [f"the constant of {chemical_symbols[number]}" for number in self.species]

    @property
    def size(self) -> int:
        """The number of columns p."""
        return len(self.names)

    def values(self, graph: Graph) -> np.ndarray:
        """The basis of each atom's energy, float64 [N, p], eV per unit of a coefficient."""
        found = torch.ops.ase_mlip.snnp_basis(self.network.phi.before, *self._arguments(graph))
        return self._with_constants(found.numpy(), graph)

    def derivatives(self, graph: Graph) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """:meth:`values`, those of the forces [N, 3, p] (eV/Å), and of the strain derivatives [B, 6, p] (eV).

        The last are of the energies of the B structures by a symmetric strain, Voigt order: stress times
        volume.
        """
        counts = torch.bincount(graph.structure, minlength=graph.n_structures)
        structures = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        values, forces, strains = torch.ops.ase_mlip.snnp_basis_rows(
            graph.edge_index[1], structures, self.network.phi.before, *self._arguments(graph)
        )
        every = self._with_constants(values.numpy(), graph)
        room = ((0, 0), (0, 0), (0, every.shape[1] - values.shape[1]))
        return every, np.pad(forces.numpy(), room), np.pad(strains.numpy(), room)

    def curvature_form(self) -> np.ndarray:
        """The quadratic form of the squared second differences within every spline, [p, p]."""
        total = np.zeros((self.size, self.size))
        for k in range(1, len(self.unknowns) - 1):
            before, after = self.unknowns[k - 1], self.unknowns[k + 1]
            if before[0] is after[0] and before[1:3] == after[1:3]:
                total[k - 1 : k + 2, k - 1 : k + 2] += np.outer([1.0, -2.0, 1.0], [1.0, -2.0, 1.0])
        return total

    def prior(
        self, information: np.ndarray, ridge: float = RIDGE, curvature: float = CURVATURE
    ) -> np.ndarray:
        """What the least-squares fit adds to its normal matrix, [p, p], scaled by ``information`` [p, p].

        ``curvature`` times the mean diagonal element times :meth:`curvature_form`, then ``ridge`` times the
        diagonal of the sum (where it is zero: times the largest element). Give the information of the pool:
        the prior is then that of a fit to the whole pool and does not change with the size of a selection.
        """
        bending = curvature * np.mean(np.diag(information)) * self.curvature_form()
        return bending + max(ridge, 0.0) * np.diag(scales(information + bending) ** 2)

    def _with_constants(self, values: np.ndarray, graph: Graph) -> np.ndarray:
        if not self.constants:
            return values
        of_species = graph.species.numpy()[:, None] == np.array(self.species)
        return np.concatenate([values, of_species], axis=1)

    def _arguments(self, graph: Graph) -> tuple:
        network = self.network
        types = network.types[graph.species]
        nodes = torch.arange(len(types) + 1)
        starts = torch.searchsorted(graph.edge_index[0].contiguous(), nodes)
        banks = (network.phi, network.rho, network.f, network.g)
        coefficients: list[Tensor] = [bank.all_coefficients() for bank in banks]
        return (
            *(graph.edge_vectors, starts, types, types[graph.edge_index[1]]),
            *(coefficients, [bank.grid for bank in banks]),
            [network.pair_cases, network.radial_cases, network.angle_cases],
            *(network.cutoff, network.angular_cutoff),
        )


def linear_rows(
    basis: LinearBasis, structures: Sequence[Atoms], labels: Sequence[str] = LABELS, atoms: bool = False
) -> Iterator[Rows]:
    """Rows of structures one after another, in their order, per unit of each coefficient.

    Parameters
    ----------
    basis : LinearBasis
        of p columns
    structures : sequence of ase.Atoms
        their labels, if any, are not looked at
    labels : sequence of str
        which of ``"energy"``, ``"forces"``, ``"stress"`` are wanted; the others get no rows
    atoms : bool
        whether the rows of single atoms are wanted

    Yields
    ------
    Rows
        of one structure after another

    Raises
    ------
    MLIPError
        an unknown label
    StructureError
        naming the position in the list of a structure that cannot be evaluated, or has other species
    """
    return _rows_in_batches(basis, list(structures), checked_labels(labels), atoms)


def rows_of_graph(
    basis: LinearBasis, graph: Graph, volumes: Sequence[float], labels: Sequence[str] = LABELS, atoms=False
) -> list[Rows]:
    """Rows of the structures of a graph, per unit of each coefficient.

    Parameters
    ----------
    basis : LinearBasis
        of p columns, with the graph's elements
    graph : Graph
        of all structures, with edges as long as the cutoff of the basis
    volumes : sequence of float
        Å³, NaN for structures without one, which get no stress rows
    labels : sequence of str
        which of ``"energy"``, ``"forces"``, ``"stress"`` are wanted; the others get no rows
    atoms : bool
        whether the rows of single atoms are wanted

    Returns
    -------
    list of Rows
        of each structure, in their order
    """
    if set(labels) & {"forces", "stress"}:
        values, forces, strains = basis.derivatives(graph)
    else:
        values = basis.values(graph)
        forces = np.zeros((len(values), 0, basis.size))
        strains = np.zeros((graph.n_structures, 0, basis.size))
    counts = torch.bincount(graph.structure, minlength=graph.n_structures).tolist()
    found, first = [], 0
    for b, count in enumerate(counts):
        own = slice(first, first + count)
        stress = strains[b] / volumes[b] if "stress" in labels and np.isfinite(volumes[b]) else strains[b, :0]
        found.append(
            Rows(
                energy=values[own].mean(axis=0, keepdims=True)[: int("energy" in labels)],
                forces=forces[own].reshape(-1, basis.size)[: 3 * count if "forces" in labels else 0].copy(),
                stress=stress.copy(),
                atoms=values[own].copy() if atoms else values[:0],
                n_atoms=count,
            )
        )
        first += count
    return found


def undetermined(information: np.ndarray, names: Sequence[str]) -> list[str]:
    """Names of the coefficients that some structures leave open.

    They have a share of more than 5 % in what spans the eigenvalues below 1e-12 of the largest, with every
    coefficient scaled to a unit diagonal.

    Parameters
    ----------
    information : float64 [p, p]
        Σ XᵀX of the structures
    names : sequence of str
        of the p coefficients

    Returns
    -------
    list of str
        in the order of ``names``
    """
    _, _, low, vectors = decomposed(information)
    return taking_part(vectors[:, low], names)


def scales(information: np.ndarray) -> np.ndarray:
    """Square roots of the diagonal; where it is zero, of its largest element, or one."""
    diagonal = np.sqrt(np.diag(information))
    return np.where(diagonal > 0, diagonal, max(diagonal.max(initial=0.0), 1.0))


def decomposed(information: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Eigenvalues of an information whose coefficients are scaled to a unit diagonal.

    Parameters
    ----------
    information : float64 [p, p]
        Σ XᵀX of some rows

    Returns
    -------
    float64 [p]
        scale of each coefficient, the root of its diagonal element
    float64 [p]
        eigenvalues, ascending, no unit
    bool [p]
        whether an eigenvalue is decided by rounding: below 1e-12 of the largest
    float64 [p, p]
        eigenvectors in scaled coefficients, as columns
    """
    scale = scales(information)
    values, vectors = np.linalg.eigh(information / np.outer(scale, scale))
    return scale, values, values < SINGULAR * values[-1], vectors


def taking_part(vectors: np.ndarray, names: Sequence[str]) -> list[str]:
    """Names of the coefficients with a share of more than 5 % in what some columns span.

    Parameters
    ----------
    vectors : float64 [p, m]
        orthonormal columns
    names : sequence of str
        of the p coefficients

    Returns
    -------
    list of str
        in the order of ``names``
    """
    shares = (vectors**2).sum(axis=1)
    return [name for name, share in zip(names, shares, strict=True) if share > SHARE]


def periodic_volume(atoms: Atoms) -> float:
    """Volume of a structure that can have a stress.

    Parameters
    ----------
    atoms : ase.Atoms
        any structure

    Returns
    -------
    float
        Å³; NaN unless periodic in all three directions, where there is no stress
    """
    return atoms.get_volume() if atoms.pbc.all() else float("nan")


def _rows_in_batches(
    basis: LinearBasis, structures: list[Atoms], labels: tuple[str, ...], atoms: bool
) -> Iterator[Rows]:
    for start in range(0, len(structures), AT_ONCE):
        batch = structures[start : start + AT_ONCE]
        graphs = [_graph(basis, one, start + k) for k, one in enumerate(batch)]
        yield from rows_of_graph(
            basis, concatenate(graphs), [periodic_volume(one) for one in batch], labels, atoms
        )


def _graph(basis: LinearBasis, atoms: Atoms, index: int) -> Graph:
    try:
        check_species(atoms.numbers, basis.species)
        return build_graph(atoms, basis.cutoff)
    except StructureError as error:
        raise StructureError(f"structure {index} of the list: {error}") from None


def _without_network(network: SNNP) -> SNNP:
    """A copy in float64 with φ, or one ρ, and g alone, all zero."""
    hypers = network.hypers.__class__(**vars(network.hypers))
    hypers.hidden, hypers.radial_filters = [], int(not network.has_pair)
    with torch.random.fork_rng(devices=[]):  # its first values are random, and taken away at once
        linear = SNNP(hypers).double().eval().requires_grad_(False)
    linear.f.coefficients.copy_(network.f.coefficients.detach())
    linear.skip.fill_(1.0)
    for bank in (linear.phi, linear.rho, linear.g):
        bank.coefficients.zero_()
    return linear


def _unknowns(network: SNNP) -> tuple[list[tuple], list[str]]:
    """Where the columns have their coefficients, and their names, in the order of csrc/snnp/basis.h."""
    symbols = [chemical_symbols[z] for z in network.hypers.species]
    tables = (
        ("phi", network.phi, network.pair_cases),
        ("rho", network.rho, network.radial_cases),
        ("g", network.g, network.angle_cases),
    )
    unknowns, names = [], []
    for label, bank, cases in tables:
        for case in range(bank.coefficients.size(0)):
            served = (cases == case).nonzero()[0].tolist()
            elements = "-".join(symbols[t] for t in served)
            origin, step, _ = bank.grid[case].tolist()
            origin += bank.before * step
            for channel in range(bank.channels):
                for index in range(bank.coefficients.size(2)):
                    place = f"{label}{channel + 1 if label == 'g' else ''} {elements} at"
                    unknowns.append((bank, case, channel, index))
                    names.append(f"{place} {origin + (index - 1) * step:.2f}")
    return unknowns, names
