"""What an s-NNP has learned, drawn: its filters φ, ρ, f and g, and how its energy answers to each feature."""

from __future__ import annotations

from dataclasses import dataclass, field

import matplotlib
import numpy as np
import torch
from ase.data import chemical_symbols
from matplotlib.figure import Figure

from ..calculators.diagnostics.visited import Coverage
from ..errors import ModelFileError
from ..model_file.model import Model
from ..model_file.self_test import make_graph, make_structure
from .plots import STYLE

_POINTS = 400


@dataclass
class Curve:
    """One spline: ``x`` in Å or as a cosine, ``y`` in eV for φ, else in the units of the features."""

    label: str
    x: np.ndarray
    y: np.ndarray


@dataclass
class Filters:
    """All splines of a potential, and its energy with one feature changed at a time.

    ``response`` has ``x`` as a multiple of the feature's mean in the model's self-test structure and ``y``
    in eV, relative to x = 1. ``unvisited`` has the knot intervals of each kind without any training data, as
    the file says: beginning and end, in the unit of ``x``.
    """

    name: str
    phi: list[Curve] = field(default_factory=list)
    rho: list[Curve] = field(default_factory=list)
    f: list[Curve] = field(default_factory=list)
    g: list[Curve] = field(default_factory=list)
    response: list[Curve] = field(default_factory=list)
    unvisited: dict[str, list[tuple[float, float]]] = field(default_factory=dict)


def read_filters(model: Model) -> Filters:
    """The filters of a loaded s-NNP on the CPU.

    Raises
    ------
    ModelFileError
        the file holds another kind of network
    """
    network = model.module.network.network
    if not all(hasattr(network, name) for name in ("phi", "rho", "f", "g", "pair_cases")):
        kind = model.info.architecture.get("name", "another network")
        raise ModelFileError(f"`{model.path}` holds {kind}; only an s-NNP has filters to draw")
    species = network.types.cpu()
    symbols = [chemical_symbols[int((species == t).nonzero()[0])] for t in range(int(species.max()) + 1)]
    filters = Filters(model.info.name)
    tables = {
        "phi": network.pair_cases,
        "rho": network.radial_cases,
        "f": network.radial_cases,
        "g": network.angle_cases,
    }
    with torch.no_grad():
        for name, cases in tables.items():
            setattr(filters, name, _curves(getattr(network, name), cases, symbols, name == "g"))
        if network.n_features > 0:
            filters.response = _responses(network, model, symbols)
    coverage = Coverage.of(model.info)
    for name, kind in (("phi", "radial"), ("rho", "radial"), ("f", "angular"), ("g", "angle")):
        if coverage is not None:
            visited = getattr(coverage, kind).flatten(0, -2).any(dim=0)
            missing = (~visited[1:]).nonzero().flatten().tolist()
            filters.unvisited[name] = [coverage.grids[kind].ends(k + 1) for k in missing]
    return filters


def _curves(bank, cases: torch.Tensor, symbols: list[str], angular: bool) -> list[Curve]:
    found = []
    dtype = bank.coefficients.dtype
    for case in range(bank.coefficients.shape[0] if bank.coefficients.shape[1] > 0 else 0):
        origin, step, count = bank.grid[case].tolist()
        x = torch.linspace(origin, origin + step * count, _POINTS, dtype=torch.float64)
        y = bank(x.to(dtype), torch.full((_POINTS,), case, dtype=torch.int64)).double()
        served = "-".join(symbols[t] for t in (cases == case).nonzero()[0].tolist())
        several = len(symbols) > 1
        for channel in range(y.shape[1]):
            label = f"{channel + 1} {served}" if several else f"{channel + 1}"
            found.append(Curve(label, x.numpy(), y[:, channel].numpy()))
    return found


def _responses(network, model: Model, symbols: list[str]) -> list[Curve]:
    species, edge_index, vectors, _ = make_graph(make_structure(model.info), model.info)
    types = network.types[species]
    vectors = vectors.to(network.phi.coefficients.dtype)
    lengths = vectors.norm(dim=1)
    centres, neighbours = types[edge_index[0]], types[edge_index[1]]
    features = network._features(types, edge_index[0], centres, neighbours, vectors, lengths)
    found = []
    factors = torch.linspace(0.0, 2.0, 81, dtype=features.dtype)
    for t, symbol in enumerate(symbols):
        if not bool((types == t).any()):
            continue
        mean = features[types == t].mean(dim=0)
        for d in range(features.shape[1]):
            changed = mean.repeat(len(factors), 1)
            changed[:, d] *= factors
            energies = network._read(torch.full((len(factors),), t), changed) * network.energy_scale
            label = f"{d + 1} {symbol}" if len(symbols) > 1 else f"{d + 1}"
            y = (energies - energies[len(factors) // 2]).double().numpy()
            found.append(Curve(label, factors.double().numpy(), y))
    return found


def plot_filters(filters: Filters) -> Figure:
    """One panel for each kind of spline and one for the response; grey where there were no training data."""
    panels = [
        ("phi", r"pair term $\phi$ (eV)", "distance (Å)"),
        ("rho", r"radial filters $\rho$", "distance (Å)"),
        ("f", r"radial parts $f$ of the angular filters", "distance (Å)"),
        ("g", r"angular parts $g$", r"$\cos\theta$"),
        ("response", "energy (eV) with one feature changed", "feature / its mean"),
    ]
    panels = [panel for panel in panels if getattr(filters, panel[0])]
    with matplotlib.rc_context(STYLE):
        columns = min(3, len(panels))
        rows = -(-len(panels) // columns)
        figure = Figure(figsize=(4.3 * columns, 3.3 * rows), layout="constrained")
        axes = np.atleast_1d(figure.subplots(rows, columns)).flatten()
        for axis, (name, title, label) in zip(axes, panels, strict=False):
            for curve in getattr(filters, name):
                axis.plot(curve.x, curve.y, label=curve.label, lw=1.2)
            axis.axhline(0.0, color="0.7", lw=0.6, zorder=0)
            for low, high in filters.unvisited.get(name, []):
                axis.axvspan(low, high, color="0.9", lw=0, zorder=-1)
            axis.set(title=title, xlabel=label)
            axis.locator_params(axis="x", nbins=6)
            curves = len(getattr(filters, name))
            if 1 < curves <= 12:
                axis.legend(ncols=2, fontsize=7)
            if name == "phi":
                axis.set_ylim(*_window(filters.phi))
        for axis in axes[len(panels) :]:
            axis.set_axis_off()
        figure.suptitle(filters.name)
    return figure


def _window(curves: list[Curve]) -> tuple[float, float]:
    """Limits that leave out the wall: of what is beyond the first fifth of the distances."""
    outer = np.concatenate([curve.y[len(curve.y) // 5 :] for curve in curves])
    low, high = float(outer.min()), float(outer.max())
    margin = 0.1 * max(high - low, 1e-6)
    return low - margin, high + margin
