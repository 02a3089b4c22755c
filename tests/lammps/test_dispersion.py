"""D3 dispersion over a model: LAMMPS' own pair style beside ours, and the dftd3 program's numbers."""

import subprocess

import numpy as np
import pytest
from harness import Case, expected_frame, read_frames
from structures import silicon_oxygen

RANKS = pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.slow)])
CUTOFF, COUNTING = 16.0, 12.0  # Å, of pairs and of coordination numbers
PBE = {"s6": 1.0, "s8": 0.7875, "s9": 0.0, "a1": 0.4289, "a2": 4.4407}  # Grimme 2011, a2 in bohr; no triples
STYLE = f"dispersion/d3 bj pbe {CUTOFF} {COUNTING}"


@pytest.fixture(autouse=True)
def _package(lammps):
    listed = subprocess.run([lammps.program, "-h"], capture_output=True, text=True, env=lammps.environment)
    if "dispersion/d3" not in listed.stdout:
        pytest.skip("this LAMMPS lacks dispersion/d3 (package EXTRA-PAIR)")


def run(lammps, case: Case, folder, **options):
    folder.mkdir()
    case.write(folder)
    (frame,) = read_frames(case, lammps.run(case.script(), folder, **options))
    return frame


def alone() -> Case:
    case = Case(silicon_oxygen(), per_atom=False, middle="neigh_modify one 10000 page 100000")
    case.pair = f"pair_style {STYLE}\npair_coeff * * {' '.join(case.elements)}"
    return case


@RANKS
def test_overlay_is_the_sum(parallel, models, tmp_path, ranks):
    case = alone()
    elements = " ".join(case.elements)
    dispersion = run(parallel, case, tmp_path / "alone", ranks=ranks)
    case.pair = (
        f"pair_style hybrid/overlay mlip device cpu dtype float64 {STYLE}\n"
        f"pair_coeff * * mlip {models.path('two')} {elements}\npair_coeff * * dispersion/d3 {elements}"
    )
    both = run(parallel, case, tmp_path / "both", ranks=ranks)
    model = expected_frame(both, models.calculator("two"))
    assert dispersion.energy < -0.1
    assert both.energy == pytest.approx(model.energy + dispersion.energy, abs=1e-9)
    np.testing.assert_allclose(both.forces, model.forces + dispersion.forces, atol=1e-8, rtol=0)
    np.testing.assert_allclose(both.virial, model.virial + dispersion.virial, atol=2e-8, rtol=0)


def test_the_same_as_dftd3_in_ase(lammps, tmp_path):
    """Two-body terms with equal cutoffs, to 1e-6 eV per atom, where 1 meV was asked for."""
    ase = pytest.importorskip("dftd3.ase", reason="pip install dftd3")
    frame = run(lammps, alone(), tmp_path / "alone")
    cutoffs = {"disp2": CUTOFF, "disp3": COUNTING, "cn": COUNTING}
    atoms = frame.atoms.copy()
    atoms.calc = ase.DFTD3(damping="d3bj", params_tweaks=PBE, realspace_cutoff=cutoffs)
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    assert abs(frame.energy - energy) < 1e-6 * len(atoms)
    np.testing.assert_allclose(frame.forces, forces, atol=1e-6, rtol=0)
