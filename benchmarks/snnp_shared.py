"""One set of filters for Si, Ge and Mo, a network for each: what it costs, and what it gives for Cu and Ni.

    python benchmarks/snnp_shared.py                                # trains what is missing, ten minutes
    python benchmarks/snnp_shared.py --loss huber --epochs 100      # another recipe; no picture

Numbers go to benchmarks/results/snnp-shared.json (snnp-shared-huber-100.json), the picture to
docs/snnp_filters.png.

All networks have 8 radial and 8 angular filters, no pair term (which would be shared, too), 24 hidden units
and a random start. Errors are those on mlearn's test files, which decide nothing. Cu and Ni have test files
only: half of their frames train what sits on frozen filters, errors are those of the other half.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import snnp_studies as studies
import torch

from ase_mlip.voigt import symmetric

ELEMENTS = {"Si": 14, "Ge": 32, "Mo": 42}
TRANSFER = {"Cu": 29, "Ni": 28}
MODEL = {"pair": False, "radial_filters": 8, "angular_filters": 8}
RANDOM = {"linear_start": 0.0, "learning_rate": 1e-2}
EPOCHS = 60
LOSS = "mse"
TRANSFER_EPOCHS = 30  # on frozen filters
OUTPUT = studies.ROOT / "docs" / "snnp_filters.png"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of every training but on frozen filters")
    parser.add_argument("--loss", choices=("mse", "huber"), default=LOSS, help="of these trainings")
    studies.add_output(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    usual = (options.loss, options.epochs) == (LOSS, EPOCHS)
    recipe = "" if usual else f"-{options.loss}-{options.epochs}"
    folders = train_all(options.loss, options.epochs, recipe)
    store = studies.Store(studies.RUNS / f"shared{recipe}.json")
    for element, number in ELEMENTS.items():
        for name in ("shared", element):
            row = f"{element}, {'shared' if name == 'shared' else 'separate'}"
            folder = folders[name]
            store.get(row, lambda f=folder, e=element, z=number: tested(f, e, z, False))
            store.get(f"{row}, constant fitted", lambda f=folder, e=element, z=number: tested(f, e, z, True))
    transfer(store, native(folders["shared"])[0])
    for name, (energy, forces) in store.rows.items():
        print(f"{name:44s} {energy:6.1f} meV/atom  {forces:.3f} eV/Å")
    rows = {name: {"energy": energy, "forces": forces} for name, (energy, forces) in store.rows.items()}
    studies.publish(f"shared{recipe}", rows, options.output)
    if usual:
        plot(folders["shared"])


def train_all(loss: str, epochs: int, recipe: str) -> dict[str, Path]:
    """The folder of each element's own training and of the shared one."""
    optimizer = {**RANDOM, "epochs": epochs}

    def trained(name: str, elements: list[str], **model) -> Path:
        return studies.trained(f"{name}{recipe}", elements, optimizer, loss, **MODEL, **model)

    found = {element: trained(f"separate-{element}", [element]) for element in ELEMENTS}
    return {**found, "shared": trained("shared", list(ELEMENTS), filters="shared")}


def transfer(store: studies.Store, shared: torch.nn.Module) -> None:
    """Copper and nickel on the filters of ``shared``, on random ones and on their own."""
    for element in TRANSFER:
        for title, source in (("shared", shared), ("random", None)):
            store.get(f"{element}, weights on {title} filters", lambda s=source, e=element: weights(s, e)[0])
        store.get(f"{element}, network on shared filters", lambda e=element: network(shared, e))
        store.get(f"{element}, φ and 8 angular filters by least squares", lambda e=element: least_squares(e))


def native(folder: Path):
    from ase_mlip.training.export import load_native

    return load_native(folder / "best.safetensors")


def tested(folder: Path, element: str, number: int, shift: bool) -> tuple[float, float]:
    """Errors on the test file, if wanted with the constant that fits the training data best."""
    found, energies = native(folder)
    if shift:
        energies[number] = studies.constant(found, studies.load(element, "training", found.cutoff), number)
    data = studies.load(element, "test", found.cutoff)
    return studies.residual_errors(found, data, {number: energies[number]})


