"""Wrong command lines and files: exit status, a line that names the cause, no traceback, in one process."""

import re
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import write
from click.testing import CliRunner
from model_files import bad_file
from optional_packages import HAS_PHONO3PY
from toy import AnisotropicNetwork, PairNetwork, export_toy
from wrong_inputs import (
    MODEL_COMMANDS,
    MODELS,
    NOT_OF_THE_LINE,
    NUMBERS,
    OF_FILES,
    OTHERS,
    OUTPUTS,
    REFERENCES,
    RUN,
    STRUCTURES,
    TOMLS,
    WITH_STRUCTURE,
)

from ase_mlip import design
from ase_mlip.cli import program as cli

CPU_SECONDS = 60  # of all
EACH = 10  # before a command counts as one that started its work
# Arguments of Python: `name=value`, a name with an underscore, or what is no option of any command
PYTHON = re.compile(r"=(?:True|False|None)\b|`[a-z]\w*=[^`]*`|`(?:atoms|calculator)`|`([a-z]+(?:_[a-z]+)+)`")
OUTPUTS_OF_MODELS = {"direct_forces", "direct_stresses", "direct_virials"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Files of all kinds, good and bad."""
    folder = tmp_path_factory.mktemp("wrong")
    crystal = bulk("Si", cubic=True)
    crystal.rattle(0.02, seed=0)
    write(folder / "good.xyz", crystal)
    write(folder / "molecule.xyz", molecule("Si2H6")[[0, 1]])
    copper = bulk("Cu", cubic=True)
    placeholder = Atoms("SiX", positions=[[0, 0, 0], [0, 0, 2.3]], cell=[4, 4, 5], pbc=True)
    for name, atoms in (("copper", copper), ("placeholder", placeholder)):
        atoms.info["energy"] = -1.0
        write(folder / f"{name}.xyz", atoms)
    for name, change in (("nan", np.nan), ("coinciding", 0.0)):
        wrong = crystal.copy()
        wrong.positions[1] = wrong.positions[0] + change
        write(folder / f"{name}.xyz", wrong)
    references = []
    for seed in range(6):
        frame = crystal.copy()
        frame.rattle(0.05, seed=seed)
        frame.info["energy"], frame.arrays["forces"] = -30.0 + seed, np.zeros((8, 3))
        references.append(frame)
    write(folder / "references.xyz", references)
    for frame in references[::2]:
        frame.info["group"] = "even"
    write(folder / "grouped.xyz", references)
    (folder / "none.xyz").write_text("0\n\n")
    random = np.random.default_rng(0).bytes(400)
    for name in ("binary.xyz", "binary.cif"):
        (folder / name).write_bytes(random)
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + random)
    (folder / "document.json").write_text('{"energy": [1, 2], "name": "x"}')
    (folder / "words").write_text("pair_style mlip\n")
    (folder / "text.cif").write_text("data_\nloop_\n_cell_length_a five\n")
    (folder / "empty.xyz").write_bytes(b"")
    (folder / "folder").mkdir()
    (folder / "folder.png").mkdir()
    (folder / "folder.xyz").mkdir()
    (folder / "good.toml").write_text(RUN)
    design(folder / "references.xyz", 3, output=folder / "designed")
    export_toy(folder / "model.pt", PairNetwork([8, 14], 4.0))
    export_toy(folder / "direct.pt", AnisotropicNetwork([8, 14], 4.0, direct=True))
    for kind in ("empty", "text", "truncated", "pickle", "zip"):
        bad_file(kind, folder / "model.pt", folder)
    return folder


@pytest.fixture(scope="module", autouse=True)
def limit():
    """On one core; CPU time, as other programs may run beside."""
    started = time.process_time()
    yield
    assert time.process_time() - started < CPU_SECONDS


@pytest.fixture
def refused(folder, monkeypatch):
    """Run a command line in that folder, and look at how it ends."""
    monkeypatch.chdir(folder)
    signal.signal(signal.SIGPROF, _too_long)
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}

    def run(arguments: list[str], named: str, status: int | None = None) -> None:
        signal.setitimer(signal.ITIMER_PROF, EACH)
        result = CliRunner().invoke(cli.main, arguments)
        signal.setitimer(signal.ITIMER_PROF, 0)
        shown = f"{' '.join(arguments)}\n{result.output}"
        assert isinstance(result.exception, SystemExit), f"{shown}\n{result.exception!r}"
        assert result.exit_code in ((1, 2) if status is None else (status,)), shown
        if arguments[0] != "train":  # which names keys of its TOML file
            python = {found[0] for found in PYTHON.finditer(result.output)}
            assert {name for name in python if name.strip("`") not in OUTPUTS_OF_MODELS} == set(), shown
        assert "Traceback" not in result.output and "site-packages" not in result.output, shown
        found = re.search(r"^(Error: |failed: |\S+: failed: ).*", result.output, re.MULTILINE | re.DOTALL)
        assert found, shown
        assert re.search(named, found.group()), f"{shown}\nexpected {named}"
        assert max(map(len, found.group().splitlines())) < 1000, shown
        assert all(path.read_bytes() == content for path, content in before.items()), shown

    yield run
    for path in folder.glob("out*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


class TooLong(BaseException):
    """No error that a command may translate."""


def _too_long(*_) -> None:
    raise TooLong


def words(command: str, model: str = "model.pt", structure: str = "good.xyz") -> list[str]:
    replaced = {"MODEL": model, "good.xyz": structure}
    return [replaced.get(word, word) for word in MODEL_COMMANDS[command]]


def cases(table: dict) -> list:
    return [
        pytest.param(*key, value, id=f"{' '.join(key)} {value}")
        for key, values in table.items()
        for value in values
    ]


@pytest.fixture(autouse=True)
def what_needs_phono3py(request):
    """The command names the missing package before it looks at anything."""
    values = getattr(request.node, "callspec", None)
    named = [str(value) for value in values.params.values()] if values else []
    if not HAS_PHONO3PY and any(value.startswith("conductivity") for value in named):
        pytest.skip("phono3py is not installed")


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("command", MODEL_COMMANDS)
def test_models(refused, command, model):
    refused(words(command, model), re.escape(model), 1)


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("command", WITH_STRUCTURE)
def test_structures(refused, command, structure):
    refused(words(command, structure=structure), re.escape(structure.partition(".")[0]), 1)


@pytest.mark.parametrize(("command", "option", "value"), cases(NUMBERS))
def test_options(refused, command, option, value):
    named = value.removeprefix("file ")  # of a file that cannot be read
    values = (
        value.split() if option in ("--supercell", "--phonon-supercell", "--repeat", "--mesh") else [value]
    )
    status = 1 if (command, option, value) in NOT_OF_THE_LINE else 2
    refused([*words(command), option, *values], rf"{option}|{re.escape(named or option)}", status)


@pytest.mark.parametrize(("command", "option", "value"), cases(REFERENCES))
def test_other_inputs(refused, command, option, value):
    refused([*words(command), option, value], re.escape(value.partition(".")[0]), 1)


@pytest.mark.parametrize(("command", "option", "value"), cases(OUTPUTS))
def test_outputs(refused, command, option, value):
    model = "snnp-si" if command == "plot-filters" else "model.pt"
    refused([*words(command, model), option, value], re.escape(value.partition("/")[0]))


@pytest.mark.parametrize(("line", "named"), OTHERS)
def test_other_command_lines(refused, line, named):
    refused(line.split(), named, 2)


@pytest.mark.parametrize(("line", "named"), OF_FILES)
def test_command_lines_that_other_files_would_make_right(refused, line, named):
    refused(line.split(), named, 1)


def test_each_command_is_refused_for_its_line_alone():
    lines = [line.split()[0] for line, _ in OTHERS] + [command for command, _ in NUMBERS]
    assert {*lines} >= cli.main.commands.keys() - {
        "plot-filters"
    }  # which takes nothing that can be senseless


@pytest.mark.parametrize("kind", TOMLS)
def test_training_runs(refused, folder, kind):
    old, new, named = TOMLS[kind]
    assert old in RUN
    (folder / "out.toml").write_text(RUN.replace(old, new))
    refused(["train", "out.toml"], named, 1)
