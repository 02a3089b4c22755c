"""Neighbour lists against ASE's own, the Verlet skin against fresh lists, and structures that are refused.

It also tests `near_edges`, `stored_list`.
"""

import time
from collections import Counter

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.neighborlist import neighbor_list

from ase_mlip.errors import StructureError
from ase_mlip.graph.near_edges import near_edges
from ase_mlip.graph.neighbors import Graph, NeighborList, build_graph, check_structure, concatenate


def random_structure(rng: np.random.Generator, scales=(1.5, 3.0, 6.0, 12.0)) -> Atoms:
    """Some directions periodic, triclinic, sometimes left-handed or tiny, atoms also outside the cell."""
    scale = rng.choice(scales)
    while True:
        cell = rng.normal(size=(3, 3)) * scale
        if abs(np.linalg.det(cell)) > 0.15 * scale**3:
            break
    pbc = rng.random(3) < 0.6
    positions = (3 * rng.random((rng.integers(1, 12), 3)) - 1) @ cell
    if rng.random() < 0.4:
        cell[~pbc] = 0.0
    numbers = rng.choice([8, 14], len(positions))
    return Atoms(numbers, positions, cell=cell, pbc=pbc)


def edges(graph: Graph) -> Counter:
    rows = torch.cat([graph.edge_index.T, graph.shifts], dim=1).tolist()
    return Counter(map(tuple, rows))


def ase_edges(atoms: Atoms, cutoff) -> Counter:
    i, j, shifts = neighbor_list("ijS", atoms, cutoff)
    return Counter(map(tuple, np.column_stack([i, j, shifts]).tolist()))


def assert_consistent(graph: Graph, atoms: Atoms, cutoff: float) -> None:
    """Everything the contract promises of a graph without ghosts."""
    i, j = graph.edge_index
    n_edges = len(i)
    assert graph.edge_index.dtype == graph.shifts.dtype == graph.reverse_edges.dtype == torch.int64
    assert graph.edge_vectors.dtype == graph.node_weights.dtype == torch.float64
    assert graph.species.dtype == graph.structure.dtype == torch.int64
    assert (torch.diff(i) >= 0).all()
    assert not ((i == j) & (graph.shifts == 0).all(1)).any()
    assert (graph.edge_vectors.square().sum(1).sqrt() <= cutoff).all()
    positions = torch.tensor(atoms.positions)
    expected = positions[j] - positions[i] + graph.shifts.double() @ torch.tensor(np.array(atoms.cell))
    torch.testing.assert_close(graph.edge_vectors, expected, rtol=0, atol=1e-10)
    reverse = graph.reverse_edges
    assert (reverse >= 0).all()
    assert torch.equal(reverse[reverse], torch.arange(n_edges))
    assert torch.equal(i[reverse], j)
    assert torch.equal(graph.shifts[reverse], -graph.shifts)
    assert torch.equal(graph.edge_vectors[reverse], -graph.edge_vectors)  # to the last bit


@pytest.mark.parametrize("seed", range(8))
def test_edges_are_those_of_ase(seed):
    rng = np.random.default_rng(seed)
    for _ in range(25):
        atoms, cutoff = random_structure(rng), rng.uniform(1, 6)
        graph = build_graph(atoms, cutoff)
        assert edges(graph) == ase_edges(atoms, cutoff)
        assert_consistent(graph, atoms, cutoff)


@pytest.mark.parametrize(
    "atoms",
    [
        bulk("Si"),
        bulk("Po", "sc", a=1.0),
        bulk("Cu", "fcc", a=3.6) * (3, 3, 3),
        fcc111("Cu", (2, 2, 3), vacuum=8.0, periodic=False),
        molecule("C6H6"),
        molecule("H2O", vacuum=3.0, pbc=True),
        Atoms("Si", cell=[2.0, 0, 0], pbc=[True, False, False]),
        Atoms("Si"),
    ],
    ids=["diamond", "1 atom", "cubic", "slab", "molecule", "box", "wire", "atom"],
)
def test_edges_of_high_symmetry_structures_are_those_of_ase(atoms):
    graph = build_graph(atoms, 4.9)
    assert edges(graph) == ase_edges(atoms, 4.9)
    assert_consistent(graph, atoms, 4.9)


