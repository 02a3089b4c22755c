"""The ASE calculator: its numbers against finite differences, its behaviour against ASE's conventions."""

import copy
import json
import multiprocessing
import pickle

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk, fcc111, molecule
from ase.calculators.calculator import CalculationFailed, PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.calculators.singlepoint import SinglePointCalculator
from ase.filters import FrechetCellFilter
from ase.io import read, write
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from ase.stress import full_3x3_to_voigt_6_stress
from ase.vibrations import Vibrations
from toy import AnisotropicNetwork, PairNetwork, export_toy

from ase_mlip.calculator import MLIPCalculator
from ase_mlip.errors import MLIPError, StructureError
from ase_mlip.model import load_model
from ase_mlip.neighbors import build_graph

ALL = MLIPCalculator.implemented_properties


def rattled_silica(seed: int = 0) -> Atoms:
    atoms = bulk("SiO", "zincblende", a=4.3, cubic=True)
    atoms.rattle(0.1, seed=seed)
    strain = np.random.default_rng(seed).normal(scale=0.03, size=(3, 3))
    atoms.set_cell(np.array(atoms.cell) @ (np.eye(3) + strain), scale_atoms=True)
    return atoms


@pytest.fixture(scope="module")
def pair(pair_model_path):
    return load_model(pair_model_path, device="cpu", dtype="float64")


@pytest.fixture(scope="module")
def anisotropic(anisotropic_model_path):
    return load_model(anisotropic_model_path, device="cpu", dtype="float64")


@pytest.fixture(params=["pair", "anisotropic"])
def model(request):
    return request.getfixturevalue(request.param)


def count_evaluations(calculator: MLIPCalculator, monkeypatch) -> list[bool]:
    """A list that grows by ``derivatives`` of every evaluation of the calculator's model."""
    calls = []

    class Counting:
        def __getattr__(self, name):
            return getattr(original, name)

        def __call__(self, graph, derivatives=True, *others, **options):
            calls.append(derivatives)
            return original(graph, derivatives, *others, **options)

    original = calculator.model
    monkeypatch.setattr(calculator, "model", Counting())
    return calls


# ---- numbers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "atoms",
    [
        rattled_silica(),
        bulk("Si") * (1, 1, 1),
        molecule("Si2H6")[[0, 1]],
        fcc111("Si", (1, 1, 2), a=5.0, vacuum=4.0),
    ],
    ids=["triclinic", "cell smaller than the cutoff", "molecule", "slab"],
)
def test_forces_are_minus_the_derivatives_of_the_energy(model, atoms):
    atoms = atoms.copy()
    atoms.rattle(0.05, seed=1)
    atoms.calc = MLIPCalculator(model)
    expected = calculate_numerical_forces(atoms, eps=1e-4)
    np.testing.assert_allclose(atoms.get_forces(), expected, atol=1e-7)


@pytest.mark.parametrize("pbc", [True, [True, True, False]])
def test_stress_is_the_derivative_of_the_energy_by_symmetric_strain(model, pbc):
    atoms = rattled_silica()
    atoms.pbc = pbc
    atoms.calc = MLIPCalculator(model)
    expected = calculate_numerical_stress(atoms, eps=1e-5)
    np.testing.assert_allclose(atoms.get_stress(), expected, atol=1e-8)


def test_per_atom_properties_add_up(model):
    atoms = rattled_silica()
    atoms.calc = MLIPCalculator(model)
    assert atoms.get_potential_energies().sum() == pytest.approx(atoms.get_potential_energy(), abs=1e-12)
    assert atoms.calc.get_property("free_energy", atoms) == atoms.get_potential_energy()
    np.testing.assert_allclose(atoms.get_stresses().sum(axis=0), atoms.get_stress(), atol=1e-14)
    assert atoms.get_stresses().shape == (8, 6)
    np.testing.assert_allclose(atoms.get_forces().sum(axis=0), 0.0, atol=1e-12)


def test_an_isolated_atom_has_its_reference_energy(pair):
    atoms = Atoms("Si", calculator=MLIPCalculator(pair))
    assert atoms.get_potential_energy() == -4.25
    np.testing.assert_array_equal(atoms.get_forces(), np.zeros((1, 3)))


