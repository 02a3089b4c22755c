"""Averages over rotations against sums over rotated structures, and what they keep."""

import pickle

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from random_pet import results, rotated, silicon
from scipy.spatial.transform import Rotation

from ase_mlip import MLIPCalculator
from ase_mlip.calculators.rotation_sums import Moments
from ase_mlip.errors import StructureError
from ase_mlip.graph.neighbors import build_graph
from ase_mlip.model_file.model import Model
from ase_mlip.rotations.averaging import random_rotation
from ase_mlip.rotations.schemes import find_averaging


@pytest.mark.parametrize("forces", ["conservative", "direct"])
@pytest.mark.parametrize("scheme", ["octahedral", "icosahedral+inversion", "lebedev 3"])
def test_average_is_the_average_over_rotated_structures(random_path, scheme, forces):
    """Oracle: the plain calculator on structures that are themselves rotated."""
    atoms = silicon()
    plain = MLIPCalculator(random_path, forces=forces)
    chosen = find_averaging(scheme)
    energies, vectors, tensors = [], [], []
    for matrix in chosen.rotations:
        copy = rotated(atoms, matrix)
        plain.calculate(copy)
        energies.append(plain.results["energy"])
        vectors.append(plain.results["forces"] @ matrix)
        stress = plain.results["stress"]
        full = stress[[0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(3, 3)
        tensors.append((matrix.T @ full @ matrix).ravel()[[0, 4, 8, 5, 2, 1]])
    averaged = MLIPCalculator(random_path, symmetrize=scheme, forces=forces)
    averaged.calculate(atoms)
    found, spreads = averaged.results, averaged.diagnostics
    weights = chosen.weights
    energy, force, stress = (np.tensordot(weights, v, 1) for v in (energies, vectors, tensors))
    assert found["energy"] == pytest.approx(energy, abs=1e-10)
    assert found["energies"].sum() == pytest.approx(energy, abs=1e-10)
    np.testing.assert_allclose(found["forces"], force, atol=1e-10)
    np.testing.assert_allclose(found["stress"], stress, atol=1e-11)
    assert spreads["energy_spread"] == pytest.approx(np.sqrt(weights @ (energies - energy) ** 2), rel=1e-8)
    deviations = ((vectors - force) ** 2).sum(axis=2)
    np.testing.assert_allclose(
        spreads["forces_spread"], np.sqrt(np.tensordot(weights, deviations, 1)), rtol=1e-7
    )
    deviations = (tensors - stress) ** 2
    np.testing.assert_allclose(
        spreads["stress_spread"], np.sqrt(np.tensordot(weights, deviations, 1)), rtol=1e-7
    )


def check_every_element(path, atoms, scheme):
    """Each of the group's operations applied to the structure: the same energy, forces rotated with it."""
    calculator = MLIPCalculator(path, symmetrize=scheme, check_lattice=False)
    calculator.calculate(atoms)
    energy, size = calculator.results["energy"], np.abs(calculator.results["energies"]).sum()
    forces = calculator.results["forces"]
    copies = [rotated(atoms, matrix) for matrix in calculator.averaging.rotations]
    for matrix, found in zip(calculator.averaging.rotations, calculator.evaluate(copies), strict=True):
        assert abs(found["energy"] - energy) <= 1e-11 * size
        np.testing.assert_allclose(found["forces"] @ matrix, forces, atol=1e-10)


@pytest.mark.parametrize(
    "scheme",
    [
        "octahedral",
        "octahedral+inversion",
        "icosahedral",
        "icosahedral+inversion",
    ],
)
def test_every_element_leaves_the_energy(random_path, scheme):
    """Two atoms, rattled in a general cell, have no symmetry of their own."""
    atoms = Atoms("Si2", positions=[[0.1, 0.0, 0.0], [1.3, 1.5, 1.2]], pbc=True)
    atoms.set_cell([[4.0, 0.2, 0.1], [0.3, 4.2, 0.0], [-0.2, 0.4, 4.1]])
    check_every_element(random_path, atoms, scheme)


@pytest.mark.parametrize("crystal", ["diamond", "rotated", "hexagonal"])
def test_every_element_of_a_crystals_group_leaves_the_energy(random_path, crystal):
    """Of the undisplaced crystal, and of a displaced one, which the group does not map onto itself."""
    atoms = bulk("Si", "hcp", a=3.0) if crystal == "hexagonal" else bulk("Si")
    if crystal == "rotated":
        atoms = rotated(atoms, Rotation.from_euler("xyz", [0.3, 0.5, 0.7]).as_matrix())
    check_every_element(random_path, atoms, atoms)
    displaced = atoms.copy()
    displaced.rattle(0.1, seed=1)
    check_every_element(random_path, displaced, atoms)


def test_forces_and_stress_are_derivatives_of_the_average(random_path):
    atoms = silicon()
    atoms.calc = MLIPCalculator(random_path, symmetrize="octahedral")
    from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress

    expected = calculate_numerical_forces(atoms, eps=1e-4, iatoms=[0, 3])
    np.testing.assert_allclose(atoms.get_forces()[[0, 3]], expected, atol=1e-6)
    np.testing.assert_allclose(atoms.get_stress(), calculate_numerical_stress(atoms, eps=1e-5), atol=1e-6)


def test_direct_forces_have_no_net_force(random_path):
    found = results(random_path, silicon(), symmetrize="octahedral", forces="direct")
    np.testing.assert_allclose(found["forces"].sum(axis=0), 0.0, atol=1e-12)


def test_crystal_keeps_the_perfect_crystal(random_path):
    """The undisplaced crystal feels no force and a stress of its own symmetry, unlike in the plain model."""
    crystal = bulk("Si", cubic=True)
    plain = results(random_path, crystal)
    found = results(random_path, crystal, symmetrize=crystal)
    assert np.abs(plain["forces"]).max() > 1e-3
    np.testing.assert_allclose(found["forces"], 0.0, atol=1e-12)
    np.testing.assert_allclose(found["stress"][3:], 0.0, atol=1e-14)
    np.testing.assert_allclose(found["stress"][:3], found["stress"][0], rtol=1e-10)


def test_a_box_that_the_group_does_not_keep_is_refused(random_path):
    crystal = bulk("Si", cubic=True)
    long = crystal.repeat((1, 1, 2))
    with pytest.raises(StructureError, match="map onto itself"):
        results(random_path, long, symmetrize=crystal)
    found = results(random_path, long, symmetrize=crystal, check_lattice=False)
    assert np.isfinite(found["energy"])


@pytest.fixture
def batches(monkeypatch):
    """How many rotations each evaluation of a model had at once."""
    found = []
    call = Model.__call__

    def record(self, graph, outputs, averaging, at_once=0):
        found.append(len(averaging.rotations))
        assert at_once == len(averaging.rotations)
        return call(self, graph, outputs, averaging, at_once)

    monkeypatch.setattr(Model, "__call__", record)
    return found


@pytest.mark.parametrize("forces", ["conservative", "direct"])
def test_several_rotations_at_once(random_path, batches, forces):
    """As on a GPU; here on a CPU. Nothing depends on it, reference energies included."""
    atoms = silicon()
    calculator = MLIPCalculator(random_path, symmetrize="lebedev 5", forces=forces)
    calculator.calculate(atoms)
    expected = calculator.results | calculator.diagnostics
    assert batches == [16, 16, 16, 16, 16, 4]  # of 128 // 8
    for batch in (1, 7):
        del batches[:]
        calculator.model.batch = batch
        calculator.calculate(atoms)
        assert batches == [batch] * (84 // batch)
        for name, value in expected.items():
            found = (calculator.results | calculator.diagnostics)[name]
            np.testing.assert_allclose(found, value, atol=1e-11, err_msg=name)


def test_rotations_at_once_follow_the_memory_that_is_free(random_path, batches):
    """As on a GPU, with the limit told and a lack of memory simulated."""
    atoms = silicon()
    calculator = MLIPCalculator(random_path, symmetrize="octahedral")
    calculator.calculate(atoms)
    expected = calculator.results | calculator.diagnostics
    limit, n_edges = calculator._rotations_limit, build_graph(atoms, 4.0).edge_index.shape[1]
    limit.after_running_out = lambda: setattr(limit, "edges", limit.edges // 2)
    limit.edges, call = 10 * n_edges, Model.__call__

    def run_out(self, graph, outputs, averaging, *others, **options):
        if len(averaging.rotations) > 3:
            raise torch.cuda.OutOfMemoryError("simulated")
        return call(self, graph, outputs, averaging, *others, **options)

    del batches[:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Model, "__call__", run_out)
        calculator.calculate(atoms)
    assert batches == [2] * 12  # after 10 and 5
    for name, value in expected.items():
        found = (calculator.results | calculator.diagnostics)[name]
        np.testing.assert_allclose(found, value, atol=1e-11, err_msg=name)


def test_deviations_of_values_far_from_zero_in_parts():
    """Oracle: numpy's weighted moments; squares of the values themselves would have lost all digits."""
    rng = np.random.default_rng(0)
    values, weights = 1e8 + rng.normal(size=(24, 5)), rng.random(24)
    weights /= weights.sum()
    moments = Moments()
    for start in range(0, 24, 7):
        part = slice(start, start + 7)
        moments.add(torch.from_numpy(values[part]), torch.from_numpy(weights[part]))
    mean = weights @ values
    expected = np.sqrt(weights @ (values - mean) ** 2)
    np.testing.assert_allclose(moments.deviation().numpy(), expected, rtol=1e-7)
    same = Moments()
    same.add(torch.full((3, 2), 0.1, dtype=torch.float64), torch.full((3,), 1 / 3, dtype=torch.float64))
    assert same.deviation().tolist() == [0.0, 0.0]


def test_many_structures_and_pickles(random_path):
    structures = [silicon(seed=k) for k in range(3)]
    calculator = MLIPCalculator(random_path, symmetrize="octahedral")
    together = calculator.evaluate(structures)
    copy = pickle.loads(pickle.dumps(calculator))
    for atoms, found in zip(structures, together, strict=True):
        copy.calculate(atoms)
        assert copy.results["energy"] == pytest.approx(found["energy"], abs=1e-10)


def test_calculators_of_one_model_keep_their_own_averaging(random_path):
    atoms = silicon()
    plain = MLIPCalculator(random_path)
    averaged = MLIPCalculator(plain.model, symmetrize="octahedral")
    plain.calculate(atoms)
    before = plain.results["energy"]
    averaged.calculate(atoms)
    plain.calculate(atoms)
    assert plain.results["energy"] == before
    assert plain.diagnostics == {} and averaged.diagnostics["energy_spread"] > 0
    assert averaged.results["energy"] != before


def test_random_takes_a_new_rotation_each_time(random_path):
    atoms = silicon()
    first, second = (MLIPCalculator(random_path, symmetrize="random 5") for _ in range(2))
    energies = []
    for _ in range(3):
        first.calculate(atoms)
        second.calculate(atoms)
        assert first.results["energy"] == second.results["energy"]
        energies.append(first.results["energy"])
    assert len(set(energies)) == 3
    plain = MLIPCalculator(random_path)
    plain.calculate(rotated(atoms, random_rotation(5, 2)))
    assert plain.results["energy"] == pytest.approx(energies[2], abs=1e-10)
