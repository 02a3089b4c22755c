"""One OpenMP run time does the work, with as many threads as the log says; a refused thread is an error."""

import glob
import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ase.build import bulk
from harness import Case

slow = pytest.mark.slow
ROOT = Path(__file__).parents[2]
CORES = len(os.sched_getaffinity(0))
BOUND = re.compile(r"binding file (\S+) \[\d+\] to (\S+) \[\d+\]: normal symbol `((?:GOMP|omp)_\w+)'")
BUSY = 0.1e9  # ns of work that a thread which only waits does not come to here
LIBRARY = """
import sys
for name in sys.argv[1].split(","):
    __import__(name)
import lammps, torch
torch.set_num_threads(3)
program = lammps.lammps(cmdargs=["-screen", "none", "-log", "none"])
program.file("in.lammps")
program.close()
assert torch.get_num_threads() == 3, torch.get_num_threads()
"""
CALCULATOR = """
from ase.build import bulk
from ase_mlip import MLIPCalculator
atoms = bulk("Si", cubic=True)
atoms.calc = MLIPCalculator("pet-si", device="cpu")
atoms.get_forces()
"""


def silicon(pair: str, cells: int, commands: str) -> Case:
    atoms = bulk("Si", cubic=True).repeat(cells)
    atoms.rattle(0.05, seed=1)
    return Case(atoms, pair=pair, fixes="fix move all nve", commands=commands)


def pair(model: str, options: str = "") -> str:
    return f"pair_style mlip device cpu {options}\npair_coeff * * {model} Si"


# ---- bindings ----------------------------------------------------------------------------------------------


def openmp_bindings(command, folder, environment) -> set[tuple[str, str, str]]:
    """Who got which symbol of OpenMP from which file, as the loader tells it."""
    variables = {**environment, "LD_DEBUG": "bindings", "LD_DEBUG_OUTPUT": str(folder / "loader")}
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    text = "".join(Path(path).read_text(errors="replace") for path in glob.glob(f"{folder}/loader.*"))
    found = {(Path(user).name, os.path.realpath(file), name) for user, file, name in BOUND.findall(text)}
    return {(user, file, name) for user, file, name in found if re.match(r"lib(torch|lammps|mlip|ase)", user)}


def check_bindings(found: set[tuple[str, str, str]], lammps: bool = True) -> None:
    users = {user for user, _, _ in found}
    assert any(user.startswith("libtorch") for user in users)
    assert any(user.startswith("liblammps") for user in users) == lammps
    assert not any(user.startswith(("libase_mlip", "libmlip")) for user in users)  # libtorch works for them
    files = {file for _, file, _ in found}
    assert len(files) == 1, sorted(found)


@pytest.mark.skipif(sys.platform != "linux", reason="LD_DEBUG is glibc's")
@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=slow)])
def test_lmp_has_one_openmp_run_time(parallel, tmp_path, ranks):
    case = silicon(pair("pet-si"), 2, "run 0")
    case.write(tmp_path)
    (tmp_path / "in.lammps").write_text(case.script())
    command = [parallel.mpirun, "-np", str(ranks)] if ranks > 1 else []
    command += [parallel.program, "-in", "in.lammps", "-pk", "omp", "2"]
    check_bindings(openmp_bindings(command, tmp_path, parallel.environment))


@pytest.mark.skipif(sys.platform != "linux", reason="LD_DEBUG is glibc's")
@pytest.mark.parametrize("order", ["torch,lammps", pytest.param("lammps,torch", marks=slow)])
def test_lammps_and_torch_in_python_share_one_openmp_run_time(parallel, tmp_path, order):
    """Whichever is imported first. The number of torch's threads is as before afterwards."""
    case = silicon(pair("pet-si"), 1, "run 0")
    case.write(tmp_path)
    (tmp_path / "in.lammps").write_text(case.script())
    command = [sys.executable, "-c", LIBRARY, order]
    check_bindings(openmp_bindings(command, tmp_path, {**parallel.environment, "OMP_NUM_THREADS": "2"}))


@slow
def test_the_calculator_has_one_openmp_run_time(lammps, tmp_path):
    environment = {**lammps.environment, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"}
    found = openmp_bindings([sys.executable, "-c", CALCULATOR], tmp_path, environment)
    check_bindings(found, lammps=False)


# ---- threads that work -------------------------------------------------------------------------------------


def work_of_threads(program: str, folder: Path) -> dict[int, dict[int, int]]:
    """For each process of ``program`` in ``folder``, what each thread has worked, ns."""
    found: dict[int, dict[int, int]] = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "cwd") != str(folder) or os.readlink(process / "exe") != program:
                continue
            for task in (process / "task").iterdir():
                work = int((task / "schedstat").read_text().split()[0])
                found.setdefault(int(process.name), {})[int(task.name)] = work
        except (OSError, ValueError):
            continue  # it has ended meanwhile
    return found


def watched(command, folder: Path, environment) -> tuple[str, list[int]]:
    """What a run printed, and for each rank how many threads worked."""
    program = os.path.realpath(command[command.index("-in") - 1])
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    work: dict[int, dict[int, int]] = {}
    while process.poll() is None:
        for pid, threads in work_of_threads(program, folder.resolve()).items():
            work.setdefault(pid, {}).update(threads)
        time.sleep(0.02)
    text = process.stdout.read()
    process.stdout.close()
    assert process.returncode == 0, text[-3000:]
    return text, [sum(value > BUSY for value in threads.values()) for threads in work.values()]