def test_the_torque_on_the_cell_is_reported_and_vanishes_for_an_invariant_model(pair, anisotropic):
    for model, vanishes in ((pair, True), (anisotropic, False)):
        atoms = rattled_silica()
        atoms.calc = MLIPCalculator(model)
        assert atoms.calc.virial_antisymmetric is None
        atoms.get_stress()
        torque = atoms.calc.virial_antisymmetric
        np.testing.assert_array_equal(torque, -torque.T)
        assert (abs(torque).max() < 1e-12) == vanishes
        atoms.rattle(0.01, seed=2)
        atoms.get_potential_energy()
        assert atoms.calc.virial_antisymmetric is None


def test_float32_is_close_to_float64(pair_model_path):
    results = {}
    for dtype in ("float32", "float64", None):
        atoms = rattled_silica()
        atoms.calc = MLIPCalculator(pair_model_path, device="cpu", dtype=dtype)
        atoms.get_forces()
        results[dtype] = atoms.calc.results
        assert atoms.calc.results["forces"].dtype == np.float64
    for name in ("energy", "forces", "stress"):
        np.testing.assert_allclose(results["float32"][name], results["float64"][name], atol=1e-4)
        np.testing.assert_array_equal(results["float32"][name], results[None][name])  # as stored


def test_direct_forces_have_no_net_force_and_stress_is_the_mean(anisotropic):
    atoms = rattled_silica()
    atoms.calc = MLIPCalculator(anisotropic, forces="direct")
    outputs = anisotropic(build_graph(atoms, anisotropic.info.cutoff), derivatives=False)
    raw = outputs["direct_forces"].numpy()
    assert abs(raw.sum(axis=0)).max() > 1e-3
    np.testing.assert_allclose(atoms.get_forces(), raw - raw.mean(axis=0), atol=1e-14)
    stress = full_3x3_to_voigt_6_stress(outputs["direct_stresses"].numpy().mean(axis=0))
    np.testing.assert_allclose(atoms.get_stress(), stress, atol=1e-14)
    np.testing.assert_allclose(atoms.get_stresses().sum(axis=0), stress, atol=1e-14)
    assert atoms.get_potential_energy() == pytest.approx(float(outputs["energy"][0]))


class OnlyDirectForces(torch.nn.Module):
    """Takes one output of a network away."""

    def __init__(self, network):
        super().__init__()
        self.network, self.species, self.cutoff = network, network.species, network.cutoff

    def forward(
        self,
        species: torch.Tensor,
        edge_index: torch.Tensor,
        edge_vectors: torch.Tensor,
        reverse_edges: torch.Tensor,
        inputs: dict[str, torch.Tensor],
    ) -> dict[str, torch.Tensor]:
        outputs = self.network(species, edge_index, edge_vectors, reverse_edges, inputs)
        return {"energies": outputs["energies"], "direct_forces": outputs["direct_forces"]}


class VirialsInsteadOfStresses(OnlyDirectForces):
    """Has a stress head whose virial is a sum over atoms, and not symmetric."""

    def forward(
        self,
        species: torch.Tensor,
        edge_index: torch.Tensor,
        edge_vectors: torch.Tensor,
        reverse_edges: torch.Tensor,
        inputs: dict[str, torch.Tensor],
    ) -> dict[str, torch.Tensor]:
        outputs = self.network(species, edge_index, edge_vectors, reverse_edges, inputs)
        virials = 20.0 * outputs["direct_stresses"]
        virials[:, 0, 2] += 1.0
        return {
            "energies": outputs["energies"],
            "direct_forces": outputs["direct_forces"],
            "direct_virials": virials,
        }


def test_direct_stress_from_virials_is_minus_their_symmetric_sum_over_the_volume(tmp_path):
    path = tmp_path / "virials.pt"
    network = VirialsInsteadOfStresses(AnisotropicNetwork([8, 14], 4.0, direct=True))
    export_toy(path, network, outputs=["energies", "direct_forces", "direct_virials"])
    atoms = rattled_silica()
    atoms.calc = MLIPCalculator(path, device="cpu", dtype="float64", forces="direct")
    outputs = atoms.calc.model(build_graph(atoms, 4.0), derivatives=False)
    virial = outputs["direct_virials"].sum(0).numpy()
    expected = full_3x3_to_voigt_6_stress(-virial / atoms.get_volume())
    np.testing.assert_allclose(atoms.get_stress(), expected, atol=1e-14)
    np.testing.assert_allclose(atoms.get_stresses().sum(axis=0), expected, atol=1e-14)


