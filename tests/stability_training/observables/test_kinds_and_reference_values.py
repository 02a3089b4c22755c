"""Observables of frames, their sums over atoms, references with errors, and losses with derivatives.

It also tests `distances`, `reference_values`.
"""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from ase_mlip.dynamics.rdf import rdf
from ase_mlip.errors import DataError, StructureError
from ase_mlip.stability_training.observables.distances import Distances, UnseenDistances
from ase_mlip.stability_training.observables.kinds import (
    BondLengths,
    NonbondedDistance,
    Pressure,
    mean_square_displacement,
)
from ase_mlip.stability_training.observables.reference_values import (
    Target,
    read_reference,
    reference_from_frames,
)
from ase_mlip.stability_training.trainable import open_trainable


def rattled(atoms: Atoms, n: int, size: float = 0.05) -> list[Atoms]:
    found = []
    for seed in range(n):
        one = atoms.copy()
        one.rattle(size, seed=seed)
        found.append(one)
    return found


def waters() -> Atoms:
    """Two molecules of water in a periodic box, one of them across its border."""
    one = molecule("H2O")
    one.positions += 1.5 - one.positions[0]
    other = one.copy()
    other.positions += [2.5, 0.0, 0.0]
    both = one + other
    both.set_cell([6.0, 6.0, 6.0])
    both.pbc = True
    both.positions[3] -= [6.0, 0.0, 0.0]
    return both


@pytest.mark.parametrize(
    ("atoms", "pairs"), [("C2H6", "all"), ("C2H6", "C-H"), ("water", "H-O"), ("water", "all")]
)
def test_distances_are_those_of_rdf(atoms, pairs):
    frames = rattled(waters() if atoms == "water" else molecule(atoms), 5)
    observable = Distances(pairs, rmax=4.0, width=0.1)
    expected = rdf(frames, 4.0, 0.1).g[pairs]
    np.testing.assert_allclose(observable.values(frames).mean(axis=0), expected, rtol=1e-12, atol=1e-14)
    assert len(observable.labels()) == 40


def test_bond_lengths_are_means_of_kinds_also_across_the_border():
    atoms = waters()
    observable = BondLengths(atoms)
    assert observable.labels() == ["H-O"]
    assert observable.values([atoms])[0, 0] == pytest.approx(atoms.get_distance(0, 1), abs=1e-9)
    each = BondLengths(molecule("C2H6"), each=True)
    assert len(each.labels()) == 7
    stretched = molecule("C2H6")
    stretched.positions[0] += [0.0, 0.0, 0.1]
    expected = {f"C-C {0}-{1}": stretched.get_distance(0, 1), "C-H 0-2": stretched.get_distance(0, 2)}
    found = dict(zip(each.labels(), each.values([stretched])[0], strict=True))
    for name, value in expected.items():
        assert found[name] == pytest.approx(value)


def test_wrapped_frames_have_the_bond_lengths_of_whole_molecules():
    """A program that wraps coordinates into the cell takes molecules apart; lengths must not notice."""
    whole = rattled(waters(), 4)
    wrapped = [atoms.copy() for atoms in whole]
    for n, atoms in enumerate(wrapped):
        atoms.positions += [1.3 * n, 2.6, 0.7 * n]
        atoms.wrap()
    observable = BondLengths(waters())
    expected = np.mean([[atoms.get_distance(0, k) for k in (1, 2)] for atoms in whole])
    expected += np.mean([[atoms.get_distance(3, k, mic=True) for k in (4, 5)] for atoms in whole])
    assert abs(observable.values(wrapped).mean() - 0.5 * expected) > 0.1  # as they are they are wrong
    found = reference_from_frames(observable, wrapped, waters(), "here").mean
    assert found == pytest.approx([0.5 * expected], abs=1e-9)
    piece = observable.in_one_piece(wrapped[1])
    steps = (piece.positions - wrapped[1].positions) / 6.0
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-9)  # each moved by whole cells


def test_bonds_of_a_crystal_that_fit_no_image_are_refused():
    silicon = bulk("Si", cubic=True)
    observable = BondLengths(silicon)
    wrapped = silicon.copy()
    wrapped.positions += 0.4
    wrapped.wrap()
    pieces = observable.in_one_piece(wrapped)
    assert observable.values([pieces])[0, 0] == pytest.approx(observable.values([silicon])[0, 0])
    other = silicon.copy()
    other.positions[0] = silicon.positions[1]
    other.positions[1] = silicon.positions[0] + [0.0, 0.0, 5.43]
    with pytest.raises(StructureError, match="bonds of the first training start"):
        observable.in_one_piece(other)


