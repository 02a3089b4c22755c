"""Numbers in the text of docs/models.md and docs/snnp.md: against model files, kept errors and results."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.io import read
from scipy.spatial.transform import Rotation

from ase_mlip.calculators.calculator import MLIPCalculator
from ase_mlip.dynamics.thermostats import Thermostat
from ase_mlip.model_file.info import find_model, read_info, shipped_models
from ase_mlip.stability.runs import md_stability

ROOT = Path(__file__).resolve().parents[1]
NAMES = shipped_models()
CRYSTALS = {"si": "diamond", "ge": "diamond", "mo": "bcc"}
# What the sections say of training and validation frames, in this order: meV/atom and eV/Å.
CHOSEN = r"validation frames, by which it was chosen, (\S+) and (\S+)\. "
BOTH = r"Training frames: (\S+) meV/atom and (\S+) eV/Å; " + CHOSEN
TEXTS = {
    "snnp-si": r"On the training frames they are (\S+) meV/atom and (\S+) eV/Å, on the " + CHOSEN,
    "snnp-ge": BOTH,
    "snnp-mo": BOTH,
    "snnp-water": r"Training frames: (\S+) meV/atom and (\S+) eV/Å; validation frames (\S+) and (\S+)\. ",
    "pet-si": r"Training errors \((\S+) meV/atom, (\S+) eV/Å\)",
}


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def section(name: str) -> str:
    """Of a potential, as one line."""
    return " ".join(page("models.md").split(f"\n## {name}\n")[1].split("\n## ")[0].split())


def rounds_to(value: float, text: str) -> bool:
    return abs(value - float(text)) <= 0.5001 * 10.0 ** -len(text.partition(".")[2])


def errors_of(name: str) -> dict:
    return read_info(find_model(name)).training["errors"]


@pytest.mark.parametrize("name", NAMES)
def test_kept_errors_are_those_in_the_file(name):
    kept = json.loads((ROOT / "docs" / "models" / name / "errors.json").read_text())
    for part, stated in errors_of(name).items():
        assert {key: value for key, value in kept[part].items() if key != "groups"} == stated


@pytest.mark.parametrize("name", [name for name in TEXTS if name in NAMES])
def test_errors_on_training_and_validation_frames(name):
    (texts,) = re.findall(TEXTS[name], section(name))
    errors = errors_of(name)
    expected = [
        errors[part][key] for part in ("training", "validation") for key in ("energy_rmse", "forces_rmse")
    ]
    for value, text, factor in zip(expected, texts, (1e3, 1.0, 1e3, 1.0), strict=False):
        assert rounds_to(factor * value, text.rstrip(",.")), text


@pytest.mark.skipif("pet-si" not in NAMES, reason="pet-si is not in the package")
def test_mean_absolute_errors():
    (texts,) = re.findall(r"Mean absolute errors are (\S+) meV/atom and (\S+) eV/Å\. ", section("pet-si"))
    errors = errors_of("pet-si")["test"]
    assert rounds_to(1e3 * errors["energy_mae"], texts[0]) and rounds_to(errors["forces_mae"], texts[1])


@pytest.mark.parametrize("name", NAMES)
def test_epochs_parameters_and_hours_are_those_of_the_file(name):
    """Whatever of these a section states."""
    training, text = read_info(find_model(name)).training, section(name)
    for found in re.findall(r"with (\d+) parameters", text) + re.findall(r"and (\d+) parameters", text):
        assert int(found) == training["parameters"]
    for found in re.findall(r"\.toml`,(?: that of `pet-si` with)? (\d+) epochs", text):
        assert int(found) == training["epochs"]
    for found in re.findall(r"Training took ([\d.]+) hours", text):
        assert rounds_to(training["hours"], found)
    for found in re.findall(r"(\d+) minutes beside other work", text):
        assert abs(60 * training["hours"] - int(found)) <= 0.6


@pytest.mark.parametrize("name", [f"snnp-{symbol}" for symbol in CRYSTALS if f"snnp-{symbol}" in NAMES])
def test_lattice_constants_and_energies_of_atoms_alone(name):
    """A parabola through energies around the stated constant; the atom alone in float64."""
    symbol = name.split("-")[1]
    found = re.search(r"has its lowest energy at (\S+) Å, (\S+) eV below atoms alone", section(name))
    calculator = MLIPCalculator(name, device="cpu", dtype="float64")
    lengths = float(found[1]) + np.linspace(-0.01, 0.01, 9)
    energies = []
    for length in lengths:
        crystal = bulk(symbol.capitalize(), CRYSTALS[symbol], a=length, cubic=True)
        energies.append(calculator.get_potential_energy(crystal) / len(crystal))
    curve = np.poly1d(np.polyfit(lengths, energies, 2))
    lowest = float(curve.deriv().roots[0])
    assert rounds_to(lowest, found[1])
    depth = calculator.get_potential_energy(Atoms(symbol.capitalize())) - curve(lowest)
    assert rounds_to(depth, found[2])
    (texts,) = re.findall(
        r"lie (\S+) \(Si\), (\S+) \(Ge\) and (\S+) eV \(Mo\) below", " ".join(page("snnp.md").split())
    )
    assert rounds_to(depth, texts[("si", "ge", "mo").index(symbol)])


@pytest.mark.parametrize("name", [f"snnp-{symbol}" for symbol in CRYSTALS if f"snnp-{symbol}" in NAMES])
def test_hot_crystals_stay_whole(name):
    pattern = r"(\d+) atoms stay whole for (\S+) ps with a Langevin thermostat at (\d+) K"
    ((count, length, kelvin),) = re.findall(pattern, section(name))
    symbol = name.split("-")[1]
    constant = float(re.search(r"has its lowest energy at (\S+) Å", section(name))[1])
    atoms = bulk(symbol.capitalize(), CRYSTALS[symbol], a=constant, cubic=True)
    atoms = atoms.repeat(round((int(count) / len(atoms)) ** (1 / 3)))
    assert len(atoms) == int(count)
    calculator = MLIPCalculator(name, device="cpu")
    thermostat = Thermostat("langevin", float(kelvin))
    time = float(length) * 1000.0 * units.fs
    found = md_stability(
        atoms, calculator, temperature_K=float(kelvin), thermostat=thermostat, time=time, replicas=1
    )
    assert found.stable, found.replicas[0].failure
    assert found.mean_temperature == pytest.approx(float(kelvin), rel=0.15)


@pytest.mark.skipif("snnp-si" not in NAMES, reason="snnp-si is not in the package")
@pytest.mark.filterwarnings("ignore:.*are extrapolated")
def test_two_atoms_repel_each_other_below_the_stated_distance():
    (stated,) = re.findall(r"two atoms repel each other at all distances below (\S+) Å", section("snnp-si"))
    calculator = MLIPCalculator("snnp-si", device="cpu", dtype="float64")
    distances = np.append(np.arange(0.3, float(stated), 0.02), [float(stated) - 5e-3, float(stated) + 1.5e-2])
    dimers = [Atoms("Si2", positions=[[0, 0, 0], [0, 0, r]]) for r in distances]
    pushes = [found["forces"][1, 2] for found in calculator.evaluate(dimers, ["forces"])]
    assert min(pushes[:-1]) > 0.0 > pushes[-1]


def test_results_of_least_squares_and_of_the_shipped_files_stand_on_the_page_of_snnps():
    rows = [line.split("|")[1:-1] for line in page("snnp.md").splitlines() if line.startswith("|")]
    (fits,) = [row[1:] for row in rows if "least squares, φ and 8 angular filters" in row[0]]
    (shipped,) = [row[1:] for row in rows if "[snnp-si](models.md#snnp-si)" in row[0]]
    for element, fit, file in zip(("Si", "Ge", "Mo"), fits, shipped, strict=True):
        stored = ROOT / "benchmarks" / "results" / f"snnp-fits-{element}.json"
        if stored.exists():
            result = json.loads(stored.read_text())["results"]["φ, 8 angular"]
            for value, text in zip((result["energy"], result["forces"]), fit.split(","), strict=True):
                assert rounds_to(value, text.strip())
        if f"snnp-{element.lower()}" in NAMES:
            errors = errors_of(f"snnp-{element.lower()}")["test"]
            values = (1e3 * errors["energy_rmse"], errors["forces_rmse"])
            for value, text in zip(values, file.split(","), strict=True):
                assert rounds_to(value, text.strip())


@pytest.mark.skipif("pet-si" not in NAMES, reason="pet-si is not in the package")
def test_what_rotations_change_in_the_first_test_frame():
    """Rotated by hand, in float64: the largest change of the energy per atom and of a force component."""
    atoms = read(ROOT / "tests" / "files" / "mlearn" / "Si.xyz", 0)
    calculator = MLIPCalculator("pet-si", device="cpu", dtype="float64")
    energies, forces = [], []
    for matrix in Rotation.create_group("O").as_matrix():
        rotated = atoms.copy()
        rotated.set_cell(atoms.cell.array @ matrix.T)
        rotated.positions = atoms.positions @ matrix.T
        rotated.calc = calculator
        energies.append(rotated.get_potential_energy() / len(atoms))
        forces.append(rotated.get_forces() @ matrix)
    (texts,) = re.findall(
        r"cube: energy (\S+) meV/atom, forces (\S+) eV/Å at most, of (\S+)\. ", section("pet-si")
    )
    assert rounds_to(1e3 * np.abs(np.array(energies) - energies[0]).max(), texts[0])
    assert rounds_to(np.abs(np.array(forces) - forces[0]).max(), texts[1])
    assert rounds_to(np.abs(forces[0]).max(), texts[2])
