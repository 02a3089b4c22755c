"""What averaging leaves of a model's anisotropy, measured over orientations."""

import json
from pathlib import Path

import numpy as np
import pytest
from ase.io import read
from ase.stress import full_3x3_to_voigt_6_stress
from click.testing import CliRunner

from ase_mlip import MLIPCalculator
from ase_mlip.calculators.diagnostics.anisotropy import Anisotropy, measure, pooled, to_text
from ase_mlip.calculators.diagnostics.residual import uniform_rotations
from ase_mlip.cli.program import main
from ase_mlip.graph.neighbors import build_graph
from ase_mlip.pictures.plots import plot_anisotropy
from ase_mlip.rotations.schemes import find_averaging

STRUCTURE = Path(__file__).parents[3] / "examples" / "structures" / "silicon_rattled.xyz"


@pytest.fixture(scope="module")
def model():
    return MLIPCalculator("pet-si", dtype="float64").model


def test_plain_anisotropy_is_that_of_rotated_structures(model):
    """Oracle: the calculator on structures that are themselves rotated."""
    atoms = read(STRUCTURE)
    (row,) = measure(model, atoms, ["none"], orientations=5)
    calculator = MLIPCalculator(model)
    energies, forces = [], []
    for rotation in uniform_rotations(5):
        rotated = atoms.copy()
        rotated.set_cell(atoms.cell.array @ rotation.T)
        rotated.positions = atoms.positions @ rotation.T
        calculator.calculate(rotated)
        energies.append(calculator.results["energy"])
        forces.append(calculator.results["forces"] @ rotation)
    assert row.energy == pytest.approx(np.std(energies) / len(atoms), rel=1e-6)
    deviations = np.linalg.norm(forces - np.mean(forces, axis=0), axis=2)
    assert row.forces == pytest.approx(np.sqrt((deviations**2).mean()), rel=1e-6)
    assert row.largest_force == pytest.approx(np.sqrt((deviations**2).mean(axis=0)).max(), rel=1e-6)


def test_more_rotations_leave_less(model):
    rows = measure(model, read(STRUCTURE), ["none", "octahedral", "icosahedral"], orientations=6)
    assert [row.evaluations for row in rows] == [1, 24, 60]
    for worse, better in zip(rows, rows[1:], strict=False):
        assert better.forces < 0.5 * worse.forces
        assert better.stress < worse.stress
    assert "icosahedral" in to_text(rows)


def test_shared_rotations_are_evaluated_once(model):
    """Every scheme of the pool gives what it gives alone: the average of the model in rotated frames."""
    atoms = read(STRUCTURE)
    schemes = ["octahedral", "none", "lebedev 5", "octahedral+inversion"]
    pool, weights = pooled([find_averaging(name) for name in schemes])
    assert weights.shape == (4, len(pool)) and len(pool) < 24 + 24 + 84
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    together = measure(model, atoms, schemes, orientations=3)
    graph = build_graph(atoms, model.info.cutoff)
    for row, name in zip(together, schemes, strict=True):
        rotated = [find_averaging(name).after(rotation) for rotation in uniform_rotations(3)]
        outputs = [model(graph, ("forces", "virial"), averaging) for averaging in rotated]
        forces = np.array([output["forces"].numpy() for output in outputs])
        expected = np.sqrt(np.var(forces, axis=0).sum(axis=1).mean())
        assert row.forces == pytest.approx(expected, rel=1e-6)
        virials = np.array([output["virial"][0].numpy() for output in outputs])
        stresses = full_3x3_to_voigt_6_stress(virials) / atoms.get_volume()
        assert row.stress == pytest.approx(np.sqrt(np.var(stresses, axis=0).mean()), rel=1e-6)
        assert row.scheme == name and row.seconds > 0.0


