"""The commands `phonons` and `validate` as a user calls them.

It also tests `validate`.
"""

import json
from pathlib import Path

import pytest
from ase.build import bulk, molecule
from ase.io import write
from click.testing import CliRunner

from ase_mlip.calculators.calculator import MLIPCalculator
from ase_mlip.cli.program import main
from ase_mlip.errors import ArgumentError, MLIPError
from ase_mlip.lattice_dynamics.audit import audit_phonons
from ase_mlip.lattice_dynamics.phonons import phonons
from ase_mlip.relaxation.relax import relax
from ase_mlip.stability.runs import md_stability

SILICON = Path(__file__).resolve().parents[3] / "examples" / "structures" / "silicon.cif"
FAST = ("--mesh", "4", "4", "4", "--path", "GX")


def run(*arguments, code=0):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Phonons of silicon with everything but a reference."""
    folder = tmp_path_factory.mktemp("phonons")
    options = ("--symmetrize", "crystal", "--audit", "--supercell", 2, 2, 2)
    result = run("phonons", "pet-si", SILICON, *options, "-o", folder, *FAST)
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
    output = (folder / "output.txt").read_text()
    assert "Fd-3m (227), supercell of 64 atoms, faces 10.95 Å apart" in output
    assert "  1 displacement, 13 evaluations," in output
    assert "lowest frequency 0.000 THz: stable" in output
    (line,) = [line for line in output.splitlines() if line.startswith("warning: ")]
    assert (
        "10.95 Å apart, less than twice the interaction range of `pet-si` (20 Å): displaced atoms feel their "
        "own images through message passing; a larger supercell" in line
    )
    assert numbers["warnings"] == [line.removeprefix("warning: ")]


def test_its_own_files_are_a_reference(folder, tmp_path):
    (tmp_path / "reference").mkdir()
    for name in ("phonopy.yaml", "FORCE_SETS"):
        (tmp_path / "reference" / name).write_bytes((folder / "silicon" / name).read_bytes())
    options = ("--symmetrize", "crystal", "--supercell", 2, 2, 2, "--json")
    arguments = ("phonons", "pet-si", SILICON, *options, "-o", tmp_path / "out")
    output = run(*arguments, "--reference", tmp_path / "reference", *FAST).stdout
    assert json.loads(output)["structures"]["silicon"]["comparison"]["mean_absolute_error"] < 1e-3
    assert (tmp_path / "out" / "silicon" / "comparison.png").stat().st_size > 10_000


def test_a_reference_of_another_crystal_is_refused_before_the_work(folder, tmp_path, monkeypatch):
    def evaluate(self, *arguments, **options):
        raise AssertionError("evaluated")

    monkeypatch.setattr(MLIPCalculator, "calculate", evaluate)
    write(tmp_path / "simple.cif", bulk("Si", "sc", a=2.6))
    arguments = ("phonons", "pet-si", tmp_path / "simple.cif", "--reference", folder / "silicon")
    output = run(*arguments, "-o", tmp_path / "out", *FAST, code=1).output
    assert "simple: failed: " in output
    assert "expected a reference with the space group of the structure, Pm-3m (221), got Fd-3m" in output
    assert not (tmp_path / "out" / "simple").exists()


def test_a_failed_structure_is_reported_and_the_others_are_done(tmp_path):
    write(tmp_path / "water.xyz", molecule("H2O"))
    write(tmp_path / "germanium.cif", bulk("Ge", cubic=True))
    files = (tmp_path / "water.xyz", SILICON, tmp_path / "germanium.cif")
    options = ("--supercell", "1", "1", "1", "--dtype", "float32", "-o", tmp_path / "out", *FAST)
    result = run("phonons", "pet-si", *files, *options, code=1)
    assert "warning: the supercell's faces are 5.47 Å apart, less than twice the cutoff of " in result.output
    assert "water: failed: `phonons` needs a crystal" in result.output
    assert "germanium: failed:" in result.output
    assert "failed: water, germanium" in result.output
    assert (tmp_path / "out" / "silicon" / "phonopy.yaml").is_file()
    document = json.loads(run("phonons", "pet-si", *files, *options, "--json", code=1).stdout)
    found = document["structures"]
    assert list(found) == ["water", "silicon", "germanium"]
    assert "needs a crystal" in found["water"]["error"] and "error" in found["germanium"]
    assert document["settings"]["dtype"] == "float32" and found["silicon"]["stable"]


@pytest.mark.parametrize("given, time", [([], 0.05), (["--time", "0.02"], 0.02), (["--time", "1"], 1.0)])
def test_a_quick_look_takes_the_time_that_is_given(given, time, tmp_path, monkeypatch):
    class Enough(Exception):
        pass

    def seen(path, info, named, output, settings, *options):
        assert settings.time == pytest.approx(time) and settings.mesh == 6
        raise Enough

    monkeypatch.setattr("ase_mlip.report.validate._validate", seen)
    with pytest.raises(Enough):
        command = ["validate", "snnp-si", str(SILICON), "--quick", *given]
        CliRunner().invoke(main, [*command, "-o", str(tmp_path / "out")], catch_exceptions=False)


def test_random_rotations_have_no_phonons():
    atoms = bulk("Si", cubic=True)
    atoms.calc = MLIPCalculator("pet-si", symmetrize="random 1")
    for function in (phonons, audit_phonons):
        with pytest.raises(ArgumentError, match=r"got `symmetrize='random 1'`"):
            function(atoms)


def test_numbers_that_make_no_sense_are_refused(tmp_path):
    atoms = bulk("Si", cubic=True)
    atoms.calc = MLIPCalculator("pet-si")
    for options in ({"distance": 0.0}, {"distance": -0.01}):
        with pytest.raises(ArgumentError, match="`distance`: expected a positive number of Å, got"):
            phonons(atoms, **options)
    for mesh in ((0, 8, 8), (2, 2), 8, (2.5, 2, 2)):
        with pytest.raises(ArgumentError, match="`mesh` must be three positive integers, .* got"):
            phonons(atoms, mesh=mesh)
    with pytest.raises(ArgumentError, match="`fmax`: expected zero or a positive number of eV/Å, got -1.0"):
        relax(atoms, fmax=-1.0)
    with pytest.raises(MLIPError, match="`temperature_K`: expected zero or a positive number"):
        md_stability(atoms, temperature_K=-5.0)


@pytest.mark.parametrize("command", ["phonons", "elastic", "eos"])
def test_broken_structures_are_named(tmp_path, command):
    """NaN would end the process in spglib; atoms at one place have no space group."""
    (tmp_path / "nan.xyz").write_text(
        '2\nLattice="5 0 0 0 5 0 0 0 5" Properties=species:S:1:pos:R:3 pbc="T T T"\nSi nan 0 0\nSi 1 1 1\n'
    )
    output = run(command, "pet-si", tmp_path / "nan.xyz", "-o", tmp_path / "a", code=1).output
    assert "NaN or infinity in the positions" in output or "expected finite numbers, got [nan" in output
    twice = bulk("Si", cubic=True)
    twice.positions[1] = twice.positions[0]
    write(tmp_path / "twice.xyz", twice)
    output = run(command, "pet-si", tmp_path / "twice.xyz", "-o", tmp_path / "b", code=1).output
    assert "are two atoms at one place?" in output or "remove duplicates or check the cell" in output


def test_wrong_input_is_answered_at_once(tmp_path):
    assert "no-such-model" in run("phonons", "no-such-model", SILICON, code=1).output
    assert "no-such-model" in run("validate", "no-such-model", SILICON, code=1).output
    assert "unknown scheme" in run("validate", "pet-si", SILICON, "--symmetrize", "cubic", code=2).output
    output = run("phonons", "pet-si", SILICON, "--reference", tmp_path, "-o", tmp_path, code=1).output
    assert "expected one of phonopy.yaml" in output
    assert "--min-length: has no meaning with --supercell" in run(
        *("phonons", "pet-si", SILICON, "--supercell", 2, 2, 2, "--min-length", 9, "-o", tmp_path), code=2
    ).output  # fmt: skip
    missing = run("elastic", "pet-si", tmp_path / "none.cif", code=1).output
    assert "nothing at" in missing and "TOML" not in missing
    (tmp_path / "text.cif").write_text("hello\n")
    assert "its reader cannot take for `cif`" in run("eos", "pet-si", tmp_path / "text.cif", code=1).output
    file = tmp_path / "file"
    file.write_text("")
    assert run("validate", "pet-si", SILICON, "-o", file, code=2).output


def test_phonons_of_other_settings_are_not_replaced(tmp_path, sw_path):
    options = ("--supercell", 1, 1, 1, "-o", tmp_path / "out", *FAST)
    run("phonons", sw_path, SILICON, *options)
    stored = tmp_path / "out" / "silicon" / "phonons.json"
    assert json.loads(stored.read_text())["settings"]["distance"] == 0.01
    before = stored.read_bytes()
    output = run("phonons", sw_path, SILICON, *options, "--distance", 0.02, code=1).output
    assert "those of other settings: --distance 0.01, now --distance 0.02; choose another folder" in output
    assert stored.read_bytes() == before
    run("phonons", sw_path, SILICON, *options, "--distance", 0.02, "--overwrite")
    assert json.loads(stored.read_text())["distance"] == 0.02


def test_the_former_option_is_answered_with_the_present_ones():
    for name, words in {
        "relax": "`fix` is --keep-space-group, `average` is --symmetrize crystal",
        "phonons": "averaging over the point group of the crystal is --symmetrize crystal",
        "elastic": "--keep-space-group (the default) keeps the space group",
        "eos": "--no-keep-space-group lets it go",
        "conductivity": "--keep-space-group (the default) keeps the space group",
    }.items():
        output = " ".join(run(name, "pet-si", SILICON, "--symmetry", "fix", code=2).output.split())
        assert "No such option: --symmetry; " in output and words in output