def test_neighbours_exactly_at_the_cutoff_come_with_their_reverse():
    for atoms in (bulk("Po", "sc", a=2 / 3) * (3, 3, 3), bulk("Si") * (2, 2, 2)):
        lengths = build_graph(atoms, 2.5).edge_vectors.square().sum(1).sqrt()
        for cutoff in lengths.unique()[:20].tolist():
            assert_consistent(build_graph(atoms, cutoff), atoms, cutoff)
            assert_consistent(NeighborList(cutoff, skin=0.3).update(atoms), atoms, cutoff)


def test_pair_cutoffs_shorten_the_edges_of_their_pairs_only():
    rng = np.random.default_rng(3)
    for _ in range(20):
        atoms = random_structure(rng)
        limits = {("Si", "Si"): 3.0, ("Si", "O"): 2.1, ("O", "O"): 4.0}
        graph = build_graph(atoms, 4.0, pair_cutoffs={"Si-Si": 3.0, "O-Si": 2.1})
        assert edges(graph) == ase_edges(atoms, limits)
        assert_consistent(graph, atoms, 4.0)


@pytest.mark.parametrize("pair_cutoffs", [{"Si-O": 5.0}, {"Si-O": -1.0}, {"SiO": 3.0}, {"Si-Qq": 3.0}])
def test_pair_cutoffs_must_name_elements_and_not_exceed_the_cutoff(pair_cutoffs):
    with pytest.raises(ValueError, match="`pair_cutoffs"):
        NeighborList(4.0, pair_cutoffs=pair_cutoffs)


@pytest.mark.parametrize("arguments", [{"cutoff": 0.0}, {"cutoff": np.nan}, {"cutoff": 3.0, "skin": -0.1}])
def test_lengths_must_be_positive(arguments):
    with pytest.raises(ValueError, match="`cutoff`|`skin`"):
        NeighborList(**arguments)


@pytest.mark.parametrize("seed", range(6))
def test_a_moving_structure_has_the_edges_of_a_fresh_list(seed):
    rng = np.random.default_rng(seed)
    atoms = random_structure(rng, scales=(4.0, 8.0))
    neighbors = NeighborList(3.5, skin=0.6)
    for _ in range(40):
        atoms.positions += 0.04 * rng.normal(size=atoms.positions.shape)
        graph = neighbors.update(atoms)
        assert edges(graph) == ase_edges(atoms, 3.5)
        assert_consistent(graph, atoms, 3.5)
    assert 1 < neighbors.rebuilds < 30


@pytest.mark.parametrize("pbc", [True, [True, True, False]])
def test_a_straining_structure_has_the_edges_of_a_fresh_list(pbc):
    rng = np.random.default_rng(0)
    atoms = bulk("Si", cubic=True)
    atoms.pbc = pbc
    neighbors = NeighborList(4.0, skin=0.5)
    for _ in range(80):
        strain = np.eye(3) + 0.006 * rng.normal(size=(3, 3))
        atoms.set_cell(np.array(atoms.cell) @ strain, scale_atoms=True)
        atoms.positions += 0.005 * rng.normal(size=atoms.positions.shape)
        graph = neighbors.update(atoms)
        assert edges(graph) == ase_edges(atoms, 4.0)
        assert_consistent(graph, atoms, 4.0)
    assert 1 < neighbors.rebuilds < 80


def test_a_list_serves_the_first_cell_again_after_another():
    atoms = bulk("Si", cubic=True)
    neighbors = NeighborList(4.0, skin=0.5)
    first = neighbors.update(atoms)
    strained = atoms.copy()
    strained.set_cell(atoms.cell * 1.01, scale_atoms=True)
    assert edges(neighbors.update(strained)) == ase_edges(strained, 4.0)
    again = neighbors.update(atoms)
    assert neighbors.rebuilds == 1
    assert torch.equal(first.edge_vectors, again.edge_vectors)


