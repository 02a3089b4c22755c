"""Constraints of a file: kept where atoms move, refused where forces and stresses are differentiated."""

import numpy as np
import pytest
from ase import units
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms, FixCartesian
from ase.io import read, write
from click.testing import CliRunner
from optional_packages import HAS_PHONO3PY

from ase_mlip import MLIPCalculator
from ase_mlip.cli.program import main
from ase_mlip.dynamics.engines import ase_frames, lammps_frames
from ase_mlip.dynamics.md import draw_velocities
from ase_mlip.errors import StructureError
from ase_mlip.lammps.lammps_run import nve_lines
from ase_mlip.lattice_dynamics.audit import audit_phonons
from ase_mlip.lattice_dynamics.phonons import phonons
from ase_mlip.mechanics.elasticity import elastic_constants
from ase_mlip.mechanics.eos import equation_of_state
from ase_mlip.stability.runs import md_stability


@pytest.fixture(scope="module")
def files(tmp_path_factory, sw_path):
    """Silicon with displaced atoms of which two may not move, as VASP's selective dynamics says it."""
    folder = tmp_path_factory.mktemp("files")
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.05, seed=2)
    atoms.set_constraint(FixAtoms([1, 4]))
    write(folder / "POSCAR", atoms, format="vasp", sort=False)
    assert isinstance(read(folder / "POSCAR").constraints[0], FixAtoms)
    return folder, sw_path


def run(*arguments, code=0):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def test_relax_keeps_them_also_in_what_it_writes(files, tmp_path):
    folder, model = files
    arguments = ("relax", model, folder / "POSCAR", "--fmax", 0.01, "--dtype", "float64")
    run(*arguments, "-o", tmp_path / "out")
    start, end = read(folder / "POSCAR"), read(tmp_path / "out" / "relaxed.extxyz")
    moved = np.linalg.norm(end.positions - start.positions, axis=1)
    assert moved[[1, 4]] == pytest.approx([0.0, 0.0], abs=1e-7)
    assert np.delete(moved, [1, 4]).min() > 1e-3
    assert end.constraints[0].index.tolist() == [1, 4]
    # the same positions with other constraints are another structure
    start.set_constraint(FixAtoms([2]))
    write(tmp_path / "POSCAR", start, format="vasp", sort=False)
    again = ("relax", model, tmp_path / "POSCAR", *arguments[3:], "-o", tmp_path / "out")
    assert "another structure of the name 'POSCAR'" in run(*again, code=1).output
    run(*again, "--overwrite")
    (last,) = read(tmp_path / "out" / "relaxed.extxyz", index=":")
    assert last.constraints[0].index.tolist() == [2]
    assert last.positions[2] == pytest.approx(start.positions[2], abs=1e-7)


def test_a_refused_command_names_the_remedy(files, tmp_path):
    folder, model = files
    commands = ["phonons", "elastic", "eos"]
    for command in commands + ["conductivity"] * HAS_PHONO3PY:
        output = run(command, model, folder / "POSCAR", "-o", tmp_path / command, code=1).output
        assert "without constraints, got FixAtoms (of a POSCAR, selective dynamics)" in output, command
        assert "remove them: `atoms.set_constraint()`" in output


@pytest.mark.parametrize("function", [phonons, audit_phonons, elastic_constants, equation_of_state])
def test_functions_refuse_them_too(function):
    atoms = bulk("Cu", a=3.59)
    atoms.calc = EMT()
    atoms.set_constraint(FixAtoms([0]))
    with pytest.raises(StructureError, match="without constraints, got FixAtoms"):
        function(atoms)


def slab():
    atoms = fcc111("Cu", (2, 2, 3), a=3.59, vacuum=6.0)
    atoms.set_constraint(FixAtoms(mask=atoms.get_tags() == 3))
    return atoms


def test_dynamics_keep_them_and_their_temperature():
    """Only atoms that move share the kinetic energy."""
    atoms = slab()
    draw_velocities(atoms, 400.0, seed=1)
    assert not atoms.get_velocities()[atoms.get_tags() == 3].any()
    assert atoms.get_temperature() == pytest.approx(400.0)
    free = atoms.copy()
    free.set_constraint()
    draw_velocities(free, 400.0, seed=1)
    assert free.get_momenta().sum(axis=0) == pytest.approx(np.zeros(3), abs=1e-12)
    atoms.calc = EMT()
    result = md_stability(atoms, temperature_K=400.0, timestep=2 * units.fs, time=60 * units.fs, replicas=1)
    (replica,) = result.replicas
    assert replica.temperatures[0] == pytest.approx(400.0)
    last = [frame.positions for frame in ase_frames(atoms, 2 * units.fs, 30, 10)][-1]
    moved = np.linalg.norm(last - slab().positions, axis=1)
    assert moved[atoms.get_tags() == 3].max() == 0.0 and moved[atoms.get_tags() != 3].min() > 1e-3


def test_lammps_integrates_the_free_atoms():
    atoms = slab()
    assert nve_lines(atoms) == "group fixed id 1 2 3 4\ngroup free subtract all fixed\nfix 1 free nve"
    atoms.set_constraint()
    assert nve_lines(atoms) == "fix 1 all nve"
    atoms.set_constraint(FixCartesian(0, mask=(True, False, False)))
    with pytest.raises(StructureError, match="only constraints for LAMMPS, got FixCartesian; use the engine"):
        nve_lines(atoms)


def test_lammps_and_ase_agree_on_fixed_atoms(files, torch_side):
    folder, model = files
    atoms = read(folder / "POSCAR")
    atoms.calc = MLIPCalculator(model, dtype="float64")
    draw_velocities(atoms, 300.0, seed=3)
    start = atoms.copy()
    by_lammps = lammps_frames(start, model, 1 * units.fs, 20, 10, {"dtype": "float64"})
    by_lammps = [frame.positions for frame in by_lammps]
    by_ase = [frame.positions for frame in ase_frames(atoms, 1 * units.fs, 20, 10)]
    assert by_ase[-1][[1, 4]] == pytest.approx(start.positions[[1, 4]], abs=1e-12)
    assert np.linalg.norm(by_ase[-1] - start.positions, axis=1).max() > 0.01
    assert by_lammps[-1] == pytest.approx(by_ase[-1], abs=1e-6)
