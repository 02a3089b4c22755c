"""Averaging over rotations: groups against oracles, averages against sums over rotated structures."""

import pickle

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from scipy.spatial.transform import Rotation
from scipy.special import sph_harm_y

from ase_mlip import MLIPCalculator, SymmetrizedModel, export_model, load_model
from ase_mlip.architectures.pet import PET, PETHypers
from ase_mlip.averaging import random_rotation
from ase_mlip.errors import MLIPError, ModelFileError, PrecisionWarning, StructureError
from ase_mlip.model import Model
from ase_mlip.model_info import read_info
from ase_mlip.neighbors import build_graph
from ase_mlip.residual import residual_of_forces
from ase_mlip.rotation_sums import Moments
from ase_mlip.symmetry import find_averaging

SMALL = {"d_pet": 16, "d_node": 24, "d_head": 16, "d_feedforward": 32, "num_heads": 2}
COUNTS = {"octahedral": 24, "icosahedral": 60, "octahedral+inversion": 48, "lebedev 3": 24, "lebedev 5": 84}


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    """A random PET, which knows no symmetry whatever, with direct heads."""
    torch.manual_seed(3)
    hypers = PETHypers(species=[14], cutoff=4.0, direct_forces=True, direct_stress=True, **SMALL)
    path = tmp_path_factory.mktemp("model") / "random.pt"
    metadata = {"name": "random", "species": [14], "cutoff": 4.0, "message_passing_layers": 2}
    export_model(PET(hypers).double(), path, {**metadata, "interaction_range": 8.0})
    return path


def silicon(rattle=0.1, seed=1) -> Atoms:
    atoms = bulk("Si", cubic=True)
    atoms.rattle(rattle, seed=seed)
    return atoms


def rotated(atoms: Atoms, matrix: np.ndarray) -> Atoms:
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ matrix.T)
    turned.positions = atoms.positions @ matrix.T
    return turned


def results(path, atoms, **options) -> dict:
    calculator = MLIPCalculator(path, **options)
    calculator.calculate(atoms)
    return calculator.results


# ---- groups ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", COUNTS)
def test_numbers_of_rotations(scheme):
    chosen = find_averaging(scheme)
    assert chosen.evaluations == COUNTS[scheme]
    assert chosen.weights.sum() == pytest.approx(1.0, abs=1e-14)
    products = chosen.rotations @ chosen.rotations.transpose(0, 2, 1)
    np.testing.assert_allclose(products, np.broadcast_to(np.eye(3), products.shape), atol=1e-14)


@pytest.mark.parametrize("scheme", ["octahedral", "icosahedral", "icosahedral+inversion"])
def test_groups_are_closed(scheme):
    matrices = find_averaging(scheme).rotations
    products = (matrices[:, None] @ matrices[None]).reshape(-1, 9)
    distances = np.abs(products[:, None] - matrices.reshape(1, -1, 9)).max(axis=2)
    assert distances.min(axis=1).max() < 1e-12


@pytest.mark.parametrize(
    ("scheme", "degree"), [("octahedral", 3), ("icosahedral", 5), ("lebedev 5", 5), ("lebedev 9", 9)]
)
def test_which_harmonics_are_averaged_away(scheme, degree):
    """Oracle: scipy's spherical harmonics in a general direction; one degree more is not averaged away."""
    chosen = find_averaging(scheme)
    direction = np.array([0.36, 0.48, 0.8])
    turned = chosen.rotations @ direction
    polar, azimuth = np.arccos(turned[:, 2]), np.arctan2(turned[:, 1], turned[:, 0])

    def left(l):
        return max(abs(np.sum(chosen.weights * sph_harm_y(l, m, polar, azimuth))) for m in range(l + 1))

    assert max(left(l) for l in range(1, degree + 1)) < 1e-12
    assert left(degree + 1) > 1e-3


