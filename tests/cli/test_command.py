"""What every command does alike: options that are given twice or wrongly, and Ctrl-C.

It also tests `values`.
"""

import os
import signal
import subprocess
import sys

import click
import pytest
from ase.build import bulk
from ase.io import write
from click.testing import CliRunner

from ase_mlip.cli import program as cli
from ase_mlip.cli.command import Command


def invoke(line):
    return CliRunner().invoke(cli.main, line.split())


def single():
    """Command and option, of all that take one value, or a fixed number, and are no flags."""
    for name, command in cli.main.commands.items():
        for option in command.params:
            if isinstance(option, click.Option) and not (option.multiple or option.is_flag):
                yield name, option


def words(option: click.Option, kind: int) -> list[str]:
    """Two values of an option that its type takes, of those that are tried in turn."""
    if isinstance(option.type, click.Choice):
        return [option.type.choices[kind]]
    tried = {"text": "ab", "path": "ab", "device": ("cpu", "cuda")}.get(option.type.name, "46")
    word = tried[kind] if option.type.name != "float" else ("0.002", "0.004")[kind]
    return [word] * option.nargs


def test_every_command_is_of_the_kind_that_refuses():
    assert all(isinstance(command, Command) for command in cli.main.commands.values())


@pytest.mark.parametrize(("command", "option"), [pytest.param(c, o, id=f"{c} {o.name}") for c, o in single()])
def test_an_option_of_one_value_is_given_once(command, option):
    """Under every spelling; both values are named, and nothing is done."""
    name = max(option.opts, key=len)
    first, second = words(option, 0), words(option, 1)
    found = CliRunner().invoke(cli.main, [command, option.opts[0], *first, option.opts[-1], *second])
    assert found.exit_code == 2 and found.stdout == "", found.output
    both = f"{' '.join(first)} and {' '.join(second)}"
    assert f"Invalid value for {name}: expected it once, got it 2 times: {both}; leave one" in " ".join(
        found.stderr.split()
    )


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("phonons m s --supercell 2 --supercell 3", "--supercell: expected 3 values, A B C, got 1: 2"),
        ("phonons m s --supercell --mesh 2 2 2", "--supercell: expected 3 values, A B C, got 0"),
        (
            "phonons m s --mesh 2 2 2 --relax --no-relax",
            "--relax: expected one of --relax and --no-relax, got",
        ),
        ("relax m s -o a --output b -o c", "--output: expected it once, got it 3 times: a, b and c"),
        ("relax m s --fmax=0.1 --fmax 0.2", "--fmax: expected it once, got it 2 times: 0.1 and 0.2"),
        ("lammps --lmp a -in x --lmp b", "--lmp: expected it once, got it 2 times: a and b"),
    ],
)
def test_what_is_said_of_options_that_contradict(line, text):
    found = invoke(line)
    assert found.exit_code == 2 and text in " ".join(found.stderr.split()), found.output


@pytest.mark.parametrize(
    "line",
    [
        "relax no-such-model s --json --json",
        "symmetry no-such-model s --symmetrize octahedral --symmetrize none",
        "relax no-such-model s -- --fmax --fmax",
    ],
)
def test_what_may_be_repeated_is(line):
    assert "`no-such-model` not found" in invoke(line).stderr


def test_help_is_given_whatever_else():
    found = invoke("relax --fmax 1 --fmax 2 --help")
    assert found.exit_code == 0 and "Usage" in found.stdout


