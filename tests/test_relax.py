"""Relaxation against minima found by other means."""

import errno

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.io import read
from ase.io.trajectory import TrajectoryWriter
from ase.stress import full_3x3_to_voigt_6_stress
from scipy.linalg import polar
from scipy.optimize import minimize_scalar
from scipy.spatial.transform import Rotation

from ase_mlip.crystals import space_group
from ase_mlip.errors import PrecisionWarning, StructureError
from ase_mlip.relax import OPTIMIZERS, relax


def distorted_copper(scale: float = 1.0) -> Atoms:
    atoms = bulk("Cu", cubic=True)
    strain = scale * np.array([[0.03, 0.004, 0.0], [0.004, -0.01, 0.002], [0.0, 0.002, 0.02]])
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    atoms.rattle(0.1 * scale, seed=1)
    atoms.calc = EMT()
    return atoms


@pytest.fixture(scope="module")
def lattice_constant() -> float:
    """EMT copper's, from a one-dimensional minimisation that knows nothing of forces and stresses."""

    def energy(a: float) -> float:
        atoms = bulk("Cu", a=a)
        atoms.calc = EMT()
        return atoms.get_potential_energy()

    return minimize_scalar(energy, bounds=(3.4, 3.8), method="bounded", options={"xatol": 1e-8}).x


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_distorted_crystal_returns_to_the_lattice_constant(optimizer, lattice_constant):
    result = relax(distorted_copper(), fmax=1e-4, optimizer=optimizer, cell=True)
    assert result.converged
    assert result.fmax < 1e-4
    assert np.abs(result.stress).max() < 1e-4
    assert np.cbrt(result.atoms.get_volume()) == pytest.approx(lattice_constant, abs=2e-5)
    assert result.spacegroup_before[1e-2] == "P1 (1)"
    assert result.spacegroup_after[1e-2] == "Fm-3m (225)"


def test_the_input_is_not_modified():
    atoms = distorted_copper()
    positions, cell = atoms.positions.copy(), atoms.cell.array.copy()
    relax(atoms, steps=3, cell=True)
    assert np.array_equal(atoms.positions, positions)
    assert np.array_equal(atoms.cell.array, cell)


def test_the_record_has_one_entry_per_step_and_is_reported():
    seen = []
    result = relax(distorted_copper(), steps=4, cell=True, progress=lambda *row: seen.append(row))
    assert not result.converged
    assert result.steps == 4
    assert len(result.energies) == len(result.fmaxes) == len(result.volumes) == 5
    assert seen == list(zip(range(5), result.energies, result.fmaxes, strict=True))
    assert result.energy == result.energies[-1] < result.energies[0]


def test_cell_false_keeps_the_cell():
    atoms = distorted_copper()
    result = relax(atoms, fmax=1e-3)
    assert np.array_equal(result.atoms.cell.array, atoms.cell.array)
    assert result.stress is None
    assert result.volumes == []


def test_cell_volume_keeps_the_shape_and_shape_keeps_the_volume():
    atoms = distorted_copper()
    scaled = relax(atoms, fmax=1e-3, cell="volume").atoms.cell.array @ np.linalg.inv(atoms.cell.array)
    assert scaled == pytest.approx(np.eye(3) * scaled[0, 0], abs=1e-10)
    assert abs(scaled[0, 0] - 1.0) > 1e-3
    sheared = relax(atoms, fmax=1e-3, cell="shape")
    assert sheared.atoms.get_volume() == pytest.approx(atoms.get_volume(), rel=1e-10)
    assert np.abs(sheared.atoms.cell.array - atoms.cell.array).max() > 1e-2


def test_a_slab_keeps_its_vacuum():
    slab = fcc111("Cu", (2, 2, 3), a=3.7, vacuum=6.0, periodic=False)
    slab.calc = EMT()
    relaxed = relax(slab, fmax=0.02, cell=True).atoms
    assert relaxed.cell.lengths()[2] == pytest.approx(slab.cell.lengths()[2], abs=1e-10)
    assert relaxed.cell.lengths()[0] < slab.cell.lengths()[0] - 0.05