def test_direct_mode_names_what_the_model_lacks(pair, tmp_path):
    with pytest.raises(MLIPError, match="`direct_forces`, but .* has only energies"):
        MLIPCalculator(pair, forces="direct")
    path = tmp_path / "forces.pt"
    network = OnlyDirectForces(AnisotropicNetwork([8, 14], 4.0, direct=True))
    export_toy(path, network, outputs=["energies", "direct_forces"])
    calculator = MLIPCalculator(path, device="cpu", forces="direct")
    atoms = rattled_silica()
    atoms.calc = calculator
    assert atoms.get_forces().shape == (8, 3)
    with pytest.raises(PropertyNotImplementedError, match="`direct_stresses` or `direct_virials`"):
        atoms.get_stress()
    with pytest.raises(PropertyNotImplementedError, match="`direct_stresses` or `direct_virials`"):
        calculator.evaluate([atoms], ["energy", "stress"])
    with pytest.raises(MLIPError, match='"conservative" or "direct"'):
        MLIPCalculator(pair, forces="both")


# ---- ASE's conventions -------------------------------------------------------------------------------------


def test_derivatives_are_computed_only_when_asked_for(pair, anisotropic, monkeypatch):
    atoms = rattled_silica()
    atoms.calc = MLIPCalculator(pair)
    calls = count_evaluations(atoms.calc, monkeypatch)
    atoms.get_potential_energy()
    assert set(atoms.calc.results) == {"energy", "free_energy", "energies"}
    atoms.get_potential_energies()
    assert calls == [False]
    atoms.get_forces()
    atoms.get_stress()
    atoms.get_potential_energy()
    assert calls == [False, True]
    assert set(atoms.calc.results) == set(ALL)
    direct = MLIPCalculator(anisotropic, forces="direct")
    calls = count_evaluations(direct, monkeypatch)
    direct.get_property("stress", atoms)
    assert calls == [False]


def test_results_are_kept_until_something_that_matters_changes(pair, monkeypatch):
    atoms = rattled_silica()
    atoms.calc = MLIPCalculator(pair)
    calls = count_evaluations(atoms.calc, monkeypatch)
    assert atoms.calc.get_property("forces", atoms, allow_calculation=False) is None
    assert atoms.calc.calculation_required(atoms, ["energy"])
    assert not calls
    forces = atoms.get_forces()
    forces[:] = 0.0
    assert abs(atoms.get_forces()).max() > 0.1
    atoms.set_initial_charges(np.ones(8))
    atoms.set_initial_magnetic_moments(np.ones(8))
    atoms.get_forces()
    assert len(calls) == 1
    for change in ("positions", "cell", "pbc", "numbers"):
        before = atoms.get_potential_energy()
        if change == "positions":
            atoms.positions[0, 0] += 0.01
        elif change == "cell":
            atoms.cell[0, 0] += 0.01
        elif change == "pbc":
            atoms.pbc[2] = False
        else:
            atoms.numbers[0] = 8
        assert atoms.get_potential_energy() != before
    assert len(calls) == 5


def test_one_calculator_serves_several_structures(pair):
    shared = MLIPCalculator(pair)
    structures = [rattled_silica(1), bulk("Si"), molecule("Si2H6")[[0, 1]], rattled_silica(2)]
    for atoms in structures * 2:
        before = atoms.copy()
        atoms.calc = shared
        forces = atoms.get_forces()
        assert atoms == before
        atoms.calc = MLIPCalculator(pair)
        np.testing.assert_allclose(atoms.get_forces(), forces, atol=1e-12)


