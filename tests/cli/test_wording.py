"""Messages name arguments as Python has them; a command names its options."""

import ast
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

import ase_mlip
from ase_mlip.cli.program import main
from ase_mlip.cli.wording import OTHER_NAMES, in_options

PACKAGE = Path(ase_mlip.__file__).parent
# Arguments with a value in messages that no command can meet: it never passes them, or passes what is right
OF_PYTHON_ALONE = {"kernel", "leverage", "symmetry", "trajectory"}


@pytest.mark.parametrize(
    ("command", "message", "expected"),
    [
        ("phonons", "or go on with `allow_unrelaxed=True`", "or go on with --allow-unrelaxed"),
        ("relax", "allow it with `check_lattice=False`", "allow it with --no-check-lattice"),
        ("relax", "use `forces='conservative'`", "use --forces conservative"),
        ("relax", '`smax=0.1` needs a cell, got `cell=False`', "--smax 0.1 needs a cell, got --cell none"),
        ("relax", '`relax(cell="shape")` needs a crystal', "--cell shape needs a crystal"),
        ("relax", "`forces` must be finite, `relax` failed", "`forces` must be finite, `relax` failed"),
        ("relax", "`keep_space_group=None`, now `fmax=0.1`", "no --keep-space-group, now --fmax 0.1"),
        ("phonons", "`supercell=[2, 2, 2]`, now `supercell=None`", "--supercell 2 2 2, now no --supercell"),
        ("elastic", "`dtype=None`, now `dtype='float32'`", "no --dtype, now --dtype float32"),
        ("md", "`thermostat='none'`, now `temperature=300.0`", "--thermostat none, now --temperature 300"),
        ("conductivity", "`temperature=[300.0]`, now `temperature=[300.0, 512.5]`",
         "--temperature 300, now --temperature 300 --temperature 512.5"),
        ("symmetry", "`symmetrize=[]`, now `symmetrize=['none', 'lebedev 5']`",
         "no --symmetrize, now --symmetrize none --symmetrize lebedev:5"),
        ("validate", "`structures=['a', 'b']`, now `structures=['c']`", "STRUCTURES a b, now STRUCTURES c"),
        ("validate", "`temperature_K=300.0`, now `dtype=None`", "--temperature 300, now no --dtype"),
        ("elastic", "other settings: another `structure`", "other settings: another STRUCTURE"),
        ("validate", "other settings: another `structure`", "other settings: another STRUCTURES"),
        ("phonons", "below 0.05 eV/Å (`max_residual`), got 1", "below 0.05 eV/Å, got 1"),
        ("phonons", "a larger one (`min_length`)", "a larger one (--min-length)"),
        ("conductivity", "a larger one (`min_length`) shows it", "a larger one shows it"),
        ("phonons", "relax it first (`ase_mlip.relax`), or", "relax it first, or"),
        ("phonons", "`supercell_matrix` or `min_length`", "--supercell or --min-length"),
        ("design", "`pool`: expected `pick`", "POOL: expected --pick"),
        ("rotations", "`symmetrize`: unknown scheme", "SCHEME: unknown scheme"),
        ("evaluate", "`atoms` holds Cu", "the structure holds Cu"),
        ("evaluate", "a reference `energy` or `forces`", "a reference `energy` or `forces`"),
    ],
)  # fmt: skip
def test_a_command_names_its_options(command, message, expected):
    assert in_options(message, main.commands[command]) == expected


def test_a_file_that_is_called_as_an_option_keeps_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    missing = CliRunner().invoke(main, ["elastic", "snnp-si", "strains"])
    assert missing.exit_code != 0 and "strains" in missing.output and "--strains" not in missing.output
    assert in_options("no file in `run`", main.commands["train"]) == "no file in `run`"


def texts(tree):
    """Strings of a module but for docstrings, those with values in their place."""
    inside = {part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            inside.add(node.value)
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(p.value if isinstance(p, ast.Constant) else "{}" for p in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in inside:
            yield node.value


def test_what_a_message_gives_a_value_is_an_option_or_never_met_by_a_command():
    options = {
        option.removeprefix("--").replace("-", "_")
        for command in main.commands.values()
        for parameter in command.params
        for option in parameter.opts
    }
    named = set()
    for file in PACKAGE.rglob("*.py"):
        for text in texts(ast.parse(file.read_text(encoding="utf-8"))):
            named |= set(re.findall(r"`(?:\w+\()?(\w+)=[^`]*`", text))
            assert not re.search(r"(?<![`\w(])\w+=(?:True|False)\b(?!\)?`)", text), f"{file.name}: {text}"
    assert named - options - OTHER_NAMES.keys() <= OF_PYTHON_ALONE