def test_many_atoms_are_evaluated_in_parts(model, monkeypatch):
    atoms = read(STRUCTURE)
    (whole,) = measure(model, atoms, ["octahedral"], orientations=2)
    monkeypatch.setattr("ase_mlip.calculators.diagnostics.anisotropy.VALUES_AT_ONCE", 5 * len(atoms))
    (parts,) = measure(model, atoms, ["octahedral"], orientations=2)
    assert parts.forces == pytest.approx(whole.forces, rel=1e-9)


def test_command(tmp_path):
    arguments = ["symmetry", "pet-si", str(STRUCTURE), "--orientations", "3"]
    arguments += ["--symmetrize", "none", "--symmetrize", "octahedral"]
    result = CliRunner().invoke(main, [*arguments, "-o", str(tmp_path / "out"), "--plot"])
    assert result.exit_code == 0, result.output
    assert "octahedral" in result.output
    assert (tmp_path / "out" / "symmetry.png").read_bytes().startswith(b"\x89PNG")
    result = CliRunner().invoke(main, [*arguments, "--json"])
    assert "plot" not in result.stderr
    rows = json.loads(result.stdout)["structures"][STRUCTURE.stem]["rows"]
    assert [row["scheme"] for row in rows] == ["none", "octahedral"]


def test_a_crystals_group_is_a_scheme():
    """Oracle: along the cubic axes silicon's point group is the octahedral group with inversion."""
    arguments = ["symmetry", "pet-si", str(STRUCTURE), "--orientations", "2", "--json", "--dtype", "float64"]
    arguments += ["--crystal", str(STRUCTURE.with_name("silicon.cif"))]
    chosen = ["--symmetrize", "none", "--symmetrize", "octahedral+inversion"]
    result = CliRunner().invoke(main, [*arguments, *chosen])
    rows = json.loads(result.stdout)["structures"][STRUCTURE.stem]["rows"]
    assert [row["scheme"] for row in rows] == ["none", "octahedral+inversion", "crystal m-3m"]
    for name in ("energy", "forces", "stress"):
        assert rows[2][name] == pytest.approx(rows[1][name], rel=1e-6)
    result = CliRunner().invoke(main, [*arguments, "--symmetrize", "crystal", "--symmetrize", "none"])
    rows = json.loads(result.stdout)["structures"][STRUCTURE.stem]["rows"]
    assert [row["scheme"] for row in rows] == ["crystal m-3m", "none"]


def test_the_picture_shows_what_there_is():
    """Three quantities of a crystal, two of a molecule; exact zeros have no place on a logarithmic axis."""
    crystal = [
        Anisotropy("none", 1, 1e-3, 2e-3, 3e-3, 1e-4, 1.0),
        Anisotropy("octahedral", 24, 1e-4, 0.0, 0.0, 1e-5, 1.0),
    ]
    molecule = [Anisotropy("none", 1, 1e-3, 2e-3, 3e-3, None, 1.0)]
    figure = plot_anisotropy({"crystal": crystal, "molecule": molecule})
    assert [axes.get_ylabel().split(" (")[0] for axes in figure.axes] == [
        "anisotropy of the energy",
        "anisotropy of the forces",
        "anisotropy of the stress",
    ]
    assert [len(axes.lines) for axes in figure.axes] == [3, 2, 2]
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["none", "octahedral", "crystal", "molecule"]
    assert len(plot_anisotropy({"molecule": molecule}).axes) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no_such_file.xyz"], "no_such_file.xyz"),
        ([str(STRUCTURE), "--symmetrize", "cubic"], "unknown scheme 'cubic'"),
        ([str(STRUCTURE), "--schemes", "none"], "each scheme is a --symmetrize SCHEME"),
        ([str(STRUCTURE), "--crystal", "no_such_crystal.cif"], "no_such_crystal.cif"),
        ([str(STRUCTURE), "--plot"], "needs a folder for the picture"),
        ([str(STRUCTURE), "--orientations", "1"], "1 is not in the range"),
    ],
)
def test_wrong_arguments(arguments, message):
    result = CliRunner().invoke(main, ["symmetry", "pet-si", *arguments])
    assert result.exit_code != 0
    assert message in result.output
