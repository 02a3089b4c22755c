"""Numbers that pages print for the shipped potentials are those that the commands give."""

import re
from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.lammps import Prism
from ase.io import write
from ase.spacegroup import crystal
from click.testing import CliRunner
from doc_tables import block, lines_with_numbers, numbers, run, sentences, shows, table

from ase_mlip import MLIPCalculator, elastic_constants, equation_of_state, relax
from ase_mlip.cli.program import main

ROOT = Path(__file__).resolve().parents[1]
SILICON = ROOT / "examples" / "structures" / "silicon.cif"


def test_elastic_constants_of_pet_si():
    expected = lines_with_numbers(block("elasticity.md", "stiffness, GPa (relaxed ions"))
    found = lines_with_numbers(run("elastic", "pet-si", SILICON))
    for label in ("xx # # # # # #", "yz # # # # # #", "bulk modulus # # # GPa", "shear modulus # # # GPa"):
        assert expected[label][0] == pytest.approx(found[label][0], abs=0.05), label
    (label,) = [label for label in expected if label.startswith("Poisson")]
    assert expected[label][0] == pytest.approx(found[label][0], abs=1e-3)
    text = (ROOT / "docs" / "elasticity.md").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith("| C44, clamped ions"))
    clamped = lines_with_numbers(run("elastic", "pet-si", SILICON, "--clamped"))
    assert float(row.split("|")[2]) == pytest.approx(clamped["yz # # # # # #"][0][3], abs=0.1)


def test_equation_of_state_of_pet_si():
    text = (ROOT / "docs" / "elasticity.md").read_text(encoding="utf-8")
    stated = re.search(r"finds ([\d.]+) Å\^3/atom, ([\d.]+) GPa and a pressure derivative of ([\d.]+)", text)
    found = run("eos", "pet-si", SILICON)
    volume = re.search(r"volume ([\d.]+) Å\^3/atom", found)
    modulus = re.search(r"bulk modulus ([\d.]+) GPa, its derivative ([\d.]+)", found)
    assert float(stated[1]) == pytest.approx(float(volume[1]), abs=2e-3)
    assert float(stated[2]) == pytest.approx(float(modulus[1]), abs=0.1)
    assert float(stated[3]) == pytest.approx(float(modulus[2]), abs=0.1)


@pytest.mark.slow
def test_dynamics_of_pet_si(tmp_path):
    """Paths of single precision part after some hundred femtoseconds; averages over a picosecond do not."""
    write(tmp_path / "si.extxyz", bulk("Si", a=5.469, cubic=True))
    row = "# # # # # # # #"
    expected = lines_with_numbers(block("md_stability.md", "Si8 with pet-si: 3 x 1 ps"))[row]
    options = ["--temperature", 600, "--time", 1, "--replicas", 3, "--device", "cpu"]
    text = run("md", "pet-si", tmp_path / "si.extxyz", *options)
    found = lines_with_numbers(text)[row]
    assert text.rstrip().endswith("stable") and len(expected) == len(found) == 3
    for stated, measured in zip(expected, found, strict=True):
        _, _, temperature, slope, fluctuation, shortest, *bonds = measured
        assert stated[2] == pytest.approx(temperature, abs=5)
        assert stated[3] == pytest.approx(slope, abs=1e-3)
        assert stated[4] == pytest.approx(fluctuation, rel=0.15)
        assert stated[5] == pytest.approx(shortest, abs=0.02)
        assert bonds == [0, 0]


@pytest.mark.filterwarnings("ignore:in solids the bulk modulus")  # of a narrow range
def test_moduli_of_beta_tin_silicon():
    """docs/elasticity.md: the response to pressure is Reuss's, that to a uniform strain Voigt's."""
    (relaxed, kept) = table("elasticity.md", "equation of state", "elastic constants")
    atoms = crystal(
        "Si", [(0, 0, 0)], spacegroup=141, cellpar=[4.9, 4.9, 2.7, 90, 90, 90], primitive_cell=True
    )
    atoms.calc = calculator = MLIPCalculator("snnp-si", device="cpu", dtype="float64")
    atoms = relax(
        atoms, cell=True, keep_space_group=True, fmax=1e-5, optimizer="BFGS", check_noise=False
    ).atoms
    atoms.calc = calculator
    moduli = elastic_constants(atoms, strained_fmax=1e-5).moduli
    for row, keep_shape, modulus in ((relaxed, False, moduli.bulk_reuss), (kept, True, moduli.bulk_voigt)):
        found = equation_of_state(atoms, volume_change=0.01, keep_shape=keep_shape)
        assert float(row[1]) == pytest.approx(found.bulk_modulus, abs=0.15)
        assert float(numbers(row[2])[0]) == pytest.approx(modulus, abs=0.15)


def test_what_the_frame_of_lammps_changes():
    """docs/lammps.md on ASE's calculators for LAMMPS, whose rotation ASE's Prism knows."""
    pattern = (
        r"`pet-si` in float64 differs by (\S+) meV per atom, at most (\S+) meV/Å in a force \((\S+) eV/Å as "
        r"a root mean square\) and (\S+) GPa in a stress, and `snnp-si` by rounding"
    )
    (stated,) = re.findall(pattern, sentences("lammps.md"))
    given = bulk("Si", a=5.43).repeat(2)
    given.rattle(0.1, seed=2)
    prism = Prism(given.cell.array)
    rotated = given.copy()
    rotated.set_cell(prism.lammps_cell)
    rotated.positions = prism.vector_to_lammps(given.positions)
    found = {}
    for name in ("pet-si", "snnp-si"):
        given.calc = rotated.calc = MLIPCalculator(name, device="cpu", dtype="float64")
        energy, forces, stress = (
            given.get_potential_energy(),
            given.get_forces(),
            given.get_stress(voigt=False),
        )
        back = prism.tensor2_to_ase(rotated.get_stress(voigt=False))
        found[name] = [
            1e3 * abs(rotated.get_potential_energy() - energy) / len(given),
            1e3 * np.abs(prism.vector_to_ase(rotated.get_forces()) - forces).max(),
            np.sqrt(np.mean(forces**2)),
            np.abs(back - stress).max() / units.GPa,
        ]
    for text, value in zip(stated, found["pet-si"], strict=True):
        assert shows(text, value)
    assert max(found["snnp-si"][k] for k in (0, 1, 3)) < 1e-6


def test_a_range_of_volumes_too_wide_for_pet_si():
    pattern = r"`--volume-change 0.85` it is (\d+) %, and the volume is wrong by (\d+) %"
    ((cost, wrong),) = re.findall(pattern, sentences("elasticity.md"))
    (right,) = re.findall(r"finds ([\d.]+) Å\^3/atom", sentences("elasticity.md"))
    result = CliRunner().invoke(main, ["eos", "pet-si", str(SILICON), "--volume-change", "0.85"])
    assert f"as much as {cost} % of the volume cost" in " ".join(result.stderr.split())
    volume = float(re.search(r"volume ([\d.]+) Å\^3/atom, energy", result.stdout)[1])
    assert shows(wrong, 100.0 * (volume / float(right) - 1.0))
