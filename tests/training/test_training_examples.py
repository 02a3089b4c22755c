"""The converters and recipes in examples/training; the real data are not needed."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.io import read, write

from ase_mlip.configuration.run import read_config

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "training"


@pytest.fixture
def script(monkeypatch):
    """Imports a script of the folder and returns a function that runs it with arguments."""
    monkeypatch.syspath_prepend(str(FOLDER))

    def run(name, *arguments):
        module = importlib.import_module(name)
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        module.main()
        return module

    return run


def deepmd_system(folder, coordinates, box, virial=None):
    """One O and two H per frame; energies count the frames."""
    n = len(coordinates)
    (folder / "set.000").mkdir(parents=True)
    (folder / "type.raw").write_text("0\n1\n1\n")
    (folder / "type_map.raw").write_text("O\nH\n")
    arrays = {
        "coord": coordinates.reshape(n, 9),
        "box": np.tile(np.diag(box).reshape(9), (n, 1)),
        "energy": np.arange(n, dtype=float),
        "force": coordinates.reshape(n, 9) / 10,
    }
    if virial is not None:
        arrays["virial"] = np.tile(virial.reshape(9), (n, 1))
    for name, array in arrays.items():
        np.save(folder / "set.000" / f"{name}.npy", array)
    return folder


def test_deepmd_systems_become_extended_xyz(tmp_path, script):
    coordinates = np.random.default_rng(0).normal(size=(3, 3, 3))
    virial = np.array([[1.0, 0.1, 0.2], [0.1, 2.0, 0.3], [0.2, 0.3, 3.0]])
    system = deepmd_system(tmp_path / "data_0", coordinates, [9.0, 10.0, 11.0], virial)
    words = "convert", "deepmd", system, "-o", tmp_path / "out.xyz"
    script(*words)
    with pytest.raises(SystemExit) as refused:  # as by the commands that write one file
        script(*words)
    assert refused.value.code == 1
    script(*words, "--overwrite")
    frames = read(tmp_path / "out.xyz", ":")
    assert len(frames) == 3
    for index, frame in enumerate(frames):
        assert frame.get_chemical_symbols() == ["O", "H", "H"] and frame.pbc.all()
        assert frame.get_potential_energy() == index and frame.info["group"] == "data_0"
        np.testing.assert_allclose(frame.cell.lengths(), [9, 10, 11])
        np.testing.assert_allclose(frame.positions, coordinates[index], atol=1e-7)
        np.testing.assert_allclose(frame.get_forces(), coordinates[index] / 10, atol=1e-7)
        np.testing.assert_allclose(frame.get_stress(voigt=False), -virial / 990, atol=1e-9)


def test_rmd17_becomes_extended_xyz_in_ev(tmp_path, script):
    forces = np.arange(12.0).reshape(2, 2, 3)
    np.savez(
        tmp_path / "a.npz",
        nuclear_charges=np.array([1, 8], dtype=np.uint8),
        coords=forces / 5,
        energies=np.array([-100.0, -101.0]),
        forces=forces,
    )
    script("convert", "rmd17", tmp_path / "a.npz", "-o", tmp_path / "out.xyz")
    frame = read(tmp_path / "out.xyz", 1)
    assert frame.get_chemical_symbols() == ["H", "O"] and not frame.pbc.any()
    assert frame.get_potential_energy() == pytest.approx(-101 * 0.0433641, abs=1e-4)
    np.testing.assert_allclose(frame.get_forces(), forces[1] * units.kcal / units.mol, atol=1e-7)


def test_water_frames_are_put_back_in_the_order_of_a_random_walk(tmp_path, script, capsys):
    """Oracle: a shuffled random walk whose order is known."""
    generator = np.random.default_rng(1)
    steps = generator.normal(scale=0.02, size=(400, 3, 3)) + 0.02
    walk = np.cumsum(steps, axis=0)
    deepmd_system(tmp_path / "in" / "data_0", walk[generator.permutation(400)], [12.0, 12.0, 12.0])
    script("prepare_water", tmp_path / "in", tmp_path / "out")
    frames = [read(tmp_path / "out" / f"water_{name}.xyz", ":") for name in ("train", "validation", "test")]
    assert [len(part) for part in frames] == [272, 32, 80]
    times = []
    for part in frames:
        distances = [np.abs(walk - frame.positions).max(axis=(1, 2)) for frame in part]
        times.append(np.argmin(distances, axis=1))
    if times[0][0] > times[2][0]:  # which end is first cannot be known
        times = [399 - time for time in times]
    assert max(times[0]) < min(times[1]) and max(times[1]) < min(times[2])


def test_3bpa_frames_are_labelled_and_known_ones_left_out(tmp_path, script):
    from ase.build import molecule
    from ase.calculators.singlepoint import SinglePointCalculator

    frames = []
    for index in range(500):
        atoms = molecule("H2")
        atoms.rattle(0.05, seed=index)
        atoms.calc = SinglePointCalculator(atoms, energy=float(index), forces=atoms.positions)
        frames.append(atoms)
    write(tmp_path / "train_mixedT.xyz", frames)
    write(tmp_path / "train_300K.xyz", frames[10:20])
    script("split_3bpa", tmp_path, tmp_path / "out.xyz")
    kept = read(tmp_path / "out.xyz", ":")
    expected = [index for index in range(500) if not 10 <= index < 20]
    assert [int(frame.get_potential_energy()) for frame in kept] == expected
    groups = {int(frame.get_potential_energy()): frame.info["group"] for frame in kept}
    assert (groups[166], groups[167], groups[333], groups[334]) == ("300K", "600K", "600K", "1200K")


@pytest.mark.parametrize("recipe", sorted(FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_recipes_are_valid_and_named_after_their_file(recipe):
    assert read_config(recipe).name == recipe.stem


def test_elastic_constants_come_back_from_stresses(script, tmp_path, capsys):
    """Strained frames, also as a supercell and rotated, of a crystal whose stress is linear in the strain."""
    from ase.build import bulk
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_strain, voigt_6_to_full_3x3_stress
    from scipy.spatial.transform import Rotation

    stiffness = np.full((3, 3), 120.0) + 40.0 * np.eye(3)
    stiffness = np.block([[stiffness, np.zeros((3, 3))], [np.zeros((3, 3)), 75.0 * np.eye(3)]]) * units.GPa
    rng = np.random.default_rng(0)
    frames = []
    for index in range(12):
        strain = 0.0 if index == 0 else rng.uniform(-0.01, 0.01, 6)
        stress = stiffness @ (strain * np.ones(6))
        atoms = bulk("Cu", a=3.6, cubic=True).repeat(1 + index % 2)
        deformation = voigt_6_to_full_3x3_strain(strain * np.ones(6))
        atoms.set_cell(atoms.cell.array @ deformation, scale_atoms=True)
        atoms.info["group"] = "Elastic"
        atoms.calc = SinglePointCalculator(atoms, energy=0.0, stress=stress)
        frames.append(atoms)
    rotation = Rotation.from_rotvec([0.1, 0.2, -0.3]).as_matrix()
    rotated = frames[-1].copy()
    rotated.set_cell(rotated.cell.array @ rotation.T, scale_atoms=True)
    stress = rotation @ voigt_6_to_full_3x3_stress(frames[-1].get_stress()) @ rotation.T
    stress = full_3x3_to_voigt_6_stress(stress)
    rotated.calc = SinglePointCalculator(rotated, energy=0.0, stress=stress)
    write(tmp_path / "strained.xyz", [*frames, rotated])
    script("elastic_constants_of_data", tmp_path / "strained.xyz")
    assert "C11 160.0, C12 120.0, C44 75.0" in capsys.readouterr().out
