"""Does every shipped potential stand the dynamics it is shipped for?

    python benchmarks/shipped_stability.py [NAME ...]           # 8 replicas x 20 ps each, through LAMMPS
    python benchmarks/shipped_stability.py --stored             # the stored results as a table

Each potential runs at the conditions that docs/models.md states for it. A replica is judged by the one
definition of unstable (`ase_mlip.dynamics.criteria`). The distribution of distances is compared with that of
the reference data at the same temperature and volume, where the data are there. The slow test
`tests/test_shipped_stability.py` asks the same.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.io import read
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # a script would find `benchmarks/lammps.py` where `lammps` is meant

from benchmarks import timing  # noqa: E402

DATA = ROOT.parent / "shared/data"
RESULTS = ROOT / "benchmarks/results/shipped-stability.json"


class DataMissing(Exception):
    """The reference data that a start or a comparison needs are not on this machine."""


@dataclass(frozen=True)
class Conditions:
    """What a potential is shipped for.

    Attributes
    ----------
    start: the first structure
    temperature_K: of the velocities at the start, K; a perfect crystal keeps about half of it
    timestep: fs
    reference: the frames of the data at the same temperature and volume; raises DataMissing
    words: the same for people
    """

    start: Callable[[], Atoms]
    temperature_K: float
    timestep: float
    reference: Callable[[], list[Atoms]]
    words: str


def crystal(symbol: str, structure: str, a: float, repeats: int) -> Callable[[], Atoms]:
    """The cubic crystal with the lattice constant ``a`` (Å) of the data, repeated along each axis."""
    return lambda: bulk(symbol, structure, a=a, cubic=True).repeat(repeats)


def snapshots(file: str, description: str) -> Callable[[], list[Atoms]]:
    """Frames of an mlearn file whose description ends with ``description``."""

    def found() -> list[Atoms]:
        frames = read(_existing(DATA / "mlearn" / file), index=":")
        return [frame for frame in frames if frame.info["description"].endswith(description)]

    return found


def water() -> list[Atoms]:
    """All frames of the water data, in the order in which they are stored."""
    sys.path.insert(0, str(ROOT / "examples/training"))
    from convert import read_deepmd

    systems = sorted(_existing(DATA / "water/data").glob("data_*"))
    return [frame for system in systems for frame in read_deepmd(system)]


def _existing(path: Path) -> Path:
    if not path.exists():
        raise DataMissing(f"the reference data `{path.name}` are not here")
    return path


SILICON = Conditions(
    crystal("Si", "diamond", 10.937456 / 2, 2), 600.0, 4.0,
    snapshots("Si_training.xyz", "normal structure at 300 K"), "diamond, 64 atoms, 20.44 Å³/atom, 300 K",
)  # fmt: skip
GERMANIUM = Conditions(
    crystal("Ge", "diamond", 11.56165 / 2, 2), 600.0, 4.0,
    snapshots("Ge_training.xyz", "normal structure at 300 K"), "diamond, 64 atoms, 24.15 Å³/atom, 300 K",
)  # fmt: skip
MOLYBDENUM = Conditions(
    crystal("Mo", "bcc", 9.450121 / 3, 3), 600.0, 4.0,
    snapshots("Mo_training.xyz", "simulation at 300 K"), "bcc, 54 atoms, 15.63 Å³/atom, 300 K",
)  # fmt: skip
WATER = Conditions(
    lambda: water()[0], 300.0, 0.5, water, "liquid, 64 molecules, 30.09 Å³ per molecule, 300 K"
)

CONDITIONS = {
    "pet-si": SILICON,
    "snnp-si": SILICON,
    "pet-ge": GERMANIUM,
    "snnp-ge": GERMANIUM,
    "pet-mo": MOLYBDENUM,
    "snnp-mo": MOLYBDENUM,
    "pet-water": WATER,
    "snnp-water": WATER,
}


def judge(name: str, model: Path, time: float = 20.0, replicas: int = 8, progress: bool = True):
    """Replicas of the potential ``name`` through LAMMPS: a :class:`ase_mlip.stability.runs.StabilityResult`.

    Parameters
    ----------
    model: its file
    time: length of a replica, ps
    """
    from ase_mlip.stability.runs import md_stability

    conditions = CONDITIONS[name]
    try:
        reference = conditions.reference()
    except DataMissing:
        reference = None
    with tqdm(total=1.0, desc=name, disable=not progress) as bar:
        return md_stability(
            conditions.start(),
            temperature_K=conditions.temperature_K,
            timestep=conditions.timestep * units.fs,
            time=time * 1000.0 * units.fs,
            replicas=replicas,
            engine="lammps",
            calculator=model,
            rdf_frames=reference,
            progress=lambda done, of, _stage: bar.update(done / of - bar.n),
        )


def summary(name: str, result) -> dict:
    """What is stored of a result."""
    noise = result.rdf_noise or {}
    return {
        "conditions": CONDITIONS[name].words,
        "timestep_fs": result.timestep,
        "time_ps": result.time,
        "replicas": len(result.replicas),
        "failed": sum(replica.failure is not None for replica in result.replicas),
        "failures": [
            {"time_ps": r.failure.time_ps, "kind": r.failure.kind, "detail": r.failure.detail}
            for r in result.replicas
            if r.failure is not None
        ],
        "mean_temperature_K": result.mean_temperature,
        "drift_meV_per_atom_ps": result.drift,
        "shortest_distance": result.min_distance,
        "rdf_error": result.rdf_error,
        "rdf_noise": {key: noise.get(key) for key in (result.rdf_error or {})},
    }


def weights_sha256(model: Path) -> str:
    """Of the tensors in a model file: an export anew with other code or claims leaves it as it was."""
    from ase_mlip.model_file.info import read_info

    members = read_info(model).members
    tensors = sorted(digest for name, digest in members.items() if name.startswith("data/"))
    return hashlib.sha256("".join(tensors).encode()).hexdigest()


def table(rows: dict[str, dict]) -> str:
    lines = [
        "| potential | conditions | step, fs | failed | T, K | drift, meV/atom/ps | g(r) error (chance), Å |",
        "|---|---|--:|--:|--:|--:|---|",
    ]
    for name, row in rows.items():
        found = row["rdf_error"] or {}
        pairs = ", ".join(
            f"{pair} {error:.3f} ({row['rdf_noise'][pair] or np.nan:.3f})"
            for pair, error in found.items()
            if pair != "all" or len(found) == 1
        )
        drift = row["drift_meV_per_atom_ps"]
        cells = [
            name,
            row["conditions"],
            f"{row['timestep_fs']:g}",
            f"{row['failed']} of {row['replicas']} x {row['time_ps']:g} ps",
            f"{row['mean_temperature_K']:.0f}",
            f"{drift:+.4f}" if drift is not None else "–",
            pairs or "no data here",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    from ase_mlip.model_file.info import find_model, read_info
    from ase_mlip.provenance import write_json

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", help=f"by default all of {', '.join(CONDITIONS)} that are shipped"
    )
    parser.add_argument("--stored", action="store_true", help="show the stored results and run nothing")
    parser.add_argument("--time", type=float, default=20.0, help="ps")
    parser.add_argument("--replicas", type=int, default=8)
    parser.add_argument("--model", help="a file that is not shipped, for one NAME")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    stored = json.loads(arguments.output.read_text()) if arguments.output.exists() else {"rows": {}}
    if not arguments.stored:
        for name in arguments.names or list(CONDITIONS):
            model = find_model(arguments.model or name)
            result = judge(name, model, arguments.time, arguments.replicas)
            row = summary(name, result) | {"model_sha256": read_info(model).document_sha256}
            row["weights_sha256"] = weights_sha256(model)
            stored["rows"][name] = row | {"run": timing.environment()}
            write_json(arguments.output, stored)
    print(table(stored["rows"]))


if __name__ == "__main__":
    main()