def test_smallest_distances_leave_out_bonds_and_angles_but_no_other_molecule():
    atoms = waters()
    distances = atoms.get_all_distances(mic=True)
    between = distances[:3, 3:]
    assert NonbondedDistance(atoms).values([atoms])[0, 0] == pytest.approx(between.min())
    mean = np.concatenate([between.min(axis=1), between.min(axis=0)]).mean()
    found = NonbondedDistance(atoms, of_each_atom=True).values([atoms])[0, 0]
    assert found == pytest.approx(mean)
    ethane = molecule("C2H6")
    hydrogens = [atom.index for atom in ethane if atom.symbol == "H"]
    across = [ethane.get_distance(a, b) for a in hydrogens[:3] for b in hydrogens[3:]]
    assert NonbondedDistance(ethane).values([ethane])[0, 0] == pytest.approx(min(across))


@pytest.mark.parametrize("kind", ["distances", "bonds", "smallest", "of each"])
def test_contributions_of_atoms_sum_to_the_value(kind):
    frames = rattled(waters(), 3)
    observable = {
        "distances": Distances("H-O", 4.0, 0.2),
        "bonds": BondLengths(frames[0]),
        "smallest": NonbondedDistance(frames[0]),
        "of each": NonbondedDistance(frames[0], of_each_atom=True),
    }[kind]
    sums = [observable.contributions(atoms).sum(axis=0) for atoms in frames]
    np.testing.assert_allclose(observable.values(frames), sums)
    assert observable.contributions(frames[0]).shape == (6, len(observable.labels()))


def test_the_pressure_is_that_of_an_ideal_gas_and_the_stress():
    atoms = bulk("Si", cubic=True)
    trainable = open_trainable("snnp-si")
    from ase_mlip import MLIPCalculator

    with_stress = atoms.copy()
    with_stress.calc = MLIPCalculator("snnp-si")
    stress = with_stress.get_stress()
    with_stress.calc = SinglePointCalculator(with_stress, stress=stress)
    observable = Pressure(300.0)
    expected = 8 * units.kB * 300.0 / atoms.get_volume() - stress[:3].mean()
    assert observable.values([atoms], trainable)[0, 0] == pytest.approx(expected / units.GPa, abs=1e-3)
    assert observable.values([with_stress])[0, 0] == pytest.approx(expected / units.GPa)
    with pytest.raises(StructureError, match="a stress in every frame"):
        observable.values([atoms])
    with pytest.raises(StructureError, match="periodic"):
        observable.values([molecule("H2O")])


def test_the_derivative_of_the_loss_is_that_of_finite_differences():
    frames = rattled(molecule("C2H6"), 6)
    observable = Distances("all", 4.0, 0.5)
    reference = reference_from_frames(observable, frames, frames[0], "here")
    target = Target(observable, reference, observable.default_scale(reference.mean), 0.7)
    mean, h = reference.mean + 0.1 * np.arange(8), 1e-6
    for k, expected in enumerate(target.derivative(mean)):
        step = np.eye(8)[k] * h
        assert (target.loss(mean + step) - target.loss(mean - step)) / (2 * h) == pytest.approx(expected)
    assert target.loss(reference.mean) == 0.0
    assert target.noise() == pytest.approx(np.sqrt(np.mean((reference.error / target.scale) ** 2)))


def test_the_error_of_a_reference_is_a_standard_error():
    frames = rattled(molecule("C2H6"), 50)
    observable = BondLengths(frames[0])
    reference = reference_from_frames(observable, frames, frames[0], "here")
    values = observable.values(frames)
    np.testing.assert_allclose(reference.error, values.std(axis=0, ddof=1) / np.sqrt(50))
    assert reference.frames == 50