def test_molecules_relax_without_cell_and_are_refused_with_one():
    nitrogen = molecule("N2")
    nitrogen.rattle(0.05, seed=0)
    nitrogen.calc = EMT()
    result = relax(nitrogen, fmax=1e-3)
    assert result.converged
    assert set(result.spacegroup_after.values()) == {""}
    with pytest.raises(StructureError, match="use `cell=False`"):
        relax(nitrogen, cell=True)
    slab = fcc111("Cu", (1, 1, 2), vacuum=6.0, periodic=False)
    slab.calc = EMT()
    with pytest.raises(StructureError, match="needs a crystal"):
        relax(slab, cell="volume")


def test_unknown_choices_are_named():
    with pytest.raises(ValueError, match=r"`optimizer` must be one of FIRE.*`Newton`"):
        relax(distorted_copper(), optimizer="Newton")
    with pytest.raises(ValueError, match=r"`cell` must be one of.*'both'"):
        relax(distorted_copper(), cell="both")
    with pytest.raises(ValueError, match=r"`symmetry` must be one of.*'keep'"):
        relax(distorted_copper(), symmetry="keep")
    with pytest.raises(ValueError, match=r"`smax=0.1` needs a cell"):
        relax(distorted_copper(), smax=0.1)


class Diverging(Calculator):
    """Fine at first, NaN once the atoms have moved."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        moved = np.abs(self.atoms.positions[0]).max() > 1e-12
        self.results = {"energy": 0.0, "forces": np.full((len(self.atoms), 3), np.nan if moved else 1.0)}


def test_forces_that_stop_being_finite_end_the_run_with_an_error():
    atoms = bulk("Cu")
    atoms.calc = Diverging()
    with pytest.raises(StructureError, match=r"failed at step 1 of FIRE.*NaN or infinity"):
        relax(atoms, steps=10)


def test_a_trajectory_holds_every_step(tmp_path):
    result = relax(distorted_copper(), steps=3, trajectory=tmp_path / "run.traj")
    assert len(read(tmp_path / "run.traj", ":")) == len(result.energies)


def test_the_trajectory_stays_when_a_step_fails(tmp_path):
    atoms = bulk("Cu")
    atoms.calc = Diverging()
    with pytest.raises(StructureError):
        relax(atoms, steps=10, trajectory=tmp_path / "run.traj")
    assert np.array_equal(read(tmp_path / "run.traj", 0).positions, atoms.positions)


def test_the_stress_may_be_a_criterion_of_its_own():
    loose = relax(distorted_copper(), fmax=0.02, cell=True)
    tight = relax(distorted_copper(), fmax=0.02, smax=1e-6, cell=True)
    assert loose.converged and tight.converged
    assert np.abs(loose.stress).max() > 1e-5
    assert np.abs(tight.stress).max() < 1e-6
    assert tight.steps > loose.steps


def test_what_is_reported_of_the_end_is_what_the_calculator_finds_there():
    result = relax(distorted_copper(), steps=5, cell=True)
    atoms = result.atoms.copy()
    atoms.calc = EMT()
    assert result.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-10)
    assert result.forces == pytest.approx(atoms.get_forces(), abs=1e-10)
    assert result.stress == pytest.approx(atoms.get_stress(), abs=1e-10)
    assert result.volume == pytest.approx(abs(np.linalg.det(atoms.cell.array)))
    assert result.noise.rounding < 1e-10
    assert result.noise.anisotropy < 1e-10


def test_noise_above_fmax_is_a_warning_at_the_callers_line(pair_model_path):
    from ase_mlip import MLIPCalculator

    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.05, seed=0)
    atoms.calc = MLIPCalculator(pair_model_path, dtype="float32")
    with pytest.warns(PrecisionWarning, match="float64") as caught:
        relax(atoms, fmax=1e-9, steps=1)
    assert caught[0].filename == __file__
    assert relax(atoms, fmax=1e-9, steps=1, check_noise=False).noise is None


def test_random_rotations_are_refused(pair_model_path):
    from ase_mlip import MLIPCalculator

    atoms = bulk("Si")
    atoms.calc = MLIPCalculator(pair_model_path, symmetrize="random 1")
    with pytest.raises(StructureError, match=r"`relax` needs an energy that depends on the structure only"):
        relax(atoms)


# ---- resuming ----------------------------------------------------------------------------------------------


class Killed(BaseException):
    """As a signal would end the process."""


def interrupted(path, after: int, **options) -> None:
    def progress(step, energy, fmax):
        if step == after:
            raise Killed

    with pytest.raises(Killed):
        relax(distorted_copper(), trajectory=path, progress=progress, **options)


def test_a_killed_relaxation_continues_from_its_last_frame(tmp_path):
    path = tmp_path / "run.traj"
    interrupted(path, after=12, cell=True, fmax=1e-4)
    before = read(path, ":")
    result = relax(distorted_copper(), cell=True, fmax=1e-4, trajectory=path, resume=True)
    assert result.converged
    assert result.energies[0] == pytest.approx(before[-1].get_potential_energy(), abs=1e-9)
    frames = read(path, ":")
    assert len(frames) >= len(before) + result.steps
    assert frames[0].positions == pytest.approx(distorted_copper().positions)
    whole = relax(distorted_copper(), cell=True, fmax=1e-4)
    assert result.energy == pytest.approx(whole.energy, abs=1e-6)
    assert result.rmsd == pytest.approx(whole.rmsd, abs=1e-3)
    assert result.spacegroup_before[1e-2] == "P1 (1)"


@pytest.mark.parametrize("kept", [0, 10, 100, 3000, 5000])
def test_a_trajectory_cut_anywhere_is_continued_or_begun_anew(tmp_path, kept):
    path = tmp_path / "run.traj"
    interrupted(path, after=6)
    path.write_bytes(path.read_bytes()[:kept])
    result = relax(distorted_copper(), fmax=1e-3, trajectory=path, resume=True)
    assert result.converged
    assert read(path, -1).get_potential_energy() == pytest.approx(result.energy)


def test_a_frame_half_written_is_left_out(tmp_path):
    """What a kill during the writing leaves: the index still ends at the frame before."""
    files = {}
    for steps in (3, 4):
        relax(distorted_copper(), steps=steps, trajectory=tmp_path / f"{steps}.traj")
        files[steps] = (tmp_path / f"{steps}.traj").read_bytes()
    path = tmp_path / "run.traj"
    path.write_bytes(files[3] + files[4][len(files[3]) : len(files[3]) + 200])
    third = read(tmp_path / "3.traj", -1).get_potential_energy()
    result = relax(distorted_copper(), fmax=1e-3, trajectory=path, resume=True)
    assert result.energies[0] == pytest.approx(third, abs=1e-9)
    assert len(read(path, ":")) == 4 + result.steps


def test_fixed_symmetry_survives_an_interruption(tmp_path):
    path = tmp_path / "run.traj"
    options = {"fmax": 1e-3, "cell": True, "symmetry": "fix", "optimizer": "BFGS", "trajectory": path}
    assert not relax(simple_cubic(), steps=3, **options).converged
    result = relax(simple_cubic(), resume=True, **options)
    assert result.converged
    assert set(result.spacegroup_after.values()) == {"Pm-3m (221)"}
    assert read(path, -1).get_potential_energy() == pytest.approx(result.energy)


def test_without_resume_a_trajectory_begins_anew(tmp_path):
    path = tmp_path / "run.traj"
    interrupted(path, after=3)
    assert len(read(path, ":")) == 4
    relax(distorted_copper(), steps=1, trajectory=path)
    assert len(read(path, ":")) == 2


def test_the_trajectory_of_another_structure_is_refused(tmp_path):
    path = tmp_path / "run.traj"
    interrupted(path, after=1)
    other = bulk("Ag")
    other.calc = EMT()
    with pytest.raises(StructureError, match=r"expected frames of Ag to resume, got Cu4"):
        relax(other, trajectory=path, resume=True)


def test_a_full_disk_is_the_disks_error(tmp_path, monkeypatch):
    def write(self, *args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(TrajectoryWriter, "write", write)
    with pytest.raises(OSError, match="No space left"):
        relax(distorted_copper(), trajectory=tmp_path / "run.traj")


# ---- symmetry ----------------------------------------------------------------------------------------------


class Tilted(EMT):
    """EMT that favours cells long in x and short in z, by an energy that the cubic group averages away."""

    implemented_properties = ("energy", "free_energy", "forces", "stress")
    bias = 2e-4 * np.diag([-1.0, 0.2, 0.8])  # eV/Å^2

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        metric = self.atoms.cell.array.T @ self.atoms.cell.array
        extra = float(np.tensordot(self.bias, metric))
        stress = (self.bias @ metric + metric @ self.bias) / self.atoms.get_volume()
        self.results["energy"] += extra
        self.results["free_energy"] += extra
        self.results["stress"] = self.results["stress"] + full_3x3_to_voigt_6_stress(stress)


def test_the_bias_is_the_derivative_of_its_energy():
    atoms = distorted_copper()
    atoms.calc = Tilted()
    numerical = []
    for sign in (1.0, -1.0):
        strained = atoms.copy()
        strained.set_cell(
            atoms.cell.array @ (np.eye(3) + sign * 1e-5 * np.diag([1.0, 0.0, 0.0])), scale_atoms=True
        )
        strained.calc = Tilted()
        numerical.append(strained.get_potential_energy())
    assert atoms.get_stress()[0] == pytest.approx(
        (numerical[0] - numerical[1]) / 2e-5 / atoms.get_volume(), rel=1e-5
    )


def strained_primitive() -> Atoms:
    """One atom, as averaging evaluates it 48 times."""
    atoms = bulk("Cu")
    strain = np.array([[0.02, 0.004, 0.0], [0.004, -0.01, 0.002], [0.0, 0.002, 0.015]])
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain))
    atoms.calc = EMT()
    return atoms


def test_average_restores_what_the_model_breaks(lattice_constant):
    reference = bulk("Cu")
    atoms = strained_primitive()
    atoms.calc = Tilted()
    options = {"fmax": 1e-6, "smax": 1e-7, "cell": True, "optimizer": "BFGS"}
    plain = relax(atoms, **options)
    assert plain.spacegroup_after[1e-4] != "Fm-3m (225)"
    result = relax(atoms, symmetry="average", reference=reference, **options)
    assert result.converged
    assert set(result.spacegroup_after.values()) == {"Fm-3m (225)"}
    assert np.cbrt(4 * result.volume) == pytest.approx(lattice_constant, abs=1e-5)
    scale = result.atoms.cell[0, 1] / reference.cell[0, 1]
    assert result.atoms.cell.array == pytest.approx(reference.cell.array * scale, abs=1e-6)
    assert result.rmsd_to_reference < 1e-6
    assert result.noise.anisotropy is None


@pytest.mark.parametrize("supercell", [False, True])
def test_average_turns_the_crystal_back_to_the_reference(supercell):
    turn = Rotation.from_rotvec([0.2, -0.5, 0.9]).as_matrix()
    reference = bulk("Cu")
    atoms = strained_primitive()
    if supercell:  # recognised by whole numbers, which a rotation would hide
        atoms = atoms * (2, 1, 1)
        atoms.calc = EMT()
    else:
        atoms.set_cell(atoms.cell.array @ turn.T, scale_atoms=True)
    result = relax(atoms, fmax=1e-3, symmetry="average", reference=reference, cell=True, optimizer="BFGS")
    assert result.converged
    assert result.spacegroup_after[1e-2] == "Fm-3m (225)"
    expected = reference.cell.array * [[1 + supercell], [1], [1]]
    scale = result.atoms.cell[1, 0] / expected[1, 0]
    assert result.atoms.cell.array == pytest.approx(expected * scale, abs=5e-3)


def test_the_cell_is_deformed_without_rotation():
    atoms = distorted_copper()
    relaxed = relax(atoms, fmax=1e-3, cell=True).atoms
    rotation, _ = polar(np.linalg.solve(atoms.cell.array, relaxed.cell.array).T)
    assert rotation == pytest.approx(np.eye(3), abs=1e-9)


def test_a_reference_of_another_lattice_is_refused():
    with pytest.raises(StructureError, match=r"`reference` expected a crystal of which.*2 atoms"):
        relax(
            distorted_copper(), symmetry="average", reference=bulk("Cu", "bcc", a=2.9, cubic=True), cell=True
        )


def simple_cubic(rattle: float = 0.0) -> Atoms:
    """Aluminium where it does not stay: EMT's simple cubic crystal is a saddle."""
    atoms = bulk("Al", "sc", a=2.6) * (2, 2, 2)
    if rattle:
        atoms.rattle(rattle, seed=0)
    atoms.calc = EMT()
    return atoms


