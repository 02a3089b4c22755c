"""Exported checkpoints beside their families' own calculators: energy, forces and stress of the same weights.

    make test-adapters                        # builds the environments in .envs/
    .venv/bin/python benchmarks/adapters.py

Each family is measured in its own environment, ours and theirs in processes of their own that take turns.
Atoms move a little between evaluations, so that nothing is answered from a cache. `--family mace` measures
one. Where the time of a step of PET goes says `adapters_profile.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import timing
from timing import Row, interleaved, ratio, spread

WORKER = Path(__file__).resolve().with_name("adapters_worker.py")
PACKAGE = {"mace": "mace-torch", "nequip": "nequip", "sevennet": "sevenn", "pet": "metatrain"}
MILLI = 1e3
STRUCTURES = ("Si64", "Si216", "Si1000", "Cu256")
TOLERANCE = 0.05  # of a limit beside a family's own calculator


@dataclass(frozen=True)
class Kind:
    """A checkpoint: how rows name it, and the part of its own calculator's time allowed by structure."""

    family: str
    name: str
    what: str
    limits: dict[str, float]


KINDS = (
    Kind("mace", "mace", "MACE 64x0e+64x1o, 2 layers, random weights", {"Si64": 1.0, "Si1000": 0.5}),
    Kind("sevennet", "7net-0", "SevenNet-0", {"Si1000": 0.6}),
    Kind("pet", "pet", "PET, 3.07 M parameters, random weights", dict.fromkeys(STRUCTURES, 0.7)),
    Kind("pet", "pet-direct", "the same, direct forces", dict.fromkeys(STRUCTURES, 0.6)),
    Kind("nequip", "nequip", "NequIP l=1 f=32, random weights", dict.fromkeys(STRUCTURES, 1.0)),
)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", choices=sorted(PACKAGE), help="only this one; nothing is stored")
    parser.add_argument(
        "--environments", type=Path, default=timing.ROOT / ".envs", help="a folder for each family"
    )
    parser.add_argument(
        "--quick", action="store_true", help="64 atoms, few repeats; nothing judged or stored"
    )
    options = parser.parse_args(arguments)
    record = timing.environment()
    if record["load_at_start"] > 0.3:
        print(f"The machine is busy (load {record['load_at_start']}): the numbers below are unreliable.")
    kinds = [kind for kind in KINDS if options.family in (None, kind.family)]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds:
            python = options.environments / kind.family / "bin" / "python"
            if not python.is_file():
                rows.append(Row(kind.what, "×", None, note="its environment is missing: make test-adapters"))
                continue
            rows += _measure(kind, python, Path(folder), options.quick)
            record[PACKAGE[kind.family]] = _version(python, PACKAGE[kind.family])
    if options.quick:
        rows = [replace(row, sense="", limit=None) for row in rows]
    print("\n".join(f"{key}: {value}" for key, value in record.items()))
    print("\n" + timing.table(rows))
    if not options.quick and options.family is None:
        results = timing.ROOT / "benchmarks" / "results"
        path = timing.store("adapters", "Exported checkpoints beside their families", rows, record, results)
        print(f"\nstored as {path.name} and {path.stem}.json in benchmarks/results/")
    return 0


def _measure(kind: Kind, python: Path, folder: Path, quick: bool) -> list[Row]:
    """On one core and on two all structures; on one also a step of LAMMPS beside one of ASE."""
    checkpoint = _prepare(kind, python, folder)
    rows = []
    for threads in (1, 2) if timing.usable_cores() > 1 else (1,):
        for structure in ("Si64",) if quick else STRUCTURES:
            pythons = {"ours": python, "theirs": python}
            if (structure, threads) == ("Si1000", 1):
                pythons["lammps"] = Path(sys.executable)  # which has LAMMPS, and needs no family's package
            workers = {
                who: Worker(path, who, kind.name, checkpoint, structure, threads)
                for who, path in pythons.items()
            }
            title = f"{kind.name}, {structure}, {threads} thread(s)"
            try:
                values = interleaved({n: w.seconds for n, w in workers.items()}, 2 if quick else 7, 3, title)
            finally:
                for worker in workers.values():
                    worker.close()
            limit = kind.limits.get(structure)
            rows.append(
                Row(
                    f"{kind.what}: ours over its own, {structure}, {threads} thread(s)",
                    "×",
                    ratio(values["ours"], values["theirs"]),
                    "" if limit is None else "≤",
                    limit,
                    note=f"{MILLI * spread(values['ours']).median:.0f} ms",
                    tolerance=TOLERANCE,
                )
            )
            if "lammps" in values:
                step = ratio(values["lammps"], values["ours"])
                rows.append(
                    Row(f"{kind.what}: a step of LAMMPS over ours in ASE, {structure}", "×", step, "≤", 1.0)
                )
    return rows


def _prepare(kind: Kind, python: Path, folder: Path) -> Path:
    """The checkpoint and its export, ``NAME.ckpt`` and ``NAME.pt``."""
    checkpoint = folder / f"{kind.name}.ckpt"
    command = [str(python), str(WORKER), "prepare", kind.name, str(checkpoint)]
    done = subprocess.run(command, capture_output=True, text=True, env=_environment(1))
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-1000:]}{done.stderr[-3000:]}")
    return checkpoint


class Worker:
    """A process that evaluates one structure each time it is asked, and answers with the seconds."""

    def __init__(self, python: Path, who: str, name: str, checkpoint: Path, structure: str, threads: int):
        command = [str(python), str(WORKER), who, name, str(checkpoint), structure, str(threads)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(command, text=True, env=_environment(threads), **pipes)

    def seconds(self) -> float:
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("seconds "):
                return float(line.split()[1])
        raise SystemExit(self.process.stderr.read()[-3000:])

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


def _environment(threads: int) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(timing.ROOT)}


def _version(python: Path, package: str) -> str:
    code = f"import importlib.metadata, json; print(json.dumps(importlib.metadata.version({package!r})))"
    return json.loads(subprocess.run([str(python), "-c", code], capture_output=True, text=True).stdout)


if __name__ == "__main__":
    sys.exit(main())