def halves(element: str):
    """Two halves of an element's test file, split within the groups."""
    from ase_mlip.data.training_data import DataConfig, load_data

    path = str(studies.DATA / f"{element}_test.xyz")
    return load_data(DataConfig(path, validation_fraction=0.5, split_seed=1, group_key="group"), studies.ROOT)


def weights(source: torch.nn.Module | None, element: str) -> tuple[tuple[float, float], np.ndarray]:
    """One weight for each feature and a constant by least squares: errors, and these numbers.

    The filters are those of ``source``, else random ones.
    """
    from ase_mlip.data.batches import GraphDataset
    from ase_mlip.model_file.potential import Potential
    from ase_mlip.networks.snnp.hypers import SNNPHypers
    from ase_mlip.networks.snnp.snnp import SNNP
    from ase_mlip.training import linear_fit

    torch.manual_seed(1)
    hypers = SNNPHypers(species=[TRANSFER[element]], **{**studies.MODEL, **MODEL, "hidden": []})
    linear = SNNP(hypers).double().eval().requires_grad_(False)
    if source is not None:
        take_filters(linear, source)
    split = halves(element)
    data, held_out = GraphDataset(split.train, linear.cutoff), GraphDataset(split.validation, linear.cutoff)
    batch, potential = data.collate(range(len(data))), Potential(linear, {})
    columns = []
    for k in range(linear.n_features):
        linear.skip.zero_()
        linear.skip[0, k] = 1.0
        columns.append(answers(potential, batch))
    columns.append(counts(batch, TRANSFER[element]))
    matrix, right = (
        np.stack(columns, axis=1),
        flat(batch, batch.energies, batch.forces, batch.stresses),
    )
    scale = row_weights(batch, 100.0, 1.0, 100.0)
    names = [str(k) for k in range(len(columns))]
    nothing = np.zeros((len(names), len(names)))
    solution, _ = linear_fit._solve(matrix * scale[:, None], right * scale, names, 1e-10, nothing)
    linear.skip.copy_(torch.from_numpy(solution[:-1])[None])
    return studies.residual_errors(linear, held_out, {TRANSFER[element]: float(solution[-1])}), solution


def answers(potential, batch) -> np.ndarray:
    """What a potential says of a batch, in the order of :func:`flat`."""
    none = torch.zeros(0, 3, 3, dtype=torch.float64)
    results = potential(
        *(batch.species, batch.edge_index, batch.edge_vectors, batch.reverse_edges, batch.node_weights),
        *(batch.structure, batch.n_structures, {}),
        *(none, none[:, 0, 0], 0, ["forces", "virial"]),
    )
    virials = results["virial"]
    stresses = -symmetric(virials) / batch.volumes[:, None, None]
    return flat(batch, results["energy"], results["forces"], stresses)


def counts(batch, number: int) -> np.ndarray:
    """What a constant of one eV for the atoms of an element gives."""
    own = (batch.species == number).double()
    energies = torch.zeros_like(batch.energies).index_add(0, batch.structure, own)
    return flat(batch, energies, torch.zeros_like(batch.forces), torch.zeros_like(batch.stresses))


def flat(batch, energies, forces, stresses) -> np.ndarray:
    """Energies per atom, then forces, then stresses of all structures of a batch."""
    return torch.cat([energies / batch.n_atoms, forces.flatten(), stresses.flatten()]).numpy()


def row_weights(batch, energy: float, forces: float, stress: float) -> np.ndarray:
    """Zero where a reference is missing."""
    masks = [m.double() for m in (batch.energy_mask, batch.forces_mask, batch.stress_mask)]
    weighted = [energy * masks[0], forces * masks[1].repeat_interleave(3)]
    return torch.cat([*weighted, stress * masks[2].repeat_interleave(9)]).numpy()


