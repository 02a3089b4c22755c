"""The basis in whose coefficients an s-NNP is linear: the network's own answers, column by column."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from calls import call

from ase_mlip.building import _ops
from ase_mlip.graph.neighbors import Graph, build_graph, concatenate
from ase_mlip.model_file.potential import Potential
from ase_mlip.networks.snnp.hypers import SNNPHypers
from ase_mlip.networks.snnp.snnp import SNNP
from ase_mlip.optimal_design.rows.linear_basis import LinearBasis

SMALL = {"radial_intervals": 5, "angular_intervals": 4, "angle_intervals": 3, "hidden": [], "inner": 1.8}
KINDS = {
    "one element": ((14,), {"angular_filters": 2}),
    "two elements": ((8, 14), {"angular_filters": 2, "angular_cutoff": 3.4}),
    "three elements, by the neighbours, two blocks": (
        (6, 8, 14),
        {"angular_filters": 9, "filters": "neighbour", "radial_intervals": 3},
    ),
    "without a pair term": ((8, 14), {"angular_filters": 1, "pair": False, "radial_filters": 2}),
    "pairs alone": ((8, 14), {"angular_filters": 0}),
    "shared": ((8, 14), {"angular_filters": 1, "filters": "shared", "core": False}),
}


@pytest.fixture(autouse=True)
def operators():
    _ops.load()


def make(kind: str) -> LinearBasis:
    species, hypers = KINDS[kind]
    torch.manual_seed(1)
    network = SNNP(SNNPHypers(species=list(species), cutoff=4.0, **{"radial_filters": 0, **SMALL, **hypers}))
    torch.nn.init.normal_(network.f.coefficients)
    return LinearBasis(network)


def structure(species: Sequence[int], seed=1, cubic=5.2) -> Atoms:
    atoms = bulk("Si", cubic=True, a=cubic)
    atoms.numbers[:] = np.resize(species, len(atoms))
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.05 * np.eye(3, k=1)), scale_atoms=True)
    atoms.rattle(0.15, seed=seed)
    atoms.positions[0] += (atoms.positions[1] - atoms.positions[0]) * 0.4  # closer than the first knot
    return atoms


def graph_of(basis: LinearBasis, seed=1) -> Graph:
    """With edges beyond the cutoff."""
    return build_graph(structure(basis.species, seed), basis.cutoff + 0.3)


def one_at_a_time(basis: LinearBasis, graph: Graph) -> dict[str, np.ndarray]:
    """The network's answers with one coefficient set to one, less those with none: columns come last."""
    potential = Potential(basis.network, {})

    def answers() -> dict[str, np.ndarray]:
        found = call(potential, graph, ("forces", "virial"))
        return {name: found[name].numpy() for name in ("energies", "forces", "virial")}

    nothing, columns = answers(), []
    for bank, *place in basis.unknowns:
        bank.coefficients[tuple(place)] = 1.0
        columns.append({name: value - nothing[name] for name, value in answers().items()})
        bank.coefficients[tuple(place)] = 0.0
    return {name: np.stack([column[name] for column in columns], axis=-1) for name in nothing}


@pytest.mark.parametrize("kind", KINDS)
def test_columns_are_the_answers_of_the_network_with_one_coefficient(kind):
    basis = make(kind)
    graph = graph_of(basis)
    splines = len(basis.unknowns)
    values, forces, strains = basis.derivatives(graph)
    expected = one_at_a_time(basis, graph)
    assert basis.size == len(basis.names) == splines + len(basis.species)
    np.testing.assert_allclose(values[:, :splines], expected["energies"], rtol=0, atol=1e-10)
    np.testing.assert_allclose(forces[..., :splines], expected["forces"], rtol=0, atol=1e-10)
    virial = expected["virial"][0]
    symmetric = -0.5 * (virial + virial.swapaxes(0, 1))
    in_order = np.stack([symmetric[x, y] for x, y in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))])
    np.testing.assert_allclose(strains[0, :, :splines], in_order, rtol=0, atol=1e-10)
    assert np.array_equal(basis.values(graph), values)
    assert (np.abs(expected["forces"]).max(axis=(0, 1)) > 0).mean() > 0.6


def test_constants_count_the_atoms_of_their_element():
    basis = make("two elements")
    graph = graph_of(basis)
    values, forces, strains = basis.derivatives(graph)
    own = graph.species.numpy()[:, None] == np.array([8, 14])
    assert basis.names[-2:] == ["the constant of O", "the constant of Si"]
    assert np.array_equal(values[:, -2:], own)
    assert not forces[..., -2:].any() and not strains[..., -2:].any()


