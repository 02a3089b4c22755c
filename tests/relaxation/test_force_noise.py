"""The noise that is measured is the noise that was put in, and warnings name it."""

import warnings

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from scipy.spatial.transform import Rotation

from ase_mlip.errors import PrecisionWarning, StructureError
from ase_mlip.relaxation.force_noise import ROTATION, ForceNoise, force_noise, warn_of_noise


class Vertical(Calculator):
    """E = k/2 (z1 - z0)^2 of two atoms: knows up from down. ``jitter`` adds a force that grows by atom."""

    implemented_properties = ("energy", "forces")

    def __init__(self, k: float = 2.0, jitter: float = 0.0):
        super().__init__()
        self.k = k
        self.jitter = jitter

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        height = self.atoms.positions[1, 2] - self.atoms.positions[0, 2]
        forces = np.zeros((len(self.atoms), 3))
        forces[0, 2], forces[1, 2] = self.k * height, -self.k * height
        forces[:, 0] += self.jitter * np.arange(len(self.atoms))
        self.results = {"energy": 0.5 * self.k * height**2, "forces": forces}


def test_anisotropy_is_what_a_rotation_makes_of_a_known_force():
    atoms = Atoms("CuAg", positions=[[0.0, 0.0, 0.0], [0.3, -0.2, 1.1]])
    atoms.calc = Vertical(k=2.0)
    rotation = Rotation.from_rotvec(ROTATION).as_matrix()
    before = np.array([0.0, 0.0, 2.0 * 1.1])
    after = rotation.T @ np.array([0.0, 0.0, 2.0 * (rotation @ atoms.positions[1])[2]])
    noise = force_noise(atoms)
    assert noise.anisotropy == pytest.approx(np.linalg.norm(after - before))
    assert noise.rounding < 1e-14


def test_rounding_is_what_depends_on_the_order_of_the_atoms():
    atoms = bulk("Cu", cubic=True)
    atoms.calc = Vertical(k=0.0, jitter=1e-5)
    order = np.random.default_rng(0).permutation(4)
    assert force_noise(atoms).rounding == pytest.approx(1e-5 * np.abs(order - np.arange(4)).max())


@pytest.mark.parametrize(
    "atoms", [bulk("Cu", cubic=True) * (2, 1, 1), molecule("CH3OH")], ids=["crystal", "molecule"]
)
def test_an_exact_potential_has_rounding_only(atoms):
    atoms.rattle(0.05, seed=0)
    atoms.calc = EMT()
    noise = force_noise(atoms)
    assert 0.0 <= noise.rounding < 1e-11
    assert noise.anisotropy < 1e-11


def test_constraints_do_not_hide_the_noise_and_the_structure_stays():
    atoms = Atoms("CuAg", positions=[[0.0, 0.0, 0.0], [0.3, -0.2, 1.1]])
    atoms.calc = Vertical()
    free = force_noise(atoms)
    atoms.set_constraint(FixAtoms([0, 1]))
    positions = atoms.positions.copy()
    assert force_noise(atoms) == free
    assert np.array_equal(atoms.positions, positions)
    assert len(atoms.constraints) == 1


def test_single_precision_of_a_network_shows(pair_model_path):
    from ase_mlip import MLIPCalculator

    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.1, seed=1)
    found = {}
    for dtype in ("float32", "float64"):
        atoms.calc = MLIPCalculator(pair_model_path, dtype=dtype)
        found[dtype] = force_noise(atoms)
    assert 1e-9 < found["float32"].anisotropy < 1e-4
    assert found["float64"].anisotropy < 1e-12
    assert found["float64"].rounding < 1e-12


def test_averaging_removes_what_it_should(anisotropic_model_path):
    from ase_mlip import MLIPCalculator

    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.1, seed=1)
    atoms.calc = MLIPCalculator(anisotropic_model_path, dtype="float64")
    plain = force_noise(atoms)
    atoms.calc = MLIPCalculator(anisotropic_model_path, dtype="float64", symmetrize="octahedral")
    averaged = force_noise(atoms)
    assert averaged.anisotropy < 0.5 * plain.anisotropy
    atoms.calc = MLIPCalculator(
        anisotropic_model_path, dtype="float64", symmetrize=bulk("Si", cubic=True), check_lattice=False
    )
    tied = force_noise(atoms)
    assert tied.anisotropy is None
    assert tied.rounding < 1e-12


class Picky(EMT):
    """Refuses anything but its first structure."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        if getattr(self, "first", None) is not None and np.abs(atoms.positions - self.first).max() > 1e-12:
            raise StructureError("`atoms`: not this one")
        self.first = atoms.positions.copy()
        super().calculate(atoms, properties, system_changes)


def test_a_refused_structure_is_skipped():
    atoms = bulk("Cu", cubic=True)
    atoms.calc = Picky()
    assert force_noise(atoms) == ForceNoise(rounding=None, anisotropy=None)


def test_warnings_name_the_noise_and_the_remedy():
    with pytest.warns(PrecisionWarning, match=r"reordering.*2\.0e-05 eV/Å.*`fmax=1e-06`.*dtype=\"float64\""):
        warn_of_noise(ForceNoise(2e-5, None), 1e-6)
    with pytest.warns(PrecisionWarning, match=r"rotating.*9\.0e-03 eV/Å.*symmetrize="):
        warn_of_noise(ForceNoise(2e-5, 9e-3), 1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_noise(ForceNoise(2e-5, 5e-5), 1e-4)
        warn_of_noise(ForceNoise(None, None), 1e-4)


def test_rounding_is_not_taken_for_anisotropy():
    with pytest.warns(PrecisionWarning) as caught:
        warn_of_noise(ForceNoise(2e-5, 3e-5), 1e-6)
    assert len(caught) == 1
    assert "reordering" in str(caught[0].message)