def test_results_do_not_depend_on_how_the_atoms_got_there(pair):
    """The kept neighbour list gives what a new one gives."""
    atoms = rattled_silica()
    atoms.calc = MLIPCalculator(pair, skin=1.0)
    for _ in range(10):
        atoms.rattle(0.05, rng=np.random.default_rng())
        strain = np.eye(3) + 0.003 * np.random.default_rng().normal(size=(3, 3))
        atoms.set_cell(np.array(atoms.cell) @ strain, scale_atoms=True)
        fresh = atoms.copy()
        fresh.calc = MLIPCalculator(pair, skin=0.0)
        assert atoms.get_potential_energy() == pytest.approx(fresh.get_potential_energy(), abs=1e-11)
        np.testing.assert_allclose(atoms.get_forces(), fresh.get_forces(), atol=1e-11)
        np.testing.assert_allclose(atoms.get_stress(), fresh.get_stress(), atol=1e-12)


@pytest.mark.parametrize(
    "cell", [None, np.ones((3, 3)), np.diag([5.0, 5.0, 0.0])], ids=["none", "flat", "2d"]
)
def test_stress_needs_a_volume(pair, cell):
    atoms = Atoms("Si2", [[0, 0, 0], [0, 0, 2.2]], cell=cell)
    atoms.calc = MLIPCalculator(pair)
    assert set(ALL) - set(atoms.calc.results) >= {"stress"}
    assert abs(atoms.get_forces()).max() > 0.01
    for name in ("stress", "stresses"):
        with pytest.raises(PropertyNotImplementedError, match=f"`{name}` needs three cell vectors"):
            atoms.calc.get_property(name, atoms)


def test_unknown_properties_and_options_are_refused(pair):
    calculator = MLIPCalculator(pair)
    with pytest.raises(PropertyNotImplementedError, match="`magmoms`: expected one of energy"):
        calculator.get_property("magmoms", rattled_silica())
    with pytest.raises(MLIPError, match="cannot change skin"):
        calculator.set(skin=1.0)
    with pytest.raises(MLIPError, match="`atoms`: expected a structure"):
        calculator.calculate()
    with pytest.raises(ValueError, match="`skin`"):
        MLIPCalculator(pair, skin=-1.0)


def test_calculate_without_properties_does_everything(pair):
    calculator = MLIPCalculator(pair)
    calculator.calculate(rattled_silica())
    assert set(calculator.results) == set(ALL)
    assert set(ALL) <= set(calculator.export_properties())
    SinglePointCalculator(rattled_silica(), **calculator.results)  # takes ASE's own properties only
    assert isinstance(calculator.results["energy"], float)


def test_options_are_plain_values_and_the_name_is_short(pair):
    calculator = MLIPCalculator(pair)
    record = json.loads(json.dumps(calculator.todict()))
    assert record == {
        "model": str(pair.path),
        "device": "cpu",
        "dtype": "float64",
        "forces": "conservative",
        "skin": 0.5,
        "symmetrize": "none",
    }
    assert calculator.name == "mlip"
    assert MLIPCalculator(**record).todict() == record


@pytest.mark.parametrize("name", ["results.traj", "results.extxyz", "results.json"])
def test_results_survive_a_file(pair, tmp_path, name):
    atoms = rattled_silica()
    atoms.calc = MLIPCalculator(pair)
    forces, energy, stress = atoms.get_forces(), atoms.get_potential_energy(), atoms.get_stress()
    write(tmp_path / name, atoms)
    again = read(tmp_path / name)
    np.testing.assert_allclose(again.get_forces(), forces, atol=1e-7)
    assert again.get_potential_energy() == pytest.approx(energy)
    np.testing.assert_allclose(again.get_stress(), stress, atol=1e-7)


def test_loaded_models_are_shared_and_other_precisions_loaded(pair):
    assert MLIPCalculator(pair).model is pair
    assert MLIPCalculator(pair, device="cpu", dtype="float64").model is pair
    other = MLIPCalculator(pair, dtype="float32").model
    assert other.dtype == torch.float32 and pair.dtype == torch.float64


def forces_of(atoms: Atoms) -> np.ndarray:
    torch.set_num_threads(1)
    return atoms.get_forces()