@pytest.mark.parametrize(("name", "order"), [("diamond", 48), ("hexagonal", 24), ("rattled", 1)])
def test_point_groups_of_crystals(name, order):
    atoms = {"diamond": bulk("Si", cubic=True), "hexagonal": bulk("Mg"), "rattled": silicon()}[name]
    turn = Rotation.from_euler("xyz", [0.3, 0.5, 0.7]).as_matrix()
    for structure in (atoms, rotated(atoms, turn)):
        chosen = find_averaging(structure)
        assert chosen.evaluations == order
        chosen.check_lattice(structure)
        chosen.check_lattice(structure.repeat((2, 2, 2)))
        for matrix in chosen.rotations:  # every operation maps the crystal onto itself, up to a translation
            environment = structure.get_all_distances(mic=True, vector=True)
            turned = rotated(structure, matrix).get_all_distances(mic=True, vector=True)
            assert sorted(np.linalg.norm(environment, axis=2).ravel().round(6)) == sorted(
                np.linalg.norm(turned, axis=2).ravel().round(6)
            )


def test_random_rotations_are_uniform_and_reproducible():
    matrices = np.array([random_rotation(7, k) for k in range(4000)])
    np.testing.assert_allclose(matrices.mean(axis=0), 0.0, atol=0.05)
    np.testing.assert_allclose((matrices**2).mean(axis=0), 1 / 3, atol=0.03)
    assert np.array_equal(random_rotation(7, 12), matrices[12])
    assert not np.allclose(random_rotation(8, 12), matrices[12])


@pytest.mark.parametrize(
    ("scheme", "message"),
    [
        ("cubic", "unknown scheme 'cubic'; expected none, octahedral"),
        ("lebedev", "unknown scheme 'lebedev'"),
        ("lebedev 4", "no Lebedev rule of degree 4; expected an odd number"),
        ("random -1", "unknown scheme 'random -1'"),
        ("auto", "is for calculators of model files"),
    ],
)
def test_unknown_schemes(scheme, message):
    with pytest.raises(MLIPError, match=message):
        find_averaging(scheme)


def test_a_molecule_has_no_crystal_group():
    with pytest.raises(StructureError, match="periodic in three directions"):
        find_averaging(molecule("H2O"))


