"""The commands `phonons` and `validate` as a user calls them."""

import json
from pathlib import Path

import pytest
from ase.build import bulk, molecule
from ase.io import write
from click.testing import CliRunner

from ase_mlip.calculator import MLIPCalculator
from ase_mlip.cli import main
from ase_mlip.errors import StructureError
from ase_mlip.phonon_audit import audit_phonons
from ase_mlip.phonons import phonons

SILICON = Path(__file__).resolve().parent.parent / "examples" / "structures" / "silicon.cif"
FAST = ("--mesh", "4", "4", "4", "--path", "GX")


def run(*arguments, code=0):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Phonons of silicon with everything but a reference."""
    folder = tmp_path_factory.mktemp("phonons")
    result = run("phonons", "pet-si", SILICON, "--symmetry", "crystal", "--audit", "-o", folder, *FAST)
    (folder / "output.txt").write_text(result.output)
    return folder


def test_the_crystals_group_makes_phonons_clean(folder):
    """The optical mode at Γ is threefold with nothing imposed, for a quarter of the group's evaluations."""
    numbers = json.loads((folder / "silicon" / "phonons.json").read_text())
    assert numbers["averaging"] == "crystal m-3m"
    assert numbers["evaluations"] == 1 + 12
    assert numbers["audit"]["evaluations"] == 2 * 6 * 12
    assert numbers["audit"]["splitting"] < 1e-4
    assert max(numbers["audit"]["optical"]) - min(numbers["audit"]["optical"]) < 1e-4
    assert "Fd-3m (227), supercell of 64 atoms" in (folder / "output.txt").read_text()


def test_its_own_files_are_a_reference(folder, tmp_path):
    (tmp_path / "reference").mkdir()
    for name in ("phonopy.yaml", "FORCE_SETS"):
        (tmp_path / "reference" / name).write_bytes((folder / "silicon" / name).read_bytes())
    arguments = ("phonons", "pet-si", SILICON, "--symmetry", "crystal", "-o", tmp_path / "out", "--json")
    output = run(*arguments, "--reference", tmp_path / "reference", *FAST).stdout
    assert json.loads(output)["silicon"]["comparison"]["mean_absolute_error"] < 1e-3
    assert (tmp_path / "out" / "silicon" / "comparison.png").stat().st_size > 10_000


def test_a_failed_structure_is_reported_and_the_others_are_done(tmp_path):
    write(tmp_path / "water.xyz", molecule("H2O"))
    write(tmp_path / "germanium.cif", bulk("Ge", cubic=True))
    files = (tmp_path / "water.xyz", SILICON, tmp_path / "germanium.cif")
    options = ("--supercell", "1", "1", "1", "--dtype", "float32", "-o", tmp_path / "out", *FAST)
    with pytest.warns(UserWarning, match="less than twice the cutoff"):
        result = run("phonons", "pet-si", *files, *options, code=1)
    assert "water: failed: `phonons` needs a crystal" in result.output
    assert "germanium: failed:" in result.output
    assert "failed: water, germanium" in result.output
    assert (tmp_path / "out" / "silicon" / "phonopy.yaml").is_file()


def test_random_rotations_have_no_phonons():
    atoms = bulk("Si", cubic=True)
    atoms.calc = MLIPCalculator("pet-si", symmetrize="random 1")
    for function in (phonons, audit_phonons):
        with pytest.raises(StructureError, match=r"got `symmetrize='random 1'`"):
            function(atoms)


def test_wrong_input_is_answered_at_once(tmp_path):
    assert "no-such-model" in run("phonons", "no-such-model", SILICON, code=1).output
    assert "no-such-model" in run("validate", "no-such-model", SILICON, code=1).output
    assert "unknown scheme" in run("validate", "pet-si", SILICON, "--symmetrize", "cubic", code=1).output
    output = run("phonons", "pet-si", SILICON, "--reference", tmp_path, "-o", tmp_path, code=1).output
    assert "expected one of phonopy.yaml" in output
    assert "got both" in run(
        *("phonons", "pet-si", SILICON, "--supercell", 2, 2, 2, "--min-length", 9, "-o", tmp_path), code=1
    ).output  # fmt: skip
    file = tmp_path / "file"
    file.write_text("")
    assert run("validate", "pet-si", SILICON, "-o", file, code=2).output