def test_a_calculator_pickles_with_its_results(pair):
    atoms = rattled_silica()
    atoms.calc = MLIPCalculator(pair, skin=0.7)
    forces = atoms.get_forces()
    again = pickle.loads(pickle.dumps(atoms))
    assert again.calc.get_property("energy", again, allow_calculation=False) == atoms.get_potential_energy()
    assert again.calc.todict() == atoms.calc.todict()
    again.rattle(0.01, seed=5)
    atoms.rattle(0.01, seed=5)
    assert not np.array_equal(atoms.get_forces(), forces)
    np.testing.assert_allclose(again.get_forces(), atoms.get_forces(), atol=1e-12)


def test_a_deep_copy_is_independent_and_shares_the_weights(pair):
    atoms = rattled_silica()
    atoms.calc = MLIPCalculator(pair)
    energy = atoms.get_potential_energy()
    other = copy.deepcopy(atoms)
    assert other.calc is not atoms.calc
    assert other.calc.model is atoms.calc.model
    other.rattle(0.1, seed=1)
    assert other.get_potential_energy() != energy
    assert atoms.calc.results["energy"] == energy


def test_calculators_work_in_other_processes(pair):
    structures = [rattled_silica(seed) for seed in range(3)]
    calculator = MLIPCalculator(pair)
    for atoms in structures:
        atoms.calc = calculator
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        results = pool.map(forces_of, structures)
    for atoms, forces in zip(structures, results, strict=True):
        np.testing.assert_allclose(forces, atoms.get_forces(), atol=1e-12)


# ---- programs that use it ----------------------------------------------------------------------------------


def test_optimisers_and_cell_filters_reach_a_minimum(pair):
    atoms = bulk("SiO", "zincblende", a=4.3)
    atoms.rattle(0.1, seed=0)
    atoms.calc = MLIPCalculator(pair)
    start = atoms.get_potential_energy()
    assert BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-3, steps=200)
    assert atoms.get_potential_energy() < start
    assert abs(atoms.get_stress()).max() < 1e-3


def test_dynamics_conserve_the_energy_and_reuse_the_neighbour_list(pair):
    atoms = bulk("SiO", "zincblende", a=4.3, cubic=True)
    atoms.calc = MLIPCalculator(pair)
    width = np.sqrt(300 * units.kB / atoms.get_masses())[:, None]
    atoms.set_velocities(width * np.random.default_rng(0).normal(size=(len(atoms), 3)))
    dynamics = VelocityVerlet(atoms, timestep=0.5 * units.fs)
    energies = []
    for _ in range(20):
        dynamics.run(5)
        energies.append(atoms.get_total_energy())
    assert np.ptp(energies) < 2e-4 * len(atoms)
    assert atoms.calc._neighbors.rebuilds < 10


def test_vibrations_of_a_dimer_follow_from_its_curvature(pair, tmp_path):
    atoms = Atoms("Si2", [[0, 0, 0], [0, 0, 2.3]])
    atoms.calc = MLIPCalculator(pair)
    BFGS(atoms, logfile=None).run(fmax=1e-6, steps=100)

    def energy(stretch):
        stretched = atoms.copy()
        stretched.positions[1, 2] += stretch
        stretched.calc = MLIPCalculator(pair)
        return stretched.get_potential_energy()

    step = 1e-3
    curvature = (energy(step) - 2 * energy(0.0) + energy(-step)) / step**2
    vibrations = Vibrations(atoms, name=str(tmp_path / "vib"), delta=1e-3)
    vibrations.run()
    reduced_mass = atoms.get_masses()[0] / 2
    expected = (
        units._hbar * 1e10 * np.sqrt(units._e / units._amu) * np.sqrt(curvature / reduced_mass) / units._e
    )
    assert vibrations.get_energies()[-1].real == pytest.approx(expected, rel=1e-4)


