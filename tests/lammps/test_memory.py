"""Long runs leak nothing."""

import subprocess
import threading
from pathlib import Path

import pytest
from harness import Case
from structures import slab

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
    """20 000 steps in which atoms rain on a slab and as many are taken away."""
    atoms = slab()
    top = atoms.positions[:, 2].max()
    case = Case(atoms, pair=models.pair("one"), every=STEPS)
    case.fixes = (
        "group crystal union all\n"
        f"region above block 0 {atoms.cell[0, 0]} 0 {atoms.cell[1, 1]} {top + 1.8} {top + 3.2}\n"
        "region everywhere block INF INF INF INF INF INF\n"
        "fix rain all deposit 1000 1 20 4711 region above near 1.2 vz -5 -5\n"
        f"fix out all evaporate 20 1 everywhere 99\n"
        "fix move all nve/limit 0.05\nfix cool all langevin 300 300 0.05 7\n"
        "neigh_modify every 1 delay 0 check yes\nthermo_modify lost ignore"
    )
    case.commands = f"thermo_modify lost ignore\nrun {STEPS}"
    case.write(tmp_path)
    count = "variable at equal step\nfix count all print 100 '@ $(v_at:%d)' screen no file steps.txt\n"
    script = case.script().replace("thermo_modify format", f"{count}thermo_modify format")
    (tmp_path / "in.lammps").write_text(script)
    command = [lammps.program, "-in", "in.lammps", "-screen", "none"]
    process = subprocess.Popen(command, cwd=tmp_path, env=lammps.environment)
    samples: list[tuple[int, int]] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.5):
            lines = (
                (tmp_path / "steps.txt").read_text().splitlines() if (tmp_path / "steps.txt").exists() else []
            )
            step = int(lines[-1].split()[1]) if lines and lines[-1].startswith("@") else 0
            samples.append((step, resident(process.pid)))

    thread = threading.Thread(target=watch)
    thread.start()
    status = process.wait(timeout=1800)
    ended.set()
    thread.join()
    assert status == 0, (tmp_path / "log.lammps").read_text()[-2000:]
    early = max(memory for step, memory in samples if step <= STEPS // 4)
    late = max(memory for step, memory in samples if step > 3 * STEPS // 4)
    assert late <= 1.01 * early, (early, late)
