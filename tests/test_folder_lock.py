"""Two processes never write the same output; a killed one leaves no lock; errors of file systems are said."""

import errno
import os
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from ase_mlip import folder_lock
from ase_mlip.errors import OutputInUseError
from ase_mlip.folder_lock import locked

HOLD = """
import sys, time
from ase_mlip.folder_lock import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of a folder."""
    command = [sys.executable, "-c", HOLD, tmp_path / "out"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_process_is_told_at_once_who_writes(holder, tmp_path):
    started = time.monotonic()
    message = rf"^`{tmp_path}/out` is being written by process {holder.pid} on .*; wait until it ends"
    with pytest.raises(OutputInUseError, match=message), locked(tmp_path / "out"):
        pass
    assert time.monotonic() - started < 1.0
    assert holder.poll() is None


def test_a_killed_process_leaves_no_lock(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "out" / folder_lock.NAME).exists()
    with locked(tmp_path / "out"):
        assert f"{os.getpid()} on" in (tmp_path / "out" / folder_lock.NAME).read_text()
    assert list((tmp_path / "out").iterdir()) == []


def test_the_same_process_cannot_hold_it_twice(tmp_path):
    with locked(tmp_path), pytest.raises(OutputInUseError), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_a_folder_that_stays_empty_is_not_left(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "new"):
        raise ZeroDivisionError
    assert not (tmp_path / "new").exists()
    with locked(tmp_path / "new"):
        (tmp_path / "new" / "result").write_text("")
    assert (tmp_path / "new" / "result").exists()


def test_many_processes_in_turn_never_meet(tmp_path):
    """Each holds the lock for a moment and checks that it is alone; who is refused tries again."""
    code = """
import os, sys, time
from ase_mlip.errors import OutputInUseError
from ase_mlip.folder_lock import locked
done = 0
while done < 20:
    try:
        with locked(sys.argv[1]):
            mark = os.open(sys.argv[1] + "/mark", os.O_CREAT | os.O_EXCL)
            os.close(mark)
            os.unlink(sys.argv[1] + "/mark")
            done += 1
    except OutputInUseError:
        time.sleep(0.001)
"""
    (tmp_path / "out").mkdir()
    running = [subprocess.Popen([sys.executable, "-c", code, tmp_path / "out"]) for _ in range(4)]
    assert [process.wait(60) for process in running] == [0] * 4


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_a_warning(tmp_path, monkeypatch, number):
    """As NFS without its lock service answers."""

    def refuse(descriptor, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(folder_lock.fcntl, "flock", refuse)
    warned = pytest.warns(RuntimeWarning, match="has no locks .*see that no other process writes there")
    with warned, locked(tmp_path):
        pass


def test_reading_needs_no_lock(holder, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [path.name for path in (tmp_path / "out").iterdir()] == [folder_lock.NAME]


# ---- commands --------------------------------------------------------------------------------------


COMMANDS = {
    "relax": (["relax", "{model}", "{crystal}", "-o", "{folder}/out"], "out"),
    "phonons": (["phonons", "{model}", "{crystal}", "-o", "{folder}/out"], "out/crystal"),
    "elastic": (["elastic", "{model}", "{crystal}", "-o", "{folder}/out"], "out"),
    "eos": (["eos", "{model}", "{crystal}", "-o", "{folder}/out"], "out"),
    "md": (["md", "{model}", "{crystal}", "--time", "0.01", "-o", "{folder}/out"], "out"),
    "validate": (["validate", "{model}", "{crystal}", "-o", "{folder}/out"], "out"),
    "demo": (["demo", "-o", "{folder}/out"], "out"),
    "conductivity": (["conductivity", "{model}", "{crystal}", "-o", "{folder}/out"], "out"),
    "landscape": (["landscape", "{model}", "{labelled}", "-o", "{folder}/out"], "out"),
    "design": (["design", "{labelled}", "--pick", "1", "-o", "{folder}/out"], "out"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_hold_the_lock_of_their_output(tmp_path, pair_model_path, command):
    from ase.build import bulk
    from click.testing import CliRunner

    from ase_mlip.cli.program import main

    if command == "conductivity":
        pytest.importorskip("phono3py", reason="the extra `kappa` is not installed")
    bulk("SiO", "zincblende", a=4.6).write(tmp_path / "crystal.extxyz")
    frames = []
    for seed in range(2):
        frames.append(bulk("SiO", "zincblende", a=4.6))
        frames[-1].rattle(0.05, seed=seed)
        frames[-1].calc = SinglePointCalculator(frames[-1], energy=-1.0, forces=np.zeros((2, 3)))
    write(tmp_path / "labelled.extxyz", frames)
    arguments, output = COMMANDS[command]
    known = {"model": pair_model_path, "crystal": tmp_path / "crystal.extxyz", "folder": tmp_path}
    known["labelled"] = tmp_path / "labelled.extxyz"
    with locked(tmp_path / output):
        found = CliRunner().invoke(main, [argument.format(**known) for argument in arguments])
    assert found.exit_code != 0
    assert f"`{tmp_path / output}` is being written by process {os.getpid()}" in found.output
    assert "Traceback" not in found.output


def test_two_trainings_do_not_share_a_folder(tmp_path):
    from ase_mlip.training.train import train

    (tmp_path / "run.toml").write_text(
        'name = "a"\noutput = "out"\n[data]\ntrain = "a.xyz"\n[model]\narchitecture = "snnp"\ncutoff = 4.0\n'
    )
    with locked(tmp_path / "out"), pytest.raises(OutputInUseError, match="is being written by process"):
        train(tmp_path / "run.toml", dynamics=0.0)


def test_two_stability_trainings_do_not_share_a_folder(tmp_path):
    from ase_mlip.stability_training.workflow import stabilize

    (tmp_path / "run.toml").write_text(
        'name = "a"\noutput = "out"\nmodel = "snnp-si"\n[starts]\ntrain = "a.xyz"\nvalidation = "a.xyz"\n'
        '[data]\ntrain = "a.xyz"\n[simulation]\ntemperature_K = 600.0\n'
        '[[observables]]\nkind = "distances"\nreference = "a.xyz"\n'
    )
    with locked(tmp_path / "out"), pytest.raises(OutputInUseError, match="is being written by process"):
        stabilize(tmp_path / "run.toml")