def test_a_saddle_is_left_unless_symmetry_is_kept():
    options = {"fmax": 1e-3, "cell": True, "optimizer": "BFGS"}
    left = relax(simple_cubic(rattle=0.01), steps=40, **options)
    fixed = relax(simple_cubic(rattle=0.01), symmetry="fix", symprec=0.1, **options)
    averaged = relax(simple_cubic(), symmetry="average", **options)
    assert fixed.spacegroup_before[1e-2] == "P1 (1)"
    for kept in (fixed, averaged):
        assert kept.converged
        assert set(kept.spacegroup_after.values()) == {"Pm-3m (221)"}
        assert left.energy < kept.energy - 1.0
    assert fixed.energy == pytest.approx(averaged.energy, abs=1e-4)
    assert left.spacegroup_after[1e-2] != "Pm-3m (221)"


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_one_atom_keeps_its_symmetry_under_large_strain(optimizer):
    """FixSymmetry allows the cell small steps only."""
    atoms = bulk("Cu", a=4.2)
    atoms.calc = EMT()
    result = relax(atoms, fmax=1e-3, cell=True, symmetry="fix", optimizer=optimizer)
    assert result.converged
    assert set(result.spacegroup_after.values()) == {"Fm-3m (225)"}
    assert result.atoms.constraints == []


def test_fixed_symmetry_wants_a_crystal_without_constraints():
    nitrogen = molecule("N2")
    nitrogen.calc = EMT()
    with pytest.raises(StructureError, match=r'symmetry="fix".*needs a crystal'):
        relax(nitrogen, symmetry="fix")
    atoms = distorted_copper()
    atoms.set_constraint(FixAtoms([0]))
    with pytest.raises(StructureError, match=r"without constraints, got FixAtoms"):
        relax(atoms, symmetry="fix")


def test_constraints_of_the_user_are_kept():
    atoms = distorted_copper()
    atoms.set_constraint(FixAtoms([0]))
    result = relax(atoms, fmax=1e-3)
    assert result.atoms.positions[0] == pytest.approx(atoms.positions[0], abs=1e-12)
    assert len(result.atoms.constraints) == 1


def test_the_distance_to_the_reference_is_reported():
    atoms = distorted_copper()
    result = relax(atoms, fmax=1e-4, cell=True, reference=bulk("Cu", cubic=True))
    assert result.rmsd_to_reference < 1e-3
    assert result.rmsd > 0.05
    assert relax(atoms, steps=0).rmsd_to_reference is None
    assert space_group(result.atoms, 1e-2) == "Fm-3m (225)"