def network(source: torch.nn.Module, element: str) -> tuple[float, float]:
    """A network trained on frozen filters, from these weights; the last average, so no frame chooses it."""
    from ase_mlip.building import _ops
    from ase_mlip.configuration.run import LossConfig, OptimizerConfig, RunConfig, SNNPHypers
    from ase_mlip.data.batches import GraphDataset
    from ase_mlip.data.training_data import DataConfig
    from ase_mlip.training.train import Run

    _ops.load()
    optimizer = {**studies.OPTIMIZER, "epochs": TRANSFER_EPOCHS, "learning_rate": 2e-3, "rotate": False}
    config = RunConfig(
        name="transfer",
        output=".",
        data=DataConfig(""),
        model=SNNPHypers(**{**studies.MODEL, **MODEL}),
        loss=LossConfig(**studies.LOSS),
        optimizer=OptimizerConfig(**optimizer),
        seed=1,
    )
    split = halves(element)
    _, solution = weights(source, element)
    run = Run(config, split, torch.device("cpu"))
    take_filters(run.network, source)
    with torch.no_grad():
        run.network.skip.copy_(torch.from_numpy(solution[:-1])[None] / run.network.energy_scale)
        run.network.networks.last.weight.mul_(1e-2)  # features are large: the network starts small
    run.baseline[TRANSFER[element]] = run.table[TRANSFER[element]] = float(solution[-1])
    for bank in (run.network.rho, run.network.f, run.network.g):
        bank.requires_grad_(False)
    run.state.average = [p.detach().clone() for p in run.network.parameters()]
    for _ in range(TRANSFER_EPOCHS):
        run.epoch()
    with run.averaged_weights():
        held_out = GraphDataset(split.validation, run.network.cutoff)
        return studies.residual_errors(run.network, held_out, run.baseline)


def least_squares(element: str) -> tuple[float, float]:
    """Splines of its own: φ and g of 8 angular filters by least squares, for comparison."""
    from ase_mlip.building import _ops
    from ase_mlip.data.baseline import composition_baseline
    from ase_mlip.data.batches import GraphDataset
    from ase_mlip.networks.snnp.hypers import SNNPHypers
    from ase_mlip.networks.snnp.snnp import SNNP
    from ase_mlip.training.linear_fit import fit_linear

    _ops.load()
    torch.manual_seed(1)
    number, split = TRANSFER[element], halves(element)
    hypers = {**studies.MODEL, "radial_filters": 0, "angular_filters": 8, "hidden": []}
    own = SNNP(SNNPHypers(species=[number], **hypers))
    energies = composition_baseline(split.train)
    fit = fit_linear(own, GraphDataset(split.train, own.cutoff), energies, ridge=1e-10, curvature=1e-6)
    held_out = GraphDataset(split.validation, own.cutoff)
    return studies.residual_errors(own, held_out, {number: energies[number] + fit.constants[number]})


def take_filters(target, source) -> None:
    """The first splines of every bank; those of a network with shared filters serve all elements."""
    with torch.no_grad():
        for name in ("rho", "f", "g"):
            getattr(target, name).coefficients.copy_(getattr(source, name).coefficients[:1])


def plot(folder: Path) -> None:
    from matplotlib.figure import Figure
    from PIL import Image

    from ase_mlip import load_model
    from ase_mlip.pictures.filters import read_filters

    rows = {name: name for name in ("snnp-si", "snnp-ge", "snnp-mo")}
    rows["shared by Si, Ge, Mo"] = str(folder / "shared.pt")
    figure = Figure(figsize=(10, 8.4), layout="constrained")
    axes = figure.subplots(len(rows), 4, sharex="col")
    titles = {"phi": r"$\phi$ (eV)", "rho": r"$\rho$", "f": r"$f$", "g": r"$g$"}
    for line, (title, path) in zip(axes, rows.items(), strict=True):
        filters = read_filters(load_model(path, device="cpu"))
        for axis, (name, label) in zip(line, titles.items(), strict=True):
            for curve in getattr(filters, name):
                axis.plot(curve.x, curve.y, lw=0.9)
            axis.axhline(0.0, color="0.7", lw=0.5, zorder=0)
            axis.tick_params(labelsize=7)
            if name == "phi":
                axis.set(ylabel=title, ylim=(-2, 4))
            if not getattr(filters, name):
                axis.text(0.5, 0.6, "none", ha="center", transform=axis.transAxes, color="0.5")
            if title == "snnp-si":
                axis.set_title(label, fontsize=10)
    for axis, label in zip(axes[-1], (*["distance (Å)"] * 3, r"$\cos\theta$"), strict=True):
        axis.set_xlabel(label, fontsize=9)
    figure.savefig(OUTPUT, dpi=80)
    with Image.open(OUTPUT) as image:
        smaller = image.convert("RGB").quantize(48)
    smaller.save(OUTPUT, optimize=True)


if __name__ == "__main__":
    main()
