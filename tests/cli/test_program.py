"""The command line: what it prints, its exit status, how it fails, and that it starts at once.

It also tests `common`, `models.check`, `models.export`, `models.info`, `models.rotations`,
`models.train`.
"""

import json
import re
import subprocess
import sys
import time

import click
import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from click.testing import CliRunner

from ase_mlip.cli import program as cli
from ase_mlip.errors import BuildError, MLIPError


def invoke(*arguments):
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


@pytest.fixture
def structure_path(tmp_path):
    positions = np.random.default_rng(0).uniform(0, 0.4, (8, 3))
    positions += 2.4 * np.array([[i, j, k] for i in range(2) for j in range(2) for k in range(2)])
    write(tmp_path / "a.extxyz", Atoms("Si4O4", positions=positions, cell=[4.8, 4.9, 5.0], pbc=True))
    return tmp_path / "a.extxyz"


def test_help_is_immediate_and_imports_nothing_heavy():
    code = (
        "import sys; from ase_mlip.cli.program import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'ase', 'numpy', 'matplotlib', 'phonopy', 'vesin', 'scipy'} & sys.modules.keys()\n"
        "assert not heavy, heavy"
    )
    durations = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        durations.append(time.perf_counter() - start)
    for command in (
        "build",
        "check",
        "demo",
        "design",
        "doctor",
        "evaluate",
        "info",
        "lammps",
        "stabilize",
        "symmetry",
        "train",
    ):
        assert f"\n  {command} " in done.stdout
    assert "..." not in done.stdout.partition("Commands:")[2], "a description is cut"
    assert min(durations) < 1.0  # 0.1 s on an idle machine


@pytest.mark.parametrize("module", ["ase_mlip", "ase_mlip.cli"])
def test_the_program_is_a_module_too(module):
    done = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("Usage: ase-mlip ")


def test_every_command_has_help():
    for name in cli.main.commands:
        result = invoke(name, "--help")
        assert result.exit_code == 0
        assert "Usage" in result.output


def test_info_names_what_matters(anisotropic_model_path):
    from ase_mlip.model_file.info import read_info

    result = invoke("info", anisotropic_model_path)
    assert result.exit_code == 0
    for text in (
        "toy-AnisotropicNetwork",
        "O Si",
        "4 Å",
        "float32",
        "direct_forces",
        "BSD-3-Clause",
        f"ase_mlip v{read_info(anisotropic_model_path).operators['ase_mlip']}",
    ):
        assert text in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 110 or str(anisotropic_model_path) in result.stdout


def test_info_json_is_the_document(anisotropic_model_path):
    from ase_mlip.model_file.info import ModelInfo, read_info

    result = invoke("info", anisotropic_model_path, "--json")
    assert ModelInfo(**json.loads(result.stdout)) == read_info(anisotropic_model_path)


def test_info_shows_the_errors_a_training_recorded(tmp_path):
    from toy import export_toy

    errors = {"test": {"energy_rmse": 0.0031, "forces_rmse": 0.0912, "stress_rmse": None, "structures": 5}}
    export_toy(tmp_path / "a.pt", training={"errors": errors, "functional": "PBE"})
    result = invoke("info", tmp_path / "a.pt")
    assert re.search(r"^errors, test +RMSE energy 3.10 meV/atom, forces 0.0912 eV/Å$", result.stdout, re.M)
    assert re.search(r"^training, functional +PBE$", result.stdout, re.M)


@pytest.mark.parametrize("command", ["info", "check", "evaluate"])
def test_unknown_model_is_one_line_on_stderr(command, structure_path):
    result = invoke(command, "no-such-model", *([structure_path] if command == "evaluate" else []))
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert "`no-such-model` not found" in result.stderr


def test_bad_model_file_is_one_line_on_stderr(tmp_path):
    (tmp_path / "bad.pt").write_bytes(b"PK\x03\x04 and no more")
    result = invoke("info", tmp_path / "bad.pt")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1
    assert f"`{tmp_path / 'bad.pt'}` is truncated" in result.stderr


@pytest.mark.parametrize(
    ("error", "printed"),
    [
        (MLIPError("first\n  second"), "Error: first second\n"),
        (BuildError("no compiler\noutput"), "Error: no compiler\noutput\n"),
        (PermissionError(13, "Permission denied", "/x"), "Error: `/x`: permission denied\n"),
        (OSError(28, "No space left on device"), "Error: No space left on device\n"),
    ],
)
def test_errors_the_user_can_mend_lose_their_traceback(error, printed):
    @click.command()
    def failing():
        raise error

    group = cli.Commands("group", commands={"failing": failing})
    result = CliRunner().invoke(group, ["failing"])
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", printed)