# ---- averages ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("forces", ["conservative", "direct"])
@pytest.mark.parametrize("scheme", ["octahedral", "icosahedral+inversion", "lebedev 3"])
def test_average_is_the_average_over_rotated_structures(model_path, scheme, forces):
    """Oracle: the plain calculator on structures that are themselves rotated."""
    atoms = silicon()
    plain = MLIPCalculator(model_path, forces=forces)
    chosen = find_averaging(scheme)
    energies, vectors, tensors = [], [], []
    for matrix in chosen.rotations:
        turned = rotated(atoms, matrix)
        plain.calculate(turned)
        energies.append(plain.results["energy"])
        vectors.append(plain.results["forces"] @ matrix)
        stress = plain.results["stress"]
        full = stress[[0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(3, 3)
        tensors.append((matrix.T @ full @ matrix).ravel()[[0, 4, 8, 5, 2, 1]])
    found = results(model_path, atoms, symmetrize=scheme, forces=forces)
    weights = chosen.weights
    energy, force, stress = (np.tensordot(weights, v, 1) for v in (energies, vectors, tensors))
    assert found["energy"] == pytest.approx(energy, abs=1e-10)
    assert found["energies"].sum() == pytest.approx(energy, abs=1e-10)
    np.testing.assert_allclose(found["forces"], force, atol=1e-10)
    np.testing.assert_allclose(found["stress"], stress, atol=1e-11)
    assert found["energy_spread"] == pytest.approx(np.sqrt(weights @ (energies - energy) ** 2), rel=1e-8)
    deviations = ((vectors - force) ** 2).sum(axis=2)
    np.testing.assert_allclose(
        found["forces_spread"], np.sqrt(np.tensordot(weights, deviations, 1)), rtol=1e-7
    )
    deviations = (tensors - stress) ** 2
    np.testing.assert_allclose(
        found["stress_spread"], np.sqrt(np.tensordot(weights, deviations, 1)), rtol=1e-7
    )


def check_every_element(path, atoms, scheme):
    """Each of the group's operations applied to the structure: the same energy, forces turned with it."""
    calculator = MLIPCalculator(path, symmetrize=scheme, check_lattice=False)
    calculator.calculate(atoms)
    energy, size = calculator.results["energy"], np.abs(calculator.results["energies"]).sum()
    forces = calculator.results["forces"]
    turned = [rotated(atoms, matrix) for matrix in calculator.averaging.rotations]
    for matrix, found in zip(calculator.averaging.rotations, calculator.evaluate(turned), strict=True):
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
def test_every_element_leaves_the_energy(model_path, scheme):
    """Two atoms, rattled in a general cell, have no symmetry of their own."""
    atoms = Atoms("Si2", positions=[[0.1, 0.0, 0.0], [1.3, 1.5, 1.2]], pbc=True)
    atoms.set_cell([[4.0, 0.2, 0.1], [0.3, 4.2, 0.0], [-0.2, 0.4, 4.1]])
    check_every_element(model_path, atoms, scheme)


@pytest.mark.parametrize("crystal", ["diamond", "turned", "hexagonal"])
def test_every_element_of_a_crystals_group_leaves_the_energy(model_path, crystal):
    """Of the undisplaced crystal, and of a displaced one, which the group does not map onto itself."""
    atoms = bulk("Si", "hcp", a=3.0) if crystal == "hexagonal" else bulk("Si")
    if crystal == "turned":
        atoms = rotated(atoms, Rotation.from_euler("xyz", [0.3, 0.5, 0.7]).as_matrix())
    check_every_element(model_path, atoms, atoms)
    displaced = atoms.copy()
    displaced.rattle(0.1, seed=1)
    check_every_element(model_path, displaced, atoms)


def test_forces_and_stress_are_derivatives_of_the_average(model_path):
    atoms = silicon()
    atoms.calc = MLIPCalculator(model_path, symmetrize="octahedral")
    from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress

    expected = calculate_numerical_forces(atoms, eps=1e-4, iatoms=[0, 3])
    np.testing.assert_allclose(atoms.get_forces()[[0, 3]], expected, atol=1e-6)
    np.testing.assert_allclose(atoms.get_stress(), calculate_numerical_stress(atoms, eps=1e-5), atol=1e-6)


def test_direct_forces_have_no_net_force(model_path):
    found = results(model_path, silicon(), symmetrize="octahedral", forces="direct")
    np.testing.assert_allclose(found["forces"].sum(axis=0), 0.0, atol=1e-12)


def test_crystal_keeps_the_perfect_crystal(model_path):
    """The undisplaced crystal feels no force and a stress of its own symmetry, unlike in the plain model."""
    crystal = bulk("Si", cubic=True)
    plain = results(model_path, crystal)
    found = results(model_path, crystal, symmetrize=crystal)
    assert np.abs(plain["forces"]).max() > 1e-3
    np.testing.assert_allclose(found["forces"], 0.0, atol=1e-12)
    np.testing.assert_allclose(found["stress"][3:], 0.0, atol=1e-14)
    np.testing.assert_allclose(found["stress"][:3], found["stress"][0], rtol=1e-10)


def test_a_box_that_the_group_does_not_keep_is_refused(model_path):
    crystal = bulk("Si", cubic=True)
    long = crystal.repeat((1, 1, 2))
    with pytest.raises(StructureError, match="map onto itself"):
        results(model_path, long, symmetrize=crystal)
    found = results(model_path, long, symmetrize=crystal, check_lattice=False)
    assert np.isfinite(found["energy"])


@pytest.fixture
def batches(monkeypatch):
    """How many rotations each evaluation of a model had at once."""
    found = []
    choose = Model._choose

    def record(self, averaging, spread, n_nodes, batch):
        found.append(len(averaging.rotations))
        choose(self, averaging, spread, n_nodes, batch)
        assert self.module.network.batch == len(averaging.rotations)

    monkeypatch.setattr(Model, "_choose", record)
    return found


@pytest.mark.parametrize("forces", ["conservative", "direct"])
def test_several_rotations_at_once(model_path, batches, forces):
    """As on a GPU; here on a CPU. Nothing depends on it, reference energies included."""
    atoms = silicon()
    calculator = MLIPCalculator(model_path, symmetrize="lebedev 5", forces=forces)
    calculator.calculate(atoms)
    expected = dict(calculator.results)
    assert batches == [16, 16, 16, 16, 16, 4]  # of 128 // 8
    for batch in (1, 7):
        del batches[:]
        calculator.model.batch = batch
        calculator.calculate(atoms)
        assert batches == [batch] * (84 // batch)
        for name, value in expected.items():
            np.testing.assert_allclose(calculator.results[name], value, atol=1e-11, err_msg=name)


def test_rotations_at_once_follow_the_memory_that_is_free(model_path, batches):
    """As on a GPU, with the limit told and a lack of memory simulated."""
    atoms = silicon()
    calculator = MLIPCalculator(model_path, symmetrize="octahedral")
    calculator.calculate(atoms)
    expected = dict(calculator.results)
    limit, n_edges = calculator._rotations_limit, build_graph(atoms, 4.0).edge_index.shape[1]
    limit.after_running_out = lambda: setattr(limit, "edges", limit.edges // 2)
    limit.edges, choose = 10 * n_edges, Model._choose

    def run_out(self, averaging, *others):
        if len(averaging.rotations) > 3:
            raise torch.cuda.OutOfMemoryError("simulated")
        choose(self, averaging, *others)

    del batches[:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Model, "_choose", run_out)
        calculator.calculate(atoms)
    assert batches == [2] * 12  # after 10 and 5
    for name, value in expected.items():
        np.testing.assert_allclose(calculator.results[name], value, atol=1e-11, err_msg=name)


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


def test_many_structures_and_pickles(model_path):
    structures = [silicon(seed=k) for k in range(3)]
    calculator = MLIPCalculator(model_path, symmetrize="octahedral")
    together = calculator.evaluate(structures)
    copy = pickle.loads(pickle.dumps(calculator))
    for atoms, found in zip(structures, together, strict=True):
        copy.calculate(atoms)
        assert copy.results["energy"] == pytest.approx(found["energy"], abs=1e-10)


def test_calculators_of_one_model_keep_their_own_averaging(model_path):
    atoms = silicon()
    plain = MLIPCalculator(model_path)
    averaged = MLIPCalculator(plain.model, symmetrize="octahedral")
    plain.calculate(atoms)
    before = plain.results["energy"]
    averaged.calculate(atoms)
    plain.calculate(atoms)
    assert plain.results["energy"] == before
    assert "energy_spread" not in plain.results
    assert averaged.results["energy"] != before


def test_random_takes_a_new_rotation_each_time(model_path):
    atoms = silicon()
    first, second = (MLIPCalculator(model_path, symmetrize="random 5") for _ in range(2))
    energies = []
    for _ in range(3):
        first.calculate(atoms)
        second.calculate(atoms)
        assert first.results["energy"] == second.results["energy"]
        energies.append(first.results["energy"])
    assert len(set(energies)) == 3
    plain = MLIPCalculator(model_path)
    plain.calculate(rotated(atoms, random_rotation(5, 2)))
    assert plain.results["energy"] == pytest.approx(energies[2], abs=1e-10)


# ---- exported with the file --------------------------------------------------------------------------------


def test_exported_with_its_averaging(tmp_path):
    torch.manual_seed(3)
    network = PET(PETHypers(species=[14], cutoff=4.0, **SMALL)).double()
    metadata = {
        "name": "a",
        "species": [14],
        "cutoff": 4.0,
        "message_passing_layers": 2,
        "interaction_range": 8.0,
    }
    export_model(network, tmp_path / "plain.pt", metadata)
    chosen = find_averaging("octahedral")
    wrapped = SymmetrizedModel(network, chosen.rotations, chosen.weights)
    info = export_model(
        wrapped, tmp_path / "averaged.pt", {**metadata, "symmetrization": {"scheme": "octahedral"}}
    )
    assert info.symmetrization == {"scheme": "octahedral", "lattice": False, "rotations": 24}
    atoms = silicon()
    found = results(tmp_path / "averaged.pt", atoms)
    expected = results(tmp_path / "plain.pt", atoms, symmetrize="octahedral")
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-11, err_msg=name)
    plain = results(tmp_path / "plain.pt", atoms)
    assert results(tmp_path / "averaged.pt", atoms, symmetrize="none")["energy"] == plain["energy"]
    with pytest.raises(ModelFileError, match="claims .* but the module has no rotations"):
        export_model(network, tmp_path / "x.pt", {**metadata, "symmetrization": {"scheme": "octahedral"}})


@pytest.fixture(scope="module")
def exported_crystal(model_path, tmp_path_factory):
    """The model's file with the group of silicon stored in it, and the crystal."""
    crystal = bulk("Si", a=5.4)
    model = load_model(model_path)
    path = tmp_path_factory.mktemp("crystal") / "crystal.pt"
    info = export_model(model.module, path, model.info, averaging=find_averaging(crystal))
    assert info == read_info(path)
    return path, crystal


def test_a_crystals_group_is_stored_with_its_cell(exported_crystal, model_path):
    path, crystal = exported_crystal
    stored = read_info(path).symmetrization
    assert {key: stored[key] for key in ("scheme", "lattice", "rotations")} == {
        "scheme": "crystal m-3m",
        "lattice": True,
        "rotations": 48,
    }
    np.testing.assert_array_equal(stored["cell"], crystal.cell.array)
    atoms = crystal.repeat(2)
    atoms.rattle(0.1, seed=1)
    atoms.set_cell(atoms.cell.array * 1.02, scale_atoms=True)  # the lattice matters, not its size
    found, expected = results(path, atoms), results(model_path, atoms, symmetrize=crystal)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-11, err_msg=name)


def test_boxes_that_an_exported_group_does_not_keep_are_refused(exported_crystal):
    """The mismatch is that of the operation that is worst, by hand: c of the box is sheared along a."""
    path, crystal = exported_crystal
    cubic = bulk("Si", a=5.4, cubic=True)
    sheared = cubic.copy()
    sheared.cell[2, 0] = 0.05
    turned = cubic.copy()
    turned.rotate(10.0, "z", rotate_cell=True)
    for atoms in (sheared, turned, cubic.repeat((1, 2, 1))):
        with pytest.raises(StructureError, match="48 operations of crystal m-3m map onto itself"):
            results(path, atoms)
        assert np.isfinite(results(path, atoms, check_lattice=False)["energy"])
        assert np.isfinite(results(path, atoms, symmetrize="none")["energy"])
    with pytest.raises(StructureError) as caught:
        results(path, sheared)
    # diag(-1, 1, 1) takes c + 0.05 x to c - 0.05 x: 0.1 Å away, 0.1 / 5.4 of a
    assert "at worst by 0.019 of a vector (0.1 Å)" in str(caught.value)
    assert "[[0.0, 2.7, 2.7], [2.7, 0.0, 2.7], [2.7, 2.7, 0.0]] Å" in str(caught.value)
    assert "check_lattice=False" in str(caught.value)
    with pytest.raises(StructureError, match="structure 1 of the list: .* map onto itself"):
        MLIPCalculator(path).evaluate([cubic, sheared])


def test_an_averaging_is_replaced_and_removed_on_export(exported_crystal, model_path, tmp_path):
    model = load_model(exported_crystal[0])
    info = export_model(model.module, tmp_path / "o.pt", model.info, averaging=find_averaging("octahedral"))
    assert info.symmetrization == {"scheme": "octahedral", "lattice": False, "rotations": 24}
    atoms = silicon()
    expected = results(model_path, atoms, symmetrize="octahedral")["energy"]
    assert results(tmp_path / "o.pt", atoms)["energy"] == pytest.approx(expected, abs=1e-11)
    info = export_model(model.module, tmp_path / "p.pt", model.info, averaging=find_averaging("none"))
    assert info.symmetrization is None
    plain = results(model_path, atoms)["energy"]
    assert results(tmp_path / "p.pt", atoms)["energy"] == pytest.approx(plain, abs=1e-12)
    assert model.info.symmetrization["rotations"] == 48  # what was loaded stays as it is
    with pytest.raises(StructureError, match="another rotation at every evaluation"):
        export_model(model.module, tmp_path / "r.pt", model.info, averaging=find_averaging("random 1"))


@pytest.mark.parametrize(
    ("rotations", "weights", "message"),
    [
        (np.ones((2, 3, 3)), None, "must be orthogonal"),
        (np.eye(3), None, r"must have shape \[G, 3, 3\]"),
        (np.eye(3)[None], [0.5], "sum 1"),
    ],
)
def test_rotations_are_checked(rotations, weights, message):
    with pytest.raises(ValueError, match=message):
        SymmetrizedModel(torch.nn.Identity(), rotations, weights)


# ---- what is left ------------------------------------------------------------------------------------------


def test_residual_falls_up_the_ladder(model_path):
    calculator = MLIPCalculator(model_path)
    graph = build_graph(silicon(), 4.0)
    residuals = [
        residual_of_forces(calculator.model, graph, find_averaging(name))
        for name in ("none", "octahedral", "icosahedral", "lebedev 7")
    ]
    assert residuals[1] < 0.2 * residuals[0]
    assert residuals[2] < 0.5 * residuals[1]
    assert residuals[3] < residuals[2]


def test_automatic_choice_is_made_once(model_path):
    calculator = MLIPCalculator(model_path, symmetrize="auto", tolerance=1e9)
    calculator.calculate(silicon())
    assert calculator.averaging.name == "none"
    graph = build_graph(silicon(), 4.0)
    limit = residual_of_forces(calculator.model, graph, find_averaging("octahedral")) * 1.01
    calculator = MLIPCalculator(model_path, symmetrize="auto", tolerance=limit)
    calculator.calculate(silicon())
    assert calculator.averaging.name == calculator.parameters["symmetrize"] == "octahedral"
    assert 0 < calculator.residual <= limit
    calculator.calculate(silicon(rattle=0.3, seed=5))
    assert calculator.averaging.name == "octahedral"


def test_automatic_choice_warns_where_nothing_suffices(model_path, monkeypatch):
    """The last rung is taken, and its residual named beside the tolerance."""
    monkeypatch.setattr("ase_mlip.residual.LADDER", ("none", "octahedral"))
    calculator = MLIPCalculator(model_path, symmetrize="auto", tolerance=1e-9)
    with pytest.warns(PrecisionWarning, match="octahedral with 24 evaluations, leaves .* `tolerance` 1e-09"):
        calculator.calculate(silicon())
    assert calculator.averaging.name == "octahedral"
    expected = residual_of_forces(calculator.model, build_graph(silicon(), 4.0), find_averaging("octahedral"))
    assert calculator.residual == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("tolerance", [0.0, -1e-3, float("nan"), float("inf")])
def test_tolerances_that_mean_nothing_are_refused(model_path, tolerance):
    with pytest.raises(MLIPError, match="`tolerance`: expected a positive number of eV/Å, got"):
        MLIPCalculator(model_path, symmetrize="auto", tolerance=tolerance)