def test_the_list_is_kept_up_to_half_the_skin_and_no_further():
    atoms = bulk("Si", cubic=True)
    neighbors = NeighborList(4.0, skin=0.5)
    neighbors.update(atoms)
    for shift, rebuilds in ((0.249, 1), (0.002, 2)):
        atoms.positions[3, 0] += shift
        neighbors.update(atoms)
        assert neighbors.rebuilds == rebuilds


@pytest.mark.parametrize("change", ["numbers", "pbc", "cell", "length"])
def test_other_changes_renew_the_list(change):
    atoms = bulk("Si", cubic=True) * (1, 1, 2)
    neighbors = NeighborList(4.0, skin=0.5, pair_cutoffs={"Si-O": 2.5})
    neighbors.update(atoms)
    if change == "numbers":
        atoms.numbers[0] = 8
    elif change == "pbc":
        atoms.pbc[1] = False
    elif change == "cell":
        atoms.cell[2, 2] += 0.5
    else:
        del atoms[-1]
    graph = neighbors.update(atoms)
    assert neighbors.rebuilds == 2
    limits = {("Si", "Si"): 4.0, ("Si", "O"): 2.5, ("O", "O"): 4.0}
    assert edges(graph) == ase_edges(atoms, limits)


def test_updating_changes_neither_the_atoms_nor_earlier_graphs():
    atoms = bulk("Si", cubic=True)
    before = atoms.copy()
    neighbors = NeighborList(4.0)
    first = neighbors.update(atoms)
    assert atoms == before
    vectors = first.edge_vectors.clone()
    atoms.positions[0] += 0.1
    neighbors.update(atoms)
    assert torch.equal(first.edge_vectors, vectors)


def test_concatenated_graphs_are_the_single_ones_side_by_side():
    structures = [molecule("H2O"), Atoms("Si"), bulk("Si"), bulk("Cu", cubic=True)]
    graphs = [build_graph(atoms, 3.0) for atoms in structures]
    graphs[0].reverse_edges[1] = -1  # as for a ghost
    whole = concatenate(graphs)
    assert whole.n_structures == 4
    assert torch.equal(whole.structure, torch.tensor([0] * 3 + [1] + [2] * 2 + [3] * 4))
    assert whole.node_weights.shape == whole.species.shape
    assert (torch.diff(whole.edge_index[0]) >= 0).all()
    node = edge = 0
    for graph in graphs:
        n_edges = len(graph.shifts)
        part = slice(edge, edge + n_edges)
        assert torch.equal(whole.edge_index[:, part] - node, graph.edge_index)
        assert torch.equal(whole.edge_vectors[part], graph.edge_vectors)
        reverse = whole.reverse_edges[part]
        assert torch.equal(torch.where(reverse < 0, -1, reverse - edge), graph.reverse_edges)
        node, edge = node + len(graph.species), edge + n_edges
    with pytest.raises(ValueError, match="`graphs`"):
        concatenate([])


def test_non_periodic_structures_need_no_cell_and_ignore_a_degenerate_one():
    atoms = molecule("CH3CH2OH")
    expected = ase_edges(atoms, 3.0)
    assert edges(build_graph(atoms, 3.0)) == expected
    atoms.cell = np.ones((3, 3))
    assert edges(build_graph(atoms, 3.0)) == expected


def test_a_non_periodic_cell_vector_may_lie_in_the_plane_of_the_others():
    atoms = fcc111("Cu", (2, 2, 2))
    atoms.cell[2] = atoms.cell[0] + atoms.cell[1]
    expected = fcc111("Cu", (2, 2, 2), vacuum=9.0)
    assert edges(build_graph(atoms, 4.0)) == ase_edges(expected, 4.0)


