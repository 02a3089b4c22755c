"""Phonons against ASE's own, against an analytic lattice, and against thermodynamic limits."""

import errno
import json
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from ase import units
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.neighborlist import neighbor_list
from ase.phonons import Phonons
from scipy.integrate import trapezoid

from ase_mlip.errors import StructureError
from ase_mlip.phonon_audit import audit_phonons
from ase_mlip.phonon_cells import heights, to_phonopy
from ase_mlip.phonon_files import Checkpoint, write_results
from ase_mlip.phonon_supercell import warn_if_small
from ase_mlip.phonons import phonons
from ase_mlip.relax import relax

THZ_PER_EV = units._e / units._hplanck / 1e12
POINTS = {"Γ": (0.0, 0.0, 0.0), "X": (0.5, 0.0, 0.5), "L": (0.5, 0.5, 0.5)}


@pytest.fixture(scope="module")
def copper():
    atoms = bulk("Cu", a=3.58982)
    atoms.calc = EMT()
    return atoms


@pytest.fixture(scope="module")
def copper_phonons(copper):
    return phonons(copper, (4, 4, 4), mesh=(12, 12, 12))


def test_frequencies_equal_those_of_ase(copper, copper_phonons, tmp_path):
    reference = Phonons(copper, EMT(), supercell=(4, 4, 4), delta=0.01, name=str(tmp_path / "phonon"))
    reference.run()
    reference.read(acoustic=True)
    energies = reference.band_structure(np.array(list(POINTS.values())), verbose=False)
    for name, energy in zip(POINTS, energies, strict=True):
        expected = np.sort(energy.real) * THZ_PER_EV
        assert copper_phonons.special_frequencies[name] == pytest.approx(expected, abs=0.01)


def test_conventional_and_primitive_cell_agree(copper_phonons):
    atoms = bulk("Cu", a=3.58982, cubic=True)
    atoms.calc = EMT()
    result = phonons(atoms, (2, 2, 2), mesh=(4, 4, 4))
    assert len(result.primitive) == 1
    assert result.n_displacements == 1
    # X is commensurate with both supercells; EMT reaches a little farther than half of the smaller one
    assert result.special_frequencies["X"] == pytest.approx(copper_phonons.special_frequencies["X"], abs=0.02)


class Springs(Calculator):
    """Nearest neighbours on springs: E = k/4 Σ (r - r0)^2, each bond counted from both ends."""

    implemented_properties = ("energy", "forces")

    def __init__(self, k: float, r0: float):
        super().__init__()
        self.k, self.r0 = k, r0

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        i, d, r = neighbor_list("iDd", self.atoms, 1.2 * self.r0)
        forces = np.zeros((len(self.atoms), 3))
        np.add.at(forces, i, self.k * (r - self.r0)[:, None] * d / r[:, None])
        self.results = {"energy": float(0.25 * self.k * ((r - self.r0) ** 2).sum()), "forces": forces}


def test_springs_give_the_textbook_dispersion():
    """fcc with central springs (Born and Huang; any solid-state text): at X, m ω² = 8k twice 4k."""
    k, a = 1.7, 4.0
    atoms = bulk("Ar", a=a)
    atoms.calc = Springs(k, a / np.sqrt(2))
    result = phonons(atoms, (4, 4, 4), mesh=(4, 4, 4), distance=1e-3)
    unit = np.sqrt(k / atoms.get_masses()[0]) / (2 * np.pi) * (1e15 * units.fs) / 1e12
    assert result.special_frequencies["X"] == pytest.approx(unit * np.sqrt([4, 4, 8]), rel=1e-5)
    assert result.special_frequencies["L"] == pytest.approx(unit * np.sqrt([2, 2, 8]), rel=1e-5)


def test_acoustic_modes_vanish_at_gamma(copper_phonons):
    assert np.abs(copper_phonons.gamma_frequencies).max() < 1e-3
    assert np.abs(copper_phonons.gamma_frequencies_raw).max() < 1e-2
    assert copper_phonons.sum_rule_error < 1e-6
    assert copper_phonons.residual_force < 1e-10
    assert copper_phonons.stable


def test_the_density_of_states_counts_all_modes(copper_phonons):
    assert trapezoid(copper_phonons.dos, copper_phonons.dos_frequencies) == pytest.approx(3.0, rel=0.01)