def test_a_reference_is_read_from_frames_numbers_and_files(tmp_path):
    frames = rattled(molecule("C2H6"), 4)
    observable = Distances("all", 4.0, 1.0)
    write(tmp_path / "reference.xyz", frames)
    found = read_reference(observable, "reference.xyz", None, frames[0], tmp_path)
    np.testing.assert_allclose(found.mean, observable.values(frames).mean(axis=0), atol=1e-6)
    table = np.column_stack([[0.5, 1.5, 2.5, 3.5], found.mean, found.error])
    np.savetxt(tmp_path / "reference.csv", table, delimiter=",")
    again = read_reference(observable, "reference.csv", None, frames[0], tmp_path)
    np.testing.assert_allclose(again.mean, found.mean)
    np.testing.assert_allclose(again.error, found.error)
    numbers = read_reference(observable, [0.0, 0.1, 0.2, 0.3], [0.01] * 4, frames[0], tmp_path)
    assert numbers.error.tolist() == [0.01] * 4
    np.savetxt(tmp_path / "other.csv", np.column_stack([[0.25, 0.75, 1.25, 1.75], found.mean]), delimiter=",")
    with pytest.raises(DataError, match=r"expected the centres 0.5, 1.5.*rmax"):
        read_reference(observable, "other.csv", None, frames[0], tmp_path)
    with pytest.raises(DataError, match="expected 4 numbers"):
        read_reference(observable, [1.0, 2.0], None, frames[0], tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        read_reference(observable, "absent.csv", None, frames[0], tmp_path)


@pytest.mark.parametrize("other", [molecule("C2H4"), bulk("Si", cubic=True)])
def test_a_reference_of_another_system_is_refused(other):
    like = molecule("C2H6")
    with pytest.raises(DataError, match="expected frames .*same system"):
        reference_from_frames(Distances(), [other] * 2, like, "other.xyz")


def test_bond_lengths_of_atoms_without_bonds_are_refused():
    with pytest.raises(StructureError, match="expected a structure with bonds, got none"):
        BondLengths(Atoms("Ar2", [[0.0, 0.0, 0.0], [0.0, 0.0, 3.8]]))


def test_a_pair_of_elements_that_is_not_there_is_refused():
    with pytest.raises(StructureError, match="\"all\" or one of all, C-C, C-H, H-H, got 'O-Si'"):
        Distances("O-Si").values([molecule("C2H6")])


def test_the_mean_square_displacement_of_free_flight_is_quadratic():
    times = np.arange(5.0)
    velocity = np.array([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    flights = [times[:, None, None] * velocity, times[:3, None, None] * velocity]
    np.testing.assert_allclose(mean_square_displacement(flights), 2.5 * times**2)


def test_unseen_distances_are_those_in_bins_of_their_elements_where_the_reference_has_none():
    """By the histogram of rdf: a sum over the bins that are empty in the reference."""
    reference = rattled(molecule("C2H6"), 30, 0.03)
    frames = rattled(molecule("C2H6"), 8, 0.15)
    observable = UnseenDistances(reference, "all", rmax=4.0, width=0.1)
    expected = np.zeros(8)
    for pair, n_pairs in (("C-C", 1), ("C-H", 12), ("H-H", 15)):
        empty = rdf(reference, 4.0, 0.1).g[pair] == 0.0
        for k, atoms in enumerate(frames):
            expected[k] += n_pairs * 0.1 * rdf([atoms], 4.0, 0.1).g[pair][empty].sum()
        alone = UnseenDistances(reference, pair, 4.0, 0.1)
        assert alone.values(reference).sum() == 0.0
    values = observable.values(frames)
    np.testing.assert_allclose(values[:, 0], expected, atol=1e-9)
    assert values.sum() > 0.0
    contributions = observable.contributions(frames[0])
    assert contributions.shape == (8, 1) and contributions.sum() == pytest.approx(values[0, 0])


def test_unseen_distances_know_images_across_the_border_and_pairs_the_reference_does_not_have():
    box = waters()
    observable = UnseenDistances([box], "all", rmax=2.9, width=0.1)
    assert observable.values([box]).sum() == 0.0
    moved = box.copy()
    moved.positions += 2.0
    moved.wrap()
    assert observable.values([moved])[0, 0] == 0.0
    with pytest.raises(StructureError, match="`pairs`: expected a pair of elements .*got 'C-H'"):
        UnseenDistances([box], "C-H")


def test_the_loss_of_unseen_distances_is_linear_and_their_reference_zero():
    frames = rattled(molecule("C2H6"), 20, 0.03)
    observable = UnseenDistances(frames)
    reference = reference_from_frames(observable, frames, frames[0], "frames")
    assert reference.mean.tolist() == [0.0] and reference.error.tolist() == [0.0]
    target = Target(observable, reference, scale=2.0, weight=3.0)
    assert target.loss(np.array([0.4])) == pytest.approx(0.6)
    assert target.derivative(np.array([0.4])).tolist() == [1.5]
    assert target.derivative(np.array([0.0])).tolist() == [1.5]
    assert target.deviation(np.array([0.4])) == pytest.approx(0.2)