# ---- what tired users type ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("relax m s --fmax 0,01", "Invalid value for '--fmax': expected a number, got '0,01'; write 0.01"),
        (
            "md m s --temperature 300K",
            "Invalid value for '--temperature': expected a number, got '300K'; the unit",
        ),
        (
            "md m s --time 1ps",
            "'--time': expected a number, got '1ps'; the unit is in the help: leave it out",
        ),
        ("md m s --replicas two", "'--replicas': expected a whole number, got 'two'"),
        ("md m s --replicas 2.5", "'--replicas': expected a whole number, got '2.5'"),
        ("elastic m s --strains x", "'--strains': expected a whole number, got 'x'"),
        ("phonons m s --supercell 2", "--supercell: expected 3 values: A B C"),
        ("phonons m s --supercell 2x2x2", "--supercell: expected 3 values: A B C"),
        ("md m s --repeat 2", "--repeat: expected 3 values: A B C"),
        ("relax m s --fmax", "Option '--fmax' requires an argument."),
        ("relax m s -fmax 0.01", "No such option: -fmax; long options have two dashes: --fmax"),
        ("relax m s -o taken", "'-o' / '--output': expected a folder, got the file `taken`"),
        ("design s --pick 1 -o taken", "-o: expected a folder, got the file `taken`"),
    ],
)
def test_a_slip_of_the_pen_is_answered_with_what_to_write(line, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("mine")
    found = invoke(line)
    assert found.exit_code == 2 and text in " ".join(found.stderr.split()), found.output


# ---- Ctrl-C ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("relax snnp-si s.extxyz -o out", "the same command goes on with what is finished, in out"),
        (
            "relax snnp-si s.extxyz",
            "nothing is kept; with -o FOLDER, the same command goes on where it was ended",
        ),
        ("phonons snnp-si s.extxyz", "the same command goes on with what is finished, in phonons"),
        ("train run.toml", "the same command goes on after the last finished epoch"),
        ("stabilize run.toml --resume", "the same command goes on after the last finished epoch"),
        ("check snnp-si", "nothing is kept; the same command starts again"),
        ("demo -o out", "nothing is kept; the same command starts again"),
    ],
)
def test_an_interrupt_is_a_sentence_and_status_130(line, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = cli.main.commands[line.split()[0]]

    def interrupted(**_):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "callback", interrupted)
    found = invoke(line)
    assert (found.exit_code, found.stdout) == (130, "")
    assert found.stderr.startswith(f"interrupted: {text}") and found.stderr.count("\n") == 1


def test_what_numpy_makes_of_an_interrupt_is_one(monkeypatch):
    """Its `tofile` turns one into a TypeError."""

    def interrupted(**_):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise TypeError("expected str, bytes or os.PathLike object, not BufferedRandom") from None

    monkeypatch.setattr(cli.main.commands["doctor"], "callback", interrupted)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        found = invoke("doctor")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, handler)
    assert (found.exit_code, found.stdout) == (130, "") and found.stderr.startswith("interrupted: ")


def test_an_interrupt_before_a_command_begins_has_status_130_too(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Command, "parse_args", interrupted)
    found = invoke("doctor")
    assert (found.exit_code, found.stdout, found.stderr) == (130, "", "interrupted: nothing was begun\n")


def test_an_interrupt_of_the_shell_ends_a_command_with_130(tmp_path):
    """A real SIGINT to a process; what was finished is there."""
    atoms = bulk("Si", cubic=True) * (2, 2, 2)
    atoms.rattle(0.1, seed=0)
    write(tmp_path / "s.extxyz", atoms)
    line = [
        sys.executable,
        "-m",
        "ase_mlip",
        "relax",
        "snnp-si",
        "s.extxyz",
        "--fmax",
        "1e-12",
        "--steps",
        "100000",
    ]
    # a shell's background jobs, as of a test in one, ignore interrupts
    hear = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
    program = subprocess.Popen([*line, "-o", "out"], cwd=tmp_path, stderr=subprocess.PIPE, text=True, **hear)
    try:
        while not (list(tmp_path.glob("out/trajectories/*.traj")) or program.poll() is not None):
            os.sched_yield()
        program.send_signal(signal.SIGINT)
        said = program.communicate(timeout=60)[1]
    finally:
        program.kill()
    assert program.returncode == 130, said
    assert said.splitlines()[-1] == "interrupted: the same command goes on with what is finished, in out"
    assert "Traceback" not in said and "Aborted" not in said


# ---- what is no failure ------------------------------------------------------------------------------------


def test_a_training_whose_dynamics_is_unstable_has_status_0(tmp_path, monkeypatch):
    """As docs/commands.md says: the potential was made, and the verdict is printed."""
    from ase_mlip.training import train

    def trained(*_, **__):
        (tmp_path / "dynamics.json").write_text('{"verdict": "UNSTABLE: 4 of 4 replicas failed"}')
        return tmp_path / "a.pt"

    monkeypatch.setattr(train, "train", trained)
    found = invoke("train run.toml")
    assert found.exit_code == 0 and "UNSTABLE" in found.stdout