def test_phonopy_finds_three_acoustic_modes(pair):
    phonopy = pytest.importorskip("phonopy")
    from phonopy.structure.atoms import PhonopyAtoms

    atoms = bulk("SiO", "zincblende", a=4.3)
    atoms.calc = MLIPCalculator(pair)
    BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-5, steps=200)
    cell = PhonopyAtoms(
        symbols=atoms.symbols, cell=atoms.cell[:], scaled_positions=atoms.get_scaled_positions()
    )
    phonon = phonopy.Phonopy(cell, supercell_matrix=[2, 2, 2], primitive_matrix=np.eye(3))
    phonon.generate_displacements(distance=0.01)
    displaced = [
        Atoms(c.symbols, cell=c.cell, scaled_positions=c.scaled_positions, pbc=True)
        for c in phonon.supercells_with_displacements
    ]
    phonon.forces = [result["forces"] for result in MLIPCalculator(pair).evaluate(displaced)]
    phonon.produce_force_constants()
    phonon.dynamical_matrix.run([0, 0, 0])
    squares = np.linalg.eigvalsh(phonon.dynamical_matrix.dynamical_matrix)  # eV/Å²/amu
    assert abs(squares[:3]).max() < 1e-6  # the acoustic sum rule
    assert squares[3] > 0.01


# ---- many structures ---------------------------------------------------------------------------------------


def mixed_structures() -> list[Atoms]:
    return [
        rattled_silica(1),
        Atoms("Si"),
        bulk("Si"),
        molecule("Si2H6")[[0, 1]],
        rattled_silica(2) * (2, 1, 1),
    ]


def assert_equal_to_single(results: list[dict], model, structures: list[Atoms]) -> None:
    assert len(results) == len(structures)
    for result, atoms in zip(results, structures, strict=True):
        single = MLIPCalculator(model)
        single.calculate(atoms)
        assert set(result) == set(single.results)
        for name, value in single.results.items():
            np.testing.assert_allclose(result[name], value, atol=1e-11, err_msg=name)


def test_many_structures_give_the_results_of_single_ones(model):
    structures = mixed_structures()
    assert_equal_to_single(MLIPCalculator(model).evaluate(structures, ALL), model, structures)


@pytest.mark.parametrize("edges", [1, 200, 10**9])
def test_batches_of_any_size_give_the_results_of_single_structures(model, edges, monkeypatch):
    monkeypatch.setattr("ase_mlip.batch_limit.BatchLimit.__init__", lambda limit, device: None)
    monkeypatch.setattr("ase_mlip.batch_limit.BatchLimit._on_gpu", False, raising=False)
    monkeypatch.setattr("ase_mlip.batch_limit.BatchLimit.edges", edges, raising=False)
    structures = mixed_structures()
    calculator = MLIPCalculator(model)
    calls = count_evaluations(calculator, monkeypatch)
    assert_equal_to_single(calculator.evaluate(structures, ALL), model, structures)
    assert {1: 5, 200: 4, 10**9: 1}[edges] >= len(calls)


def test_a_batch_that_does_not_fit_is_halved(pair, monkeypatch):
    structures = mixed_structures()
    calculator = MLIPCalculator(pair)
    original = calculator._evaluate_graph
    sizes = []

    def limited(graph, properties):
        sizes.append(graph.n_structures)
        if graph.n_structures > 2:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return original(graph, properties)

    monkeypatch.setattr(calculator, "_evaluate_graph", limited)
    monkeypatch.setattr("ase_mlip.batch_limit.BatchLimit.__init__", lambda limit, device: None)
    monkeypatch.setattr("ase_mlip.batch_limit.BatchLimit._on_gpu", False, raising=False)
    monkeypatch.setattr("ase_mlip.batch_limit.BatchLimit.edges", 10**9, raising=False)
    assert_equal_to_single(calculator.evaluate(structures, ALL), pair, structures)
    assert sizes == [5, 2, 3, 1, 2]


def test_evaluating_many_structures_returns_what_was_asked_for(pair, monkeypatch, capsys):
    calculator = MLIPCalculator(pair)
    calls = count_evaluations(calculator, monkeypatch)
    structures = mixed_structures()
    before = [atoms.copy() for atoms in structures]
    assert all(set(result) == {"energy"} for result in calculator.evaluate(structures, ["energy"]))
    assert calls == [False] * 5
    assert structures == before
    assert calculator.atoms is None and calculator.results == {}
    assert all(set(result) == {"energy", "forces"} for result in calculator.evaluate(iter(structures)))
    assert calculator.evaluate([]) == []
    assert capsys.readouterr().err == ""
    calculator.evaluate(structures, progress=True)
    assert "5/5" in capsys.readouterr().err
    with pytest.raises(PropertyNotImplementedError, match="`dipole`"):
        calculator.evaluate(structures, ["dipole"])