def test_unexpected_errors_keep_their_traceback():
    @click.command()
    def failing():
        raise KeyError("a bug")

    group = cli.Commands("group", commands={"failing": failing})
    assert isinstance(CliRunner().invoke(group, ["failing"]).exception, KeyError)


def test_check_passes_on_a_sound_model(pair_model_path, structure_path):
    result = invoke("check", pair_model_path, structure_path)
    assert result.exit_code == 0, result.output
    assert "passed" in result.stdout.splitlines()[-1]
    document = json.loads(invoke("check", pair_model_path, structure_path, "--json").stdout)
    assert document["passed"] and all(row["passed"] in (True, None) for row in document["checks"])


def test_check_fails_on_an_untrue_claim(tmp_path, structure_path):
    """A model that claims equivariance and is not equivariant is found out."""
    from toy import AnisotropicNetwork, export_toy

    export_toy(tmp_path / "a.pt", AnisotropicNetwork([8, 14], 4.0), equivariant=True)
    result = invoke("check", tmp_path / "a.pt", structure_path)
    assert result.exit_code == 1
    assert "FAIL" in result.stdout


def test_check_refuses_a_structure_with_foreign_species(pair_model_path, tmp_path):
    write(tmp_path / "gold.extxyz", Atoms("Au2", positions=[[0, 0, 0], [0, 0, 2.5]]))
    result = invoke("check", pair_model_path, tmp_path / "gold.extxyz")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "Au" in result.stderr


def test_build_says_where_the_operators_are():
    result = invoke("build")
    assert result.exit_code == 0
    assert "operators for torch" in result.stdout


def test_train_without_its_file_is_one_line_on_stderr(tmp_path):
    result = invoke("train", tmp_path / "none.toml")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1
    assert "none.toml" in result.stderr


# ---- evaluate ----------------------------------------------------------------------------------------------


@pytest.fixture
def referenced_path(tmp_path, pair_model_path):
    """Two frames whose references are the model's own results, except for known shifts."""
    from ase_mlip import MLIPCalculator

    calculator = MLIPCalculator(pair_model_path, device="cpu", dtype="float64")
    frames = []
    for shift, group in ((0.0, "as computed"), (0.8, "shifted")):
        atoms = Atoms(
            "Si4O4", positions=2.4 * np.indices((2, 2, 2)).reshape(3, 8).T, cell=[5, 5, 5], pbc=True
        )
        atoms.rattle(0.1, seed=1)
        energy, forces = calculator.get_potential_energy(atoms), calculator.get_forces(atoms)
        atoms.info = {"energy": energy + shift, "group": group}
        atoms.arrays["forces"] = forces + shift
        frames.append(atoms)
    write(tmp_path / "references.extxyz", frames)
    return tmp_path / "references.extxyz"


def test_evaluate_json_has_the_promised_keys_and_the_known_errors(pair_model_path, referenced_path):
    result = invoke("evaluate", pair_model_path, referenced_path, "--json", "--dtype", "float64")
    assert result.exit_code == 0, result.output
    errors = json.loads(result.stdout)
    assert errors["energy_mae"] == pytest.approx(0.05, abs=1e-6)
    assert errors["energy_rmse"] == pytest.approx(0.1 / np.sqrt(2), abs=1e-6)
    assert errors["forces_mae"] == pytest.approx(0.4, abs=1e-6)
    assert errors["stress_rmse"] is None
    assert (errors["n_structures"], errors["n_atoms"]) == (2, 16)
    assert errors["groups"]["as computed"]["forces_rmse"] == pytest.approx(0.0, abs=1e-6)
    from ase_mlip.model_file.info import read_info

    # of which model and of what: `landscape --compare` needs to know
    assert errors["model"]["document_sha256"] == read_info(pair_model_path).document_sha256
    assert errors["files"] == [str(referenced_path)]


def test_evaluate_prints_a_table_and_writes_the_plot(pair_model_path, referenced_path, tmp_path):
    result = invoke("evaluate", pair_model_path, referenced_path, "-o", tmp_path / "out", "--plot")
    assert result.exit_code == 0, result.output
    assert "as computed" in result.stdout
    assert (tmp_path / "out" / "evaluate.png").read_bytes().startswith(b"\x89PNG")