def test_heat_capacity_has_its_limits(copper_phonons):
    """Dulong and Petit's 3R from below at high temperature, nothing at zero."""
    thermal = copper_phonons.thermal
    gas_constant = units._k * units._Nav
    assert thermal.heat_capacity[0] < 1e-100
    assert 0.98 * 3 * gas_constant < thermal.heat_capacity[-1] < 3 * gas_constant
    # zero-point energy is half a quantum per mode
    zero_point = 0.5 * (copper_phonons.mesh_weights @ copper_phonons.mesh_frequencies).sum()
    zero_point *= 1e12 * units._hplanck * units._Nav / 1000.0 / copper_phonons.mesh_weights.sum()
    assert thermal.free_energy[0] == pytest.approx(zero_point, rel=1e-4)


def test_thermodynamics_equal_those_of_phonopy(copper_phonons):
    copper_phonons.phonopy.run_thermal_properties(t_min=0, t_max=1000, t_step=10, cutoff_frequency=0.05)
    reference = copper_phonons.phonopy.thermal_properties
    ours = copper_phonons.thermal
    assert ours.temperatures == pytest.approx(reference.temperatures)
    assert ours.free_energy == pytest.approx(reference.free_energy, rel=1e-5, abs=2e-5)
    assert ours.entropy == pytest.approx(reference.entropy, rel=1e-5, abs=1e-8)
    assert ours.heat_capacity == pytest.approx(reference.heat_capacity, rel=1e-5, abs=1e-8)


def test_the_path_is_continuous_and_labelled(copper):
    result = phonons(copper, (2, 2, 2), mesh=(2, 2, 2), path="GXU,KGL", points=60)
    assert [name for _, name in result.bands.labels] == ["Γ", "X", "U|K", "Γ", "L"]
    assert np.all(np.diff(result.bands.distances) >= 0.0)
    for start, stop in result.bands.segments:
        assert np.abs(np.diff(result.bands.frequencies[start:stop], axis=0)).max() < 1.5
    gamma_to_x = result.bands.distances[result.bands.segments[0][1] - 1]
    assert gamma_to_x == pytest.approx(1.0 / 3.58982)


def test_without_symmetry_every_atom_moves_and_the_answer_stays(copper):
    few = phonons(copper, (2, 2, 2), mesh=(2, 2, 2))
    many = phonons(copper, (2, 2, 2), mesh=(2, 2, 2), is_symmetry=False, is_plusminus=True)
    assert (few.n_displacements, many.n_displacements) == (1, 6)
    assert many.special_frequencies["X"] == pytest.approx(few.special_frequencies["X"], abs=5e-3)


def test_an_unstable_lattice_is_reported():
    """bcc copper is no minimum of EMT."""
    atoms = bulk("Cu", "bcc", a=2.87)
    atoms.calc = EMT()
    result = phonons(atoms, (3, 3, 3), mesh=(6, 6, 6))
    assert not result.stable
    assert result.lowest_frequency < -0.5
    assert result.thermal is None
    assert result.imaginary[0][1] == result.lowest_frequency
    assert all(frequency < -0.1 for _, frequency in result.imaginary)
    again = result.frequencies_at([result.lowest_q])[0].min()
    assert again == pytest.approx(result.lowest_frequency, abs=1e-6)


class Biased(EMT):
    """EMT with a constant force on the first atom, as a network without symmetry leaves one."""

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.results["forces"][0, 0] += 0.02


def test_a_residual_force_is_reported_and_subtracted(copper):
    atoms = copper.copy()
    atoms.calc = Biased()
    biased = phonons(atoms, (2, 2, 2), mesh=(2, 2, 2), relax_first=False)
    assert biased.residual_force == pytest.approx(0.02)
    clean = phonons(copper, (2, 2, 2), mesh=(2, 2, 2))
    assert biased.special_frequencies["X"] == pytest.approx(clean.special_frequencies["X"], abs=1e-6)


def test_phonopy_reads_what_is_saved(copper_phonons, tmp_path):
    import phonopy

    copper_phonons.save(tmp_path / "phonopy.yaml")
    again = phonopy.load(tmp_path / "phonopy.yaml", fc_calculator="symfc", log_level=0)
    again.run_qpoints([POINTS["X"]])
    assert again.qpoints.frequencies[0] == pytest.approx(copper_phonons.special_frequencies["X"], abs=1e-5)