@pytest.mark.parametrize("pbc", [[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]])
@pytest.mark.parametrize("distance", [3e3, 1e6])
def test_atoms_far_apart_cost_nothing(pbc, distance):
    """vesin alone divides by zero or takes a minute for some of these."""
    atoms = molecule("H2O", cell=[5.0, 5.0, 5.0], pbc=pbc)
    atoms += Atoms("OOH", [[2, 1, distance - 1], [2, 1, distance], [1, 3 - distance, distance]])
    start = time.perf_counter()
    graph = build_graph(atoms, 3.0)
    assert time.perf_counter() - start < 2
    assert_consistent(graph, atoms, 3.0)
    near = atoms.copy()
    near.positions[3:, 2] -= 0 if pbc[2] else distance - 50  # far enough from the molecule
    near.positions[5, 1] += 0 if pbc[1] else distance - 50
    near.wrap()
    assert len(graph.shifts) == sum(ase_edges(near, 3.0).values()) >= 8


@pytest.mark.parametrize("moved", [300, -(10**5)])
@pytest.mark.parametrize("pbc", [[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 1, 1], [1, 1, 1]])
def test_an_atom_moved_by_many_vectors_costs_nothing(pbc, moved):
    """An image is as good as another; of a wire along a diagonal vesin's grid grows with the cube."""
    pbc = np.array(pbc, dtype=bool)
    cell = np.array([[2.4, 2.4, 2.4], [-3.0, 3.0, 0.5], [1.0, 1.0, -4.0]]) * pbc[:, None]
    home = Atoms("Au4", np.random.default_rng(3).uniform(0, 2, (4, 3)), cell=cell, pbc=pbc)
    atoms = home.copy()
    atoms.positions[1] += moved * cell.sum(axis=0)
    start = time.perf_counter()
    graph = build_graph(atoms, 6.0)
    assert time.perf_counter() - start < 0.5
    assert_consistent(graph, atoms, 6.0)
    rows = edges(build_graph(home, 6.0))
    assert len(rows) > 8
    step = moved * pbc.astype(int)
    expected = Counter((i, j, *((a, b, c) + step * (int(i == 1) - int(j == 1)))) for i, j, a, b, c in rows)
    assert edges(graph) == expected


def test_a_long_diagonal_wire_costs_no_more_than_a_straight_one():
    """vesin alone divides by zero for it, which ends the process."""
    n = 1600
    direction = np.array([1.0, 1.0, 0.0]) / np.sqrt(2)
    places = 2.4 * np.arange(n)[:, None] * direction
    atoms = Atoms(f"Au{n}", places, cell=[2.4 * n * direction, [0, 0, 0], [0, 0, 0]], pbc=[1, 0, 0])
    start = time.perf_counter()
    graph = build_graph(atoms, 6.0)
    assert time.perf_counter() - start < 0.5
    assert_consistent(graph, atoms, 6.0)
    assert len(graph.shifts) == 4 * n


@pytest.mark.parametrize("lengths", [(5, 1e4, 1e4), (5, 5, 1e6), (5, 1e5, 1e6), (3, 1e3, 1e3)])
def test_thin_and_huge_periodic_cells(lengths):
    """vesin alone divides by zero for these."""
    atoms = Atoms("Si2", [[0, 0, 0], [0, 2, 0]], cell=lengths, pbc=True)
    graph = build_graph(atoms, 4.0)
    expected = Atoms("Si2", [[0, 0, 0], [0, 2, 0]], cell=np.minimum(lengths, 50), pbc=True)
    assert edges(graph)[(0, 1, 0, 0, 0)] == 1
    assert len(graph.shifts) == len(build_graph(expected, 4.0).shifts)
    check_structure(atoms)


