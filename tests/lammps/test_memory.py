"""Long runs leak nothing, and large systems fit."""

import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from ase.build import bulk
from harness import Case, read_dump
from structures import diamond

pytestmark = pytest.mark.slow
STEPS = 20_000


def resident(pid: int) -> int:
    """Bytes of memory a process holds, 0 once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    found = [line for line in lines if line.startswith("VmRSS:")]
    return 1024 * int(found[0].split()[1]) if found else 0


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_memory_stays_flat_while_atoms_come_and_go(lammps, models, tmp_path):
    """20 000 steps in which an atom comes and another goes every 20 steps."""
    atoms = diamond(2, rattle=0.1)[::2]
    case = Case(atoms, pair=models.pair("morse"), every=STEPS)
    side = atoms.cell[0, 0]
    case.fixes = (
        f"region everywhere block 0 {side} 0 {side} 0 {side}\n"
        f"fix come all deposit {STEPS} 1 20 4711 region everywhere near 1.2 attempt 1000\n"
        "fix move all nve/limit 0.05\nfix cool all langevin 300 300 0.05 7\n"
        "neigh_modify every 1 delay 0 check yes"
    )
    # not fix evaporate, which beside fix deposit spoils the memory of LAMMPS 22 Jul 2025 with any pair style
    case.commands = f'run {STEPS} every 20 "delete_atoms random count 1 yes all NULL 99"'
    case.write(tmp_path)
    count = "fix count all print 100 '@ $(step:%.0f)' screen no file steps.txt\n"
    script = case.script().replace("thermo_modify format", f"{count}thermo_modify format")
    (tmp_path / "in.lammps").write_text(script)
    command = [lammps.program, "-in", "in.lammps", "-screen", "none"]
    process = subprocess.Popen(command, cwd=tmp_path, env=lammps.environment)
    samples: list[tuple[int, int]] = []
    ended = threading.Event()

    counted = tmp_path / "steps.txt"

    def watch() -> None:
        while not ended.wait(0.5):
            lines = counted.read_text().splitlines() if counted.exists() else []
            if lines and lines[-1].startswith("@"):
                samples.append((int(lines[-1].split()[1]), resident(process.pid)))

    thread = threading.Thread(target=watch)
    thread.start()
    status = process.wait(timeout=1800)
    ended.set()
    thread.join()
    assert status == 0, (tmp_path / "log.lammps").read_text()[-2000:]
    early = max(memory for step, memory in samples if step <= STEPS // 4)
    late = max(memory for step, memory in samples if step > 3 * STEPS // 4)
    assert late <= 1.01 * early, (early, late)
    ended_with = list(read_dump(tmp_path / "frames.dump", case.elements))[-1][1]
    assert abs(len(ended_with) - len(atoms)) <= 2


# Runs its arguments and prints the largest resident memory of any process among them, kB.
MEASURE = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:]).returncode
print("LARGEST", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""


def test_a_hundred_thousand_atoms_on_two_ranks(lammps, tmp_path):
    """One layer of the size of pet-si's, with random weights, within 20 GB."""
    from ase_mlip import export_model
    from ase_mlip.networks.pet.hypers import PETHypers
    from ase_mlip.networks.pet.pet import PET

    torch.manual_seed(0)
    sizes = {"d_pet": 64, "d_node": 128, "d_head": 64, "d_feedforward": 128, "num_heads": 4}
    network = PET(PETHypers(species=[14], cutoff=5.0, num_gnn_layers=1, **sizes))
    metadata = {"name": "one layer", "species": [14], "cutoff": 5.0, "message_passing_layers": 1}
    export_model(network, tmp_path / "model.pt", {**metadata, "interaction_range": 5.0})
    atoms = bulk("Si", cubic=True).repeat((24, 24, 22))
    assert len(atoms) > 100_000
    pair = f"pair_style mlip\npair_coeff * * {tmp_path / 'model.pt'} Si"
    case = Case(atoms, pair=pair, fixes="fix move all nve\ntimestep 0.001", commands="run 2", every=2)
    case.write(tmp_path)
    (tmp_path / "in.lammps").write_text(case.script())
    command = [lammps.mpirun, "-np", "2", lammps.program, "-in", "in.lammps", "-screen", "none"]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *command],
        cwd=tmp_path,
        env=lammps.environment,
        stdout=subprocess.PIPE,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stdout + (tmp_path / "log.lammps").read_text()[-2000:]
    gigabytes = 2 * int(done.stdout.split("LARGEST")[1]) / 1024**2
    print(f"two ranks take at most {gigabytes:.1f} GB for {len(atoms)} atoms")
    assert gigabytes <= 20.0


HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.mark.skipif(
    not HUGE_PAGES.exists() or "[madvise]" not in HUGE_PAGES.read_text(),
    reason="this system gives large pages to all programs, or to none",
)
def test_large_tensors_lie_on_large_pages(lammps, models, tmp_path):
    """libtorch returns large tensors to the system: each step would fault in all their pages again."""
    case = Case(diamond(8, rattle=0.1), pair=models.pair("pet-si", dtype="float32"))
    case.write(tmp_path)
    shared = {name: value for name, value in lammps.environment.items() if name != "THP_MEM_ALLOC_ENABLE"}

    def faults(steps: int, **variables: str) -> int:
        case.commands = f"run {steps}"
        (tmp_path / "in.lammps").write_text(case.script())
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt
        command = [lammps.program, "-in", "in.lammps", "-screen", "none"]
        subprocess.run(command, cwd=tmp_path, env=shared | variables, check=True, timeout=600)
        return resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt - before

    small = faults(10, THP_MEM_ALLOC_ENABLE="0") - faults(0, THP_MEM_ALLOC_ENABLE="0")
    large = faults(10) - faults(0)
    assert large < 0.5 * small, (large, small)