@pytest.fixture(scope="module")
def written(copper_phonons, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    return folder, write_results(copper_phonons, folder, with_group_velocities=True)


@pytest.mark.parametrize("beside", ["FORCE_SETS", "force_constants.hdf5"])
def test_phonopys_command_line_reads_what_is_written(copper_phonons, written, beside, tmp_path):
    """With the forces in the cell's file left out, so that those beside it are what is read."""
    copper_phonons.phonopy.save(
        tmp_path / "phonopy.yaml", settings={"force_sets": False, "displacements": True}
    )
    shutil.copy(written[0] / beside, tmp_path)
    command = [Path(sys.executable).with_name("phonopy-load"), "phonopy.yaml", "--qpoints", "1/2 0 1/2"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr
    (point,) = yaml.safe_load((tmp_path / "qpoints.yaml").read_text())["phonon"]
    frequencies = [band["frequency"] for band in point["band"]]
    assert frequencies == pytest.approx(copper_phonons.special_frequencies["X"], abs=1e-4)
    # and as it is written
    command[1] = written[0] / "phonopy.yaml"
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120).returncode == 0


def test_spectra_are_in_the_document(copper_phonons, written):
    folder, document = written
    assert json.loads((folder / "phonons.json").read_text()) == json.loads(json.dumps(document))
    states = trapezoid(document["dos"]["states"], document["dos"]["frequencies"])
    assert states == pytest.approx(3.0, rel=0.01)
    assert document["thermal"]["heat_capacity"][30] == document["heat_capacity_300K"]
    modes = document["mesh_modes"]
    assert np.shape(modes["group_velocities"]) == (*np.shape(modes["frequencies"]), 3)
    assert np.sum(modes["weights"]) == 12**3
    # the sound at small q is as fast as the slope says, THz Å
    q_points = np.array(modes["q_points"])
    nearest = np.argsort(np.linalg.norm(q_points, axis=1))[1]
    again = copper_phonons.group_velocities([q_points[nearest]])[0]
    assert np.array(modes["group_velocities"][nearest]) == pytest.approx(again, abs=1e-9)
    assert "mesh_modes" not in copper_phonons.spectra()


def test_a_full_disk_is_the_disks_error_and_what_was_there_stays(copper, tmp_path, monkeypatch):
    file = tmp_path / "forces.npz"
    options = {"mesh": (2, 2, 2), "relax_first": False, "checkpoint": file}
    result = phonons(copper, (2, 2, 2), **options)
    write_results(result, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.warns(UserWarning, match="other supercells"), pytest.raises(OSError, match="No space left"):
        phonons(copper, (3, 3, 3), **options)
    with pytest.raises(OSError, match="No space left"):
        write_results(result, tmp_path)
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert after.keys() == before.keys()
    assert after["forces.npz"] == before["forces.npz"] and after["phonons.json"] == before["phonons.json"]
    monkeypatch.undo()
    counted = copper.copy()
    counted.calc = Counting()
    with pytest.warns(UserWarning, match=r"another run \(another calculator\): all are computed anew"):
        phonons(counted, (2, 2, 2), **options)
    assert counted.calc.calls == 2


def test_the_structure_is_relaxed_first(copper):
    """A cell of a wrong size and a little skewed comes back to the minimum, in its space group."""
    atoms = bulk("Cu", a=3.62)
    atoms.set_cell(atoms.cell.array * (1 + 1e-5 * np.arange(9).reshape(3, 3)), scale_atoms=True)
    atoms.calc = EMT()
    result = phonons(atoms, (2, 2, 2), mesh=(2, 2, 2))
    assert result.relaxation.converged
    assert result.relaxation.atoms.cell.lengths() * np.sqrt(2) == pytest.approx(3.58982, abs=2e-4)
    assert result.space_group == "Fm-3m (225)"
    clean = phonons(copper, (2, 2, 2), mesh=(2, 2, 2), relax_first=False)
    assert clean.relaxation is None
    assert result.special_frequencies["X"] == pytest.approx(clean.special_frequencies["X"], abs=5e-3)


def off_centre(shift):
    """CuAu of caesium chloride's structure whose gold is off the centre along z."""
    atoms = bulk("CuAu", "cesiumchloride", a=2.95)
    atoms.positions[1, 2] += shift
    atoms.calc = EMT()
    return atoms


def test_a_weak_distortion_is_not_lost_in_silence():
    """0.004 Å, within the tolerance; and with a smaller one it is kept, as far as the model does."""
    atoms = off_centre(0.004)
    options = {"mesh": (2, 2, 2), "force": True}
    lost = r"the space group P4mm \(99\), within 0\.001 Å, was made Pm-3m \(221\), .* moved by up to 0\.0020"
    for compute in (lambda: phonons(atoms, (2, 2, 2), **options), lambda: audit_phonons(atoms, (2, 2, 2))):
        with pytest.warns(UserWarning, match=lost):
            found = compute()
    with pytest.warns(UserWarning, match=lost):
        found = phonons(atoms, (2, 2, 2), **options)
    made = found.to_dict()["preparation"]
    assert (made["given"], made["made"]) == ("P4mm (99)", "Pm-3m (221)")
    assert made["moved"] == pytest.approx(0.002, abs=1e-4)  # half of it: without the drift
    with pytest.warns(UserWarning, match=lost):
        relax(atoms, symmetry="fix", check_noise=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kept = phonons(atoms, (2, 2, 2), input_symprec=1e-3, **options)
    assert not [w for w in caught if "was made" in str(w.message)]
    assert kept.relaxation.refinement.made == "P4mm (99)"
    # whose minimum is the centre
    assert [("from the space group P4mm (99) to Pm-3m" in str(w.message)) for w in caught] == [True]


def test_rounded_coordinates_are_no_distortion():
    """A file with four digits."""
    atoms = bulk("Cu", "hcp", a=2.5612, c=4.1825)
    atoms.set_scaled_positions(atoms.get_scaled_positions().round(4))
    atoms.calc = EMT()
    result = phonons(atoms, (2, 2, 2), mesh=(2, 2, 2), force=True)
    assert 0.0 < result.relaxation.refinement.moved < 1e-3


def test_a_crystal_that_goes_far_is_another_one():
    atoms = bulk("Cu", a=4.1)
    atoms.calc = EMT()
    with pytest.raises(StructureError, match=r"strained by up to 0\.1\d\d in the relaxation, .*`force=True`"):
        phonons(atoms, (2, 2, 2))


def test_an_unconverged_relaxation_is_refused_unless_forced(copper, monkeypatch):
    monkeypatch.setattr("ase_mlip.phonon_input.RELAXED", 0.0)
    monkeypatch.setattr("ase_mlip.phonon_input.MAX_STEPS", 1)
    with pytest.raises(StructureError, match=r"expected the relaxation to reach.*`force=True`"):
        phonons(copper, (2, 2, 2), mesh=(2, 2, 2))
    assert phonons(copper, (2, 2, 2), mesh=(2, 2, 2), force=True).stable


def test_min_length_makes_a_supercell(copper):
    result = phonons(bulk_of(copper), min_length=7.0, mesh=(2, 2, 2), relax_first=False)
    assert result.supercell_matrix.tolist() == [[2, 0, 0], [0, 2, 0], [0, 0, 2]]
    assert heights(result.phonopy.supercell.cell) == pytest.approx(2 * 3.58982)
    with pytest.raises(StructureError, match="got both"):
        phonons(copper, (2, 2, 2), min_length=7.0)


def bulk_of(copper):
    atoms = bulk("Cu", a=3.58982, cubic=True)
    atoms.calc = copper.calc
    return atoms


def test_group_velocities_are_slopes_of_the_bands(copper_phonons):
    step = 1e-4
    q = np.array([0.1, 0.17, 0.05])
    reciprocal = copper_phonons.primitive.cell.reciprocal().array
    velocities = copper_phonons.group_velocities([q])[0]
    for axis in range(3):
        moved = q + np.array([-step, step])[:, None] * np.linalg.inv(reciprocal)[axis]
        low, high = copper_phonons.frequencies_at(moved)
        assert velocities[:, axis] == pytest.approx((high - low) / (2 * step), abs=1e-3)


class Counting(EMT):
    """Fails at the third structure, once."""

    calls, fails = 0, True

    def calculate(self, *args, **kwargs):
        self.calls += 1
        if self.calls == 3 and self.fails:
            raise KeyboardInterrupt
        super().calculate(*args, **kwargs)


def test_a_killed_run_goes_on_with_the_supercells_it_has(copper, tmp_path):
    atoms = copper.copy()
    options = {"mesh": (2, 2, 2), "relax_first": False, "is_symmetry": False, "is_plusminus": True}
    atoms.calc = Counting()
    file = tmp_path / "forces.npz"
    with pytest.raises(KeyboardInterrupt):
        phonons(atoms, (2, 2, 2), checkpoint=file, **options)
    calculator = atoms.calc = Counting()
    calculator.fails = False
    result = phonons(atoms, (2, 2, 2), checkpoint=file, **options)
    assert calculator.calls == 7 - 2 + 1  # one again, to see that the calculator is the same
    whole = phonons(copper, (2, 2, 2), **options)
    assert result.special_frequencies["X"] == pytest.approx(whole.special_frequencies["X"], abs=1e-9)
    assert result.evaluations == whole.evaluations == 7
    with pytest.warns(UserWarning, match="another run"):  # nothing is reused
        phonons(atoms, (2, 2, 2), distance=0.02, checkpoint=file, **options)
    assert calculator.calls == 6 + 7


def test_another_model_at_the_same_path_is_another_run():
    cells = [to_phonopy(bulk("Cu"))]
    models = [SimpleNamespace(info=SimpleNamespace(document_sha256=digest)) for digest in ("a", "b", "a")]
    first, second, again = (
        Checkpoint(None, cells, SimpleNamespace(parameters={"model": "m.pt"}, model=m)).key for m in models
    )
    assert first != second
    assert first == again


def test_a_broken_checkpoint_is_ignored(copper, tmp_path):
    file = tmp_path / "forces.npz"
    file.write_bytes(b"PK\x03\x04 half a file")
    with pytest.warns(UserWarning, match="holds no forces that can be read: all are computed anew"):
        assert phonons(copper, (2, 2, 2), mesh=(2, 2, 2), checkpoint=file).stable


def test_progress_counts_the_supercells(copper):
    seen = []
    phonons(copper, (2, 2, 2), mesh=(2, 2, 2), progress=lambda *row: seen.append(row))
    assert seen == [(1, 2), (2, 2)]


def test_bad_input_is_named(copper):
    water = molecule("H2O")
    water.calc = EMT()
    with pytest.raises(StructureError, match=r"`phonons` needs a crystal.*ase\.vibrations"):
        phonons(water)
    with pytest.raises(StructureError, match="needs a calculator"):
        phonons(bulk("Cu"))
    for matrix in ((2, 2, 0), (2, 2), 2, (1.5, 2, 2), np.ones((2, 2), dtype=int), "FFF"):
        with pytest.raises(StructureError, match="`supercell_matrix` must be three integers or"):
            phonons(copper, matrix)
    for matrix in ((2, 2, -2), [[0, 2, 0], [2, 0, 0], [0, 0, 2]]):
        with pytest.raises(StructureError, match=r"positive determinant, got -8 .* exchange two of its"):
            phonons(copper, matrix)
    for mesh in ((2, 2), 8, (2, 2, 0), (2.0, 2.0, 2.0)):
        with pytest.raises(StructureError, match=r"`mesh` must be three positive integers, .* got"):
            phonons(copper, (2, 2, 2), mesh=mesh)
    mirrored = copper.copy()
    mirrored.set_cell(copper.cell.array[[1, 0, 2]])
    mirrored.calc = EMT()
    with pytest.raises(StructureError, match="needs a right-handed cell.*exchange two of its vectors"):
        phonons(mirrored, (2, 2, 2))
    for primitive_matrix in ("Q", 0.3 * np.eye(3)):
        with pytest.raises(StructureError, match="that phonopy can reduce to a primitive cell, got Cu"):
            phonons(copper, (2, 2, 2), primitive_matrix=primitive_matrix)
    rattled = bulk("Cu", cubic=True)
    rattled.rattle(0.1, seed=0)
    rattled.calc = EMT()
    with pytest.raises(StructureError, match=r"needs a relaxed structure.*got \d\.\d+ eV/Å"):
        phonons(rattled, (1, 1, 1), relax_first=False)


def test_a_supercell_is_small_by_the_interaction_range():
    """An atom between a displaced atom and its image feels both where each is within its range."""
    atoms = bulk("Si", cubic=True, a=5.0)
    for layers, size, message in (
        (1, 1, r"5\.00 Å apart, less than twice the cutoff of `toy` \(8 Å\): displaced"),
        (2, 1, r"less than twice the cutoff of `toy` \(8 Å\): displaced atoms feel their own images;"),
        (2, 3, r"twice the interaction range of `toy` \(16 Å\): .* their own images through message passing;"),
        (1, 2, None),
        (2, 4, None),
    ):
        info = SimpleNamespace(name="toy", cutoff=4.0, interaction_range=4.0 * layers)
        calculator = SimpleNamespace(model=SimpleNamespace(info=info))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            warn_if_small(atoms, size * np.eye(3, dtype=int), calculator)
        assert [bool(re.search(message, str(w.message))) for w in caught] == ([True] if message else [])