@pytest.mark.parametrize("kind", ["two elements", "three elements, by the neighbours, two blocks"])
def test_force_rows_are_differences_of_energy_rows(kind):
    basis = make(kind)
    atoms = structure(basis.species, seed=2)
    forces, strains = basis.derivatives(build_graph(atoms, basis.cutoff))[1:]

    def total(changed: Atoms) -> np.ndarray:
        return basis.values(build_graph(changed, basis.cutoff)).sum(axis=0)

    def difference(change, step=1e-4) -> np.ndarray:
        both = [total(change(sign * step)) for sign in (1, -1, 0.5, -0.5)]
        coarse, fine = (both[0] - both[1]) / (2 * step), (both[2] - both[3]) / step
        return (4 * fine - coarse) / 3

    def moved(atom: int, axis: int):
        def change(step: float) -> Atoms:
            other = atoms.copy()
            other.positions[atom, axis] += step
            return other

        return change

    def sheared(step: float) -> Atoms:
        other = atoms.copy()
        strain = np.eye(3)
        strain[1, 2] = strain[2, 1] = 0.5 * step
        other.set_cell(other.cell.array @ strain, scale_atoms=True)
        return other

    for atom, axis in ((0, 0), (3, 1), (7, 2)):
        np.testing.assert_allclose(-difference(moved(atom, axis)), forces[atom, axis], atol=2e-8, rtol=0)
    np.testing.assert_allclose(difference(sheared), strains[0, 3], atol=1e-7, rtol=0)


def several(basis: LinearBasis) -> Graph:
    structures = [structure(basis.species, seed, 4.9 + 0.2 * seed) for seed in range(5)]
    graphs = [build_graph(atoms, basis.cutoff) for atoms in structures]
    alone = build_graph(Atoms([basis.species[0]], positions=[[0, 0, 0]]), basis.cutoff)
    return concatenate([*graphs[:2], alone, *graphs[2:]])


def test_several_structures_at_once_give_what_each_gives():
    basis = make("two elements")
    together = basis.derivatives(several(basis))
    single = structure(basis.species, 1, 5.1)
    values, forces, strains = basis.derivatives(build_graph(single, basis.cutoff))
    np.testing.assert_allclose(together[0][8:16], values, rtol=0, atol=1e-13)
    np.testing.assert_allclose(together[1][8:16], forces, rtol=0, atol=1e-13)
    np.testing.assert_allclose(together[2][1], strains[0], rtol=0, atol=1e-12)
    assert not together[1][16].any() and not together[0][16, :-2].any()  # an atom alone


def test_the_number_of_threads_does_not_matter():
    basis = make("two elements")
    graph, before = several(basis), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append([*basis.derivatives(graph), basis.values(graph)])
    finally:
        torch.set_num_threads(before)
    for one, two in zip(*found, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-12, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_composed_operators_give_the_numbers_of_the_kernel(kind):
    """What a GPU runs."""
    basis = make(kind)
    graph = several(basis)
    arguments = basis._arguments(graph)
    counts = torch.bincount(graph.structure)
    structures = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    more = (graph.edge_index[1], structures, basis.network.phi.before, *arguments)
    kernel, composed = torch.ops.ase_mlip, torch.ops.ase_mlip_composed
    pairs = [*zip(kernel.snnp_basis_rows(*more), composed.snnp_basis_rows(*more), strict=True)]
    pairs.append((kernel.snnp_basis(*more[2:]), composed.snnp_basis(*more[2:])))
    for expected, found in pairs:
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12 * float(expected.abs().max()))


@pytest.mark.parametrize("namespace", ["ase_mlip", "ase_mlip_composed"])
def test_a_graph_without_atoms_has_no_rows(namespace):
    basis = make("two elements")
    arguments = list(basis._arguments(graph_of(basis)))
    nothing = torch.zeros(0, dtype=torch.int64)
    arguments[:2] = [torch.zeros(0, 3, dtype=torch.float64), torch.zeros(1, dtype=torch.int64)]
    arguments[2:4] = [nothing, nothing]
    ops = getattr(torch.ops, namespace)
    before, columns = basis.network.phi.before, len(basis.unknowns)
    assert ops.snnp_basis(before, *arguments).shape == (0, columns)
    found = ops.snnp_basis_rows(nothing, torch.zeros(2, dtype=torch.int64), before, *arguments)
    assert [list(x.shape) for x in found] == [[0, columns], [0, 3, columns], [1, 6, columns]]


def test_what_does_not_fit_together_is_refused():
    basis = make("two elements")
    graph = graph_of(basis)
    arguments = basis._arguments(graph)
    before = basis.network.phi.before
    with pytest.raises(RuntimeError, match="`before` must leave two coefficients of phi"):
        torch.ops.ase_mlip.snnp_basis(before + 4, *arguments)
    halves = torch.tensor([0, 4, 8])
    with pytest.raises(RuntimeError, match="`neighbours` must be nodes of the structure of their centre"):
        torch.ops.ase_mlip.snnp_basis_rows(graph.edge_index[1], halves, before, *arguments)
    with pytest.raises(RuntimeError, match="`structures` must rise from 0 to 8"):
        torch.ops.ase_mlip.snnp_basis_rows(graph.edge_index[1], halves[:2], before, *arguments)
    grids = [grid.clone() for grid in arguments[5]]
    grids[0][0, 2] += 1.0
    with pytest.raises(RuntimeError, match="`grids` must have positive distances of knots"):
        torch.ops.ase_mlip.snnp_basis(before, *arguments[:5], grids, *arguments[6:])