def test_a_bad_structure_among_many_is_named_by_its_position(pair):
    structures = mixed_structures()
    structures[3].positions[0] = np.nan
    with pytest.raises(StructureError, match="structure 3 of the list: `atoms.positions`"):
        MLIPCalculator(pair).evaluate(structures)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_numbers_of_the_cpu(pair_model_path):
    on_gpu = MLIPCalculator(pair_model_path, device="cuda", dtype="float64")
    on_cpu = load_model(pair_model_path, device="cpu", dtype="float64")
    structures = mixed_structures() * 30
    assert_equal_to_single(on_gpu.evaluate(structures, ALL), on_cpu, structures)
    for atoms in structures[:5]:
        atoms.calc = on_gpu
        expected = MLIPCalculator(on_cpu).get_property("forces", atoms)
        np.testing.assert_allclose(atoms.get_forces(), expected, atol=1e-11)


# ---- bad input ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "atoms, message",
    [
        (molecule("CH4"), "holds H, C, which the model does not know: expected only O, Si"),
        (Atoms(), "at least one atom"),
        (Atoms("Si2", [[0, 0, 0], [0, 0, np.nan]]), "finite"),
        (Atoms("Si2", [[0, 0, 0], [0, 0, np.inf]]), "finite"),
        (Atoms("Si2", [[0, 0, 1], [0, 0, 1]]), "distances"),
        (Atoms("Si", pbc=True), "zero volume"),
    ],
    ids=["species", "empty", "nan", "infinite", "coincident", "no cell"],
)
def test_impossible_structures_are_refused_and_forgotten(pair, atoms, message):
    calculator = MLIPCalculator(pair)
    good = rattled_silica()
    energy = calculator.get_property("energy", good)
    for name in ("energy", "forces"):
        with pytest.raises(StructureError, match=f"(?s){message}"):
            calculator.get_property(name, atoms)
    assert calculator.results == {}
    assert calculator.get_property("energy", good) == energy


@pytest.mark.parametrize("quantity", ["energies", "forces"])
def test_numbers_that_are_not_finite_stop_the_run(pair, monkeypatch, quantity):
    atoms = rattled_silica()
    atoms.calc = MLIPCalculator(pair)
    original = atoms.calc._evaluate_graph

    def broken(graph, properties):
        outputs = original(graph, properties)
        outputs[quantity][3] = np.nan
        return outputs

    monkeypatch.setattr(atoms.calc, "_evaluate_graph", broken)
    with pytest.raises(CalculationFailed, match=f"`{quantity}`: expected finite numbers.* on atom 3"):
        atoms.get_forces()
    assert atoms.calc.results == {}


def test_a_pair_cutoff_of_the_file_is_kept(tmp_path):
    export_toy(tmp_path / "short.pt", PairNetwork([8, 14], 4.0), pair_cutoffs={"O-Si": 1.0})
    atoms = Atoms("SiOSi", [[0, 0, 0], [0, 0, 1.6], [0, 0, 3.2]])
    atoms.calc = MLIPCalculator(tmp_path / "short.pt", device="cpu", dtype="float64")
    without = Atoms("Si2", [[0, 0, 0], [0, 0, 3.2]], calculator=MLIPCalculator(tmp_path / "short.pt"))
    assert atoms.get_forces()[1] == pytest.approx(0.0)
    assert atoms.get_potential_energy() == pytest.approx(without.get_potential_energy() - 1.5, abs=1e-5)


def test_slips_in_the_call_are_named(pair_model_path):
    with pytest.raises(MLIPError, match="has no argument `stres`"):
        MLIPCalculator(pair_model_path, device="cpu", stres="direct")
    with pytest.raises(MLIPError, match="`model` must be the path"):
        MLIPCalculator(None)
    with pytest.raises(StructureError, match=r"write `\[atoms\]`"):
        MLIPCalculator(pair_model_path, device="cpu").evaluate(bulk("Si"))
