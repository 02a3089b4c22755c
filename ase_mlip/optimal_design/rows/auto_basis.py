"""A linear s-NNP for a pool of structures: knots from its distances, as many filters as its elements allow.

No label is looked at. The defaults follow the recipes of the shipped s-NNPs (docs/snnp.md).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import torch
from ase import Atoms

from ...converters.export_again import made_anew
from ...data.first_knot import Distances
from ...errors import DataError, MLIPError, StructureError
from ...graph.neighbors import Graph, build_graph
from ...model_file.model import Model
from ...networks.snnp.hypers import SNNPHypers
from ...networks.snnp.parts import case_tables
from ...networks.snnp.snnp import SNNP
from .linear_basis import LinearBasis

COLUMNS = 400  # the most, so that a design of thousands of structures stays a matter of minutes
CUTOFF = 5.0  # Å, of the shipped potentials of crystals
SHELLS = 1.8  # nearest distances that the cutoff has to reach, beyond the second shell of fcc and bcc
FARTHEST = 12.0  # Å
COORDINATION = 40  # neighbours for angles in the mean: their pairs are what costs
# Angular filters and what they depend on, from the recipe of one element down to φ alone
FILTERS = ((8, "pair"), (4, "pair"), (4, "neighbour"), (2, "neighbour"), (1, "neighbour"), (0, "pair"))


def auto_basis(pool: Sequence[Atoms], columns: int = COLUMNS, constants: bool = True) -> LinearBasis:
    """The basis of φ and angular filters for the elements of ``pool``.

    - cutoff: 5 Å; where the nearest neighbours are farther than 2.8 Å in the median, 1.8 times that distance,
      at most 12 Å;
    - first knot: 0.96 times the shortest distance (:mod:`ase_mlip.data.first_knot`);
    - cutoff of the angles: that of the pairs, or where an atom has 40 neighbours in the mean;
    - intervals: 14 between the first knot and a cutoff, 10 for the cosine;
    - φ for each pair of elements, and the first of these choices of angular filters with at most ``columns``
      columns: 8 or 4 for every centre and pair of neighbours, 4, 2 or 1 for every pair of neighbours, none.

    Parameters
    ----------
    pool : sequence of ase.Atoms
        the structures
    columns : int
        the largest number of coefficients
    constants : bool
        whether a constant for each element is among them

    Returns
    -------
    LinearBasis
        of at most ``columns`` columns, but with φ alone of as many as it takes

    Raises
    ------
    DataError
        an empty pool
    StructureError
        naming the position in the pool of a structure that cannot be evaluated
    """
    species = _species_of(pool)
    cutoff = _cutoff_for(pool)
    distances = Distances.of(_graphs(pool, cutoff))
    inner = min(distances.automatic(), 0.5 * cutoff)
    atoms = sum(len(one) for one in pool)
    hypers = SNNPHypers(
        species=species,
        cutoff=cutoff,
        angular_cutoff=_angular_cutoff(distances, atoms, inner, cutoff),
        inner=inner,
        radial_filters=0,
        hidden=[],
    )
    for count, filters in FILTERS:
        hypers = dataclasses.replace(hypers, angular_filters=count, filters=filters)
        if _columns_of(hypers) + constants * len(species) <= columns:
            break
    return _basis(hypers, constants)


def basis_from_hypers(hypers: SNNPHypers, pool: Sequence[Atoms], constants: bool = True) -> LinearBasis:
    """The basis of a recipe's ``[model]``, with the pool's elements and, if it is "auto", first knot.

    Parameters
    ----------
    hypers : SNNPHypers
        whose species are not looked at
    pool : sequence of ase.Atoms
        the structures
    constants : bool
        whether a constant for each element is among the coefficients

    Returns
    -------
    LinearBasis
        of the pool's elements

    Raises
    ------
    DataError
        an empty pool, impossible hyper-parameters, or a network without linear fit
    """
    hypers = dataclasses.replace(hypers, species=_species_of(pool))
    if hypers.inner == "auto":
        hypers.inner = Distances.of(_graphs(pool, hypers.cutoff)).automatic()
    return _basis(hypers, constants)


def basis_from_model(model: Model, constants: bool = True) -> LinearBasis:
    """The basis of an s-NNP's model file, with the f that it was trained to.

    Parameters
    ----------
    model : Model
        of an s-NNP
    constants : bool
        whether a constant for each element is among the coefficients

    Returns
    -------
    LinearBasis
        of the model's elements

    Raises
    ------
    MLIPError
        the file holds another network
    DataError
        an s-NNP without linear fit
    """
    network = made_anew(model)
    if not isinstance(network, SNNP):
        raise MLIPError(
            f"`model`: expected the file of an s-NNP, got `{model.path}`; take its features (`sketch_rows`)"
        )
    return LinearBasis(network, constants)


def _basis(hypers: SNNPHypers, constants: bool) -> LinearBasis:
    try:
        with torch.random.fork_rng(devices=[]):
            return LinearBasis(SNNP(hypers), constants)
    except ValueError as error:
        raise DataError(f"[model]: {error}") from None


def _species_of(pool: Sequence[Atoms]) -> list[int]:
    species = sorted({int(number) for atoms in pool for number in atoms.numbers})
    if not species:
        raise DataError("`pool`: expected at least one structure with atoms, got none; name other files")
    return species


def _graphs(pool: Sequence[Atoms], reach: float):
    for index, atoms in enumerate(pool):
        try:
            yield build_graph(atoms, reach)
        except StructureError as error:
            raise StructureError(f"structure {index} of the pool: {error}") from None


def _cutoff_for(pool: Sequence[Atoms]) -> float:
    reach = CUTOFF
    while True:
        nearest = np.concatenate([_nearest(graph) for graph in _graphs(pool, reach)])
        median = float(np.median(nearest))
        if np.isfinite(median) or reach >= FARTHEST:
            break
        reach = min(1.5 * reach, FARTHEST)
    if not np.isfinite(median):  # atoms alone
        return CUTOFF
    return min(max(CUTOFF, math.ceil(10 * SHELLS * median) / 10), FARTHEST)


def _nearest(graph: Graph) -> np.ndarray:
    """Distance of the nearest neighbour of each atom, Å; infinite where there is none."""
    found = torch.full((len(graph.species),), math.inf, dtype=torch.float64)
    lengths = graph.edge_vectors.norm(dim=1)
    return found.scatter_reduce(0, graph.edge_index[0], lengths, "amin").numpy()


def _angular_cutoff(distances: Distances, atoms: int, inner: float, cutoff: float) -> float:
    most = COORDINATION * atoms // 2  # pairs
    if len(distances.values) <= most:
        return cutoff
    return max(math.floor(10 * float(distances.values[most])) / 10, inner + 1.0)


def _columns_of(hypers: SNNPHypers) -> int:
    tables = case_tables(len(hypers.species), hypers.filters, hypers.networks)
    pairs, angles = (int(tables[name].max()) + 1 for name in ("pair_cases", "angle_cases"))
    return pairs * hypers.radial_intervals + angles * hypers.angular_filters * (hypers.angle_intervals + 3)