STARTS = {
    "by default": ({}, [], 1, CORES),
    "one": ({"OMP_NUM_THREADS": "1"}, [], 1, 1),
    "two": ({"OMP_NUM_THREADS": "2"}, [], 1, 2),
    "package omp 2": ({"OMP_NUM_THREADS": "1"}, ["-pk", "omp", "2"], 1, 2),
    "package omp 1": ({}, ["-pk", "omp", "1"], 1, 1),
    "two ranks": ({}, [], 2, max(1, CORES // 2)),
}
QUICK = ("by default", "package omp 2", "package omp 1")


@pytest.mark.skipif(
    not Path("/proc/self/schedstat").exists(), reason="the kernel does not tell threads' work"
)
@pytest.mark.parametrize(
    "start", [name if name in QUICK else pytest.param(name, marks=slow) for name in STARTS]
)
def test_as_many_threads_work_as_the_log_says(parallel, tmp_path, start):
    variables, arguments, ranks, threads = STARTS[start]
    free = {key: value for key, value in parallel.environment.items() if key != "OMP_NUM_THREADS"}
    case = silicon(pair("pet-si"), 3, "run 8")
    case.write(tmp_path)
    (tmp_path / "in.lammps").write_text(case.script())
    launcher = [parallel.mpirun, "-np", str(ranks)] if ranks > 1 else []
    command = [*launcher, parallel.program, "-in", "in.lammps", *arguments]
    patient = {"OMP_WAIT_POLICY": "passive"}  # or it takes minutes on busy cores
    text, working = watched(command, tmp_path, {**free, **patient, **variables})
    assert f" {threads} thread(s) per rank" in text
    assert working == [threads] * ranks


# ---- threads that cannot be made ---------------------------------------------------------------------------

REFUSED = "threads: expected 100 in this process, the system refused one"


def room_for_few() -> None:
    """In a child: the stacks of a dozen threads fill what the process may map, which holds for root, too. MPI
    needs one or two itself."""
    resource.setrlimit(resource.RLIMIT_STACK, (4 << 30, resource.getrlimit(resource.RLIMIT_STACK)[1]))
    resource.setrlimit(resource.RLIMIT_AS, (48 << 30, 48 << 30))


def without_room(command, folder, environment) -> subprocess.CompletedProcess:
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    if hard not in (resource.RLIM_INFINITY, -1) and hard < 4 << 30:
        pytest.skip("the stack's hard limit is lower than this test needs")
    return subprocess.run(
        command,
        cwd=folder,
        env={**environment, "OMP_NUM_THREADS": "100", "OPENBLAS_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        preexec_fn=room_for_few,
    )


@pytest.mark.parametrize("options", ["", "kernel torch"])
def test_a_thread_that_cannot_be_made_is_an_error_in_lammps(lammps, tmp_path, options):
    case = silicon(pair("snnp-si", options), 1, "run 0")
    case.write(tmp_path)
    (tmp_path / "in.lammps").write_text(case.script())
    done = without_room([lammps.program, "-in", "in.lammps"], tmp_path, lammps.environment)
    errors = " ".join(re.findall(r"^ERROR.*", done.stdout, re.MULTILINE))
    assert REFUSED in errors, done.stdout[-2000:]
    assert done.returncode > 0 and "terminate called" not in done.stdout


def test_a_thread_that_cannot_be_made_is_an_error_in_ase(lammps, tmp_path):
    environment = {**lammps.environment, "PYTHONPATH": str(ROOT)}
    # MKL bounds OMP_NUM_THREADS by the cores
    source = "import torch; torch.set_num_threads(100); print('torch is there', flush=True)\n" + CALCULATOR
    try:
        done = without_room([sys.executable, "-c", source], tmp_path, environment)
    except subprocess.TimeoutExpired as error:
        if b"torch is there" not in (error.stdout or b""):
            pytest.skip("torch itself waits for ever, as 2.7 does")
        raise
    assert done.returncode == 1 and f"MLIPError: {REFUSED}" in done.stdout, done.stdout[-2000:]


def test_native_threads_that_cannot_be_made_end_in_an_exception(tmp_path):
    """The pool of the native kernel alone, of which a few threads can be made and no more."""
    source = tmp_path / "pool.cpp"
    source.write_text(
        '#include "snnp_atoms/threads.h"\n#include <cstdio>\n#include <stdexcept>\n'
        "int main() { try { mlip::Threads pool(100); } catch (const std::runtime_error& e) "
        "{ std::puts(e.what()); return 0; } return 1; }\n"
    )
    program = tmp_path / "pool"
    from ase_mlip.building import _build

    folder = ROOT / "lammps_plugin"
    sources = [str(source), str(folder / "snnp_atoms" / "threads.cpp")]
    flags = ["-std=c++20", "-pthread", f"-I{folder}", "-o", str(program)]
    subprocess.run([_build.require_compiler(), *sources, *flags], check=True)

    done = subprocess.run([program], capture_output=True, text=True, preexec_fn=room_for_few, timeout=60)
    assert done.returncode == 0 and REFUSED in done.stdout, done
