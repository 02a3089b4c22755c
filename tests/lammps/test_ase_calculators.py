"""ASE's own calculators for LAMMPS hand it a rotated structure, which an unconstrained model sees."""

import json
import subprocess
import sys

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.lammps import Prism
from snnp_models import export

from ase_mlip import MLIPCalculator

# A process of its own: the calculator leaves LAMMPS and its pipes open until the end.
PROGRAM = """
import json
import sys
from ase.build import bulk
from ase.calculators.lammpsrun import LAMMPS

program, model = sys.argv[1:]
atoms = bulk("Si", a=5.43).repeat(2)
atoms.rattle(0.1, seed=2)
style = {"pair_style": "mlip device cpu dtype float64", "pair_coeff": [f"* * {model} Si"]}
atoms.calc = LAMMPS(command=program, specorder=["Si"], **style)
print(json.dumps([atoms.get_potential_energy(), atoms.get_forces().tolist()]))
"""


@pytest.mark.parametrize("kind", ["two", "snnp"])
def test_lammpsrun_computes_in_the_frame_of_lammps(lammps, models, tmp_path, kind):
    path = export(tmp_path) if kind == "snnp" else models.path(kind)
    command = [sys.executable, "-c", PROGRAM, lammps.program, str(path)]
    done = subprocess.run(command, env=lammps.environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    energy, forces = json.loads(done.stdout.splitlines()[-1])
    calculator = MLIPCalculator(path, device="cpu", dtype="float64")
    crystal = bulk("Si", a=5.43).repeat(2)
    crystal.rattle(0.1, seed=2)
    prism = Prism(crystal.cell.array)
    rotated = crystal.copy()
    rotated.set_cell(prism.lammps_cell)
    rotated.positions = prism.vector_to_lammps(crystal.positions)
    rotated.calc = crystal.calc = calculator
    np.testing.assert_allclose(energy, rotated.get_potential_energy(), rtol=1e-9)
    np.testing.assert_allclose(forces, prism.vector_to_ase(rotated.get_forces()), atol=1e-7)
    differs = np.abs(crystal.get_forces() - forces).max()
    assert differs < 1e-7 if kind == "snnp" else differs > 1e-3
