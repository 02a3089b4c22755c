"""Calls in processes of their own: how many at once, and that nothing outlives its caller."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ase_mlip.report.processes import run_in_processes
from tests.worker_cases import children, hear_interrupts, leave, note

PROGRAM = [sys.executable, Path(__file__).parents[1] / "worker_cases.py"]


def wait_until(condition, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(number: int) -> bool:
    """Whether a process runs; one that has ended and is not yet waited for does not."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


SCRIPT = """
import sys
from pathlib import Path
from ase.build import bulk
from ase_mlip import validate
from ase_mlip.report.validate_steps import Settings

with open("starts", "a") as starts:
    print("start", file=starts)
settings = Settings(mesh=2, phonon_length=5.0, orientations=2, time=0.01, replicas=1, seconds=0.0)
found = validate("snnp-si", {"diamond": bulk("Si")}, output="out", settings=settings)
assert found.passed, found.structures
"""


def test_a_script_without_a_guard_validates_and_runs_once(tmp_path):
    """As most are: its lines stand at the top, not under `if __name__ == "__main__"`."""
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "starts").read_text().split() == ["start"]


def test_all_are_done_and_failures_are_told_by_their_status(tmp_path, monkeypatch):
    monkeypatch.setattr("ase_mlip.report.processes.TICK", 0.0)
    seen, most = {}, []
    calls = {name: (tmp_path, name, status) for name, status in (("a", 0), ("b", 3), ("c", 0))}
    run_in_processes(leave, calls, 2, seen.__setitem__, lambda: most.append(len(children())))
    assert seen == {"a": 0, "b": 3, "c": 0}
    assert max(most) <= 2
    numbers = {path.read_text() for path in tmp_path.iterdir()}
    assert len(numbers) == 3 and str(os.getpid()) not in numbers


def test_a_call_larger_than_a_pipe_holds_arrives(tmp_path):
    seen = {}
    run_in_processes(note, {"a": (tmp_path, "a", 0.0), "b": ("x" * 10**6, "b")}, 2, seen.__setitem__)
    assert seen == {"a": 0, "b": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_an_error_of_the_caller_ends_them(tmp_path):
    def stop():
        if len(list(tmp_path.iterdir())) == 2:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        run_in_processes(note, {name: (tmp_path, name) for name in "abc"}, 2, lambda *_: None, stop)
    assert not children()
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to see other processes")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_signal_leaves_a_process_behind(tmp_path, sent):
    """An interrupt goes to all processes of a terminal, as here; the others to the caller only."""
    program = subprocess.Popen(
        [*PROGRAM, tmp_path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=hear_interrupts,
    )
    files = [tmp_path / "a", tmp_path / "b"]
    wait_until(lambda: all(file.is_file() and file.read_text() for file in files))
    numbers = [int(file.read_text()) for file in files]
    assert all(map(is_alive, numbers))
    if sent == signal.SIGINT:
        os.killpg(program.pid, sent)
    else:
        os.kill(program.pid, sent)
    output, errors = program.communicate(timeout=60)
    assert program.returncode != 0 and output == ""
    wait_until(lambda: not any(map(is_alive, numbers)))
    assert not (tmp_path / "c").exists()
    assert errors.count("KeyboardInterrupt") == (sent == signal.SIGINT)