def broken(kind: str) -> Atoms:
    atoms = bulk("Si", cubic=True)
    if kind == "nan":
        atoms.positions[2, 1] = np.nan
    elif kind == "infinite":
        atoms.positions[2, 1] = np.inf
    elif kind == "nan cell":
        atoms.cell[0, 0] = np.nan
    elif kind == "far":
        atoms.positions[2, 1] = 1e9
    elif kind == "coincident":
        atoms.positions[2] = atoms.positions[5] + 1e-5
    elif kind == "coincident image":
        atoms.positions[2] = atoms.positions[5] + 3 * atoms.cell[0]
    elif kind == "empty":
        atoms = Atoms(cell=atoms.cell, pbc=True)
    elif kind == "no cell":
        atoms.cell[:] = 0.0
    elif kind == "flat":
        atoms.cell[2] = atoms.cell[0] + atoms.cell[1]
    elif kind == "one zero vector":
        atoms.cell[0] = 0.0
        atoms.pbc = [True, False, True]
    return atoms


@pytest.mark.parametrize(
    "kind, message",
    [
        ("nan", "`atoms.positions`.*finite.*row 2"),
        ("infinite", "`atoms.positions`.*finite.*row 2"),
        ("nan cell", "`atoms.cell`.*finite"),
        ("far", "`atoms.positions`.*magnitudes"),
        ("coincident", "`atoms`.*distances.*atoms 2 and 5"),
        ("coincident image", "`atoms`.*distances.*atoms 2 and 5"),
        ("empty", "`atoms`.*at least one atom"),
        ("no cell", "`atoms.cell`.*zero volume"),
        ("flat", "`atoms.cell`.*zero volume"),
        ("one zero vector", "`atoms.cell`.*zero volume"),
    ],
)
def test_impossible_structures_are_refused(kind, message):
    atoms = broken(kind)
    for refuse in (check_structure, lambda atoms: build_graph(atoms, 4.0)):
        with pytest.raises(StructureError, match=f"(?s){message}"):
            refuse(atoms)
    neighbors = NeighborList(4.0)
    neighbors.update(bulk("Si", cubic=True))
    with pytest.raises(StructureError, match=f"(?s){message}"):
        neighbors.update(atoms)


def test_unknown_species_are_named():
    check_structure(bulk("Si"), species=[14])
    with pytest.raises(StructureError, match="holds H, O, which.*expected only Si"):
        check_structure(molecule("H2O"), species=[14])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_lists_kept_on_a_gpu_give_the_same_graphs():
    rng = np.random.default_rng(1)
    atoms = bulk("Si", cubic=True) * (2, 2, 2)
    on_cpu, on_gpu = NeighborList(4.0), NeighborList(4.0, device="cuda")
    for _ in range(20):
        atoms.positions += 0.02 * rng.normal(size=atoms.positions.shape)
        expected, got = on_cpu.update(atoms), on_gpu.update(atoms)
        assert got.edge_vectors.is_cuda
        for name in ("edge_index", "edge_vectors", "reverse_edges", "shifts", "species"):
            assert torch.equal(getattr(got.to("cpu"), name), getattr(expected, name))


@pytest.mark.parametrize("limits", ["one", "each"])
def test_the_operator_chooses_the_edges_that_torch_chooses(limits):
    """To the last bit, also of nothing."""
    atoms = bulk("Si", cubic=True).repeat(2)
    atoms.rattle(0.2, seed=1)
    neighbors = NeighborList(5.0, skin=0.5)
    neighbors.update(atoms)
    stored = neighbors._stored
    count = stored.edge_index.shape[1]
    for reach in (5.0, 3.0, 0.1):
        squares = torch.full((count if limits == "each" else 1,), reach**2, dtype=torch.float64)
        lists = (stored.edge_index, stored.offsets, stored.reverse, stored.shifts, squares)
        found = near_edges(torch.from_numpy(atoms.positions), *lists)
        expected = torch.ops.ase_mlip_composed.near_edges(torch.from_numpy(atoms.positions), *lists)
        assert all(torch.equal(a, b) for a, b in zip(found[:4], expected[:4], strict=True))
        assert found[4] == expected[4]