def test_evaluate_refuses_bad_arguments_in_one_line(pair_model_path, tmp_path, structure_path):
    result = invoke("evaluate", pair_model_path, structure_path, "--plot")
    assert result.exit_code == 2
    assert "needs a folder for the picture: -o FOLDER" in result.stderr
    missing = invoke("evaluate", pair_model_path, tmp_path / "none.xyz")
    assert (missing.exit_code, missing.stderr.count("\n")) == (1, 1)
    assert "none.xyz" in missing.stderr
    without_references = invoke("evaluate", pair_model_path, structure_path)
    assert (without_references.exit_code, without_references.stderr.count("\n")) == (1, 1)
    assert "reference" in without_references.stderr


# ---- demo --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("results", "status"),
    [
        ({"seconds": {"check": 1.0, "total": 1.0}, "check": {"passed": True}}, 0),
        ({"seconds": {"check": 1.0, "total": 1.0}, "check": {"passed": False}}, 1),
        ({"seconds": {"phonons": 1.0, "total": 1.0}}, 1),
    ],
)
def test_demo_fails_when_a_step_failed(pair_model_path, tmp_path, monkeypatch, results, status):
    from ase_mlip.report import demo

    monkeypatch.setattr(demo, "run_demo", lambda output, model, quick: results)
    result = invoke("demo", "-o", tmp_path, "--model", pair_model_path)
    assert result.exit_code == status
    assert ("report.html" in result.stderr) == bool(status)


def test_json_is_alone_on_stdout_and_what_is_said_meanwhile_on_stderr(pair_model_path, tmp_path, monkeypatch):
    """Of a command whose work prints, a judgement, a command that writes one file, and one of a table."""
    from ase_mlip.report import demo

    def talkative(output, model, quick):
        print("[1/1] Relaxing")
        return {"seconds": {"total": 1.0}}

    monkeypatch.setattr(demo, "run_demo", talkative)
    result = invoke("demo", "-o", tmp_path, "--model", pair_model_path, "--json")
    assert result.exit_code == 0 and json.loads(result.stdout)["seconds"] == {"total": 1.0}
    assert "Relaxing" in result.stderr
    document = json.loads(invoke("doctor", "--json").stdout)
    assert document["passed"] and {"name", "status", "found"} <= document["findings"][0].keys()
    result = invoke("rotations", "octahedral", "-o", tmp_path / "o.txt", "--json")
    assert json.loads(result.stdout) == {
        "scheme": "octahedral",
        "rotations": 24,
        "file": str(tmp_path / "o.txt"),
    }


@pytest.mark.parametrize(
    ("command", "start"),
    [
        (["rotations", "octahedral"], b"ase_mlip rotations"),
        (["plot-filters", "snnp-si"], b"\x89PNG"),
        (["export", "--from", "model-file", "snnp-si"], b"PK"),
    ],
)
def test_a_file_that_is_there_is_refused_or_overwritten(command, start, tmp_path):
    path = tmp_path / "out.png"
    path.write_text("mine")
    assert invoke(*command, "-o", path).exit_code == 1 and path.read_text() == "mine"
    result = invoke(*command, "-o", path, "--overwrite")
    assert result.exit_code == 0 and path.read_bytes().startswith(start), result.output


def test_a_demonstration_of_another_model_is_not_replaced(
    pair_model_path, anisotropic_model_path, tmp_path, monkeypatch
):
    from ase_mlip.report import demo

    monkeypatch.setattr(demo, "run_demo", lambda output, model, quick: {"seconds": {}})
    assert invoke("demo", "-o", tmp_path, "--model", pair_model_path).exit_code == 0
    assert invoke("demo", "-o", tmp_path, "--model", pair_model_path).exit_code == 0
    result = invoke("demo", "-o", tmp_path, "--model", anisotropic_model_path)
    assert result.exit_code == 1 and "those of other settings: another --model;" in result.stderr
    assert invoke("demo", "-o", tmp_path, "--model", anisotropic_model_path, "--overwrite").exit_code == 0


@pytest.mark.parametrize("status", [0, 1])
def test_doctor_exits_with_its_verdict(monkeypatch, status):
    from ase_mlip.checks.installation import doctor

    monkeypatch.setattr(doctor, "run", lambda: status)
    assert invoke("doctor").exit_code == status
