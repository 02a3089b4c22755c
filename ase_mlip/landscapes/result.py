"""What a landscape of losses is: curves, entropies, a document, a table, a picture."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..provenance import versions
from .document import KIND, VERSION

LABELS = {
    "S_E": "S_E, of energies",
    "S_F": "S_F, of forces",
    "S": "S = 0.2 S_E + 0.8 S_F",
    "S_E_plus": "S_E of L - L(0)",
    "S_F_plus": "S_F of L - L(0)",
    "S_plus": "S+ of L - L(0)",
    "curvature_energy": "curvature of L_E² (eV/atom)²",
    "curvature_forces": "curvature of L_F² (eV/Å)²",
    "rise_energy": "rise of L_E (eV/atom)",
    "rise_forces": "rise of L_F (eV/Å)",
}


@dataclass
class Landscape:
    """Losses along lines through the weights of a model, and what they say.

    Attributes
    ----------
    model, settings : dict
        as in the document (:mod:`.document`)
    x : array
        positions along the lines, in units of the norm of the weights, [points]
    energy_losses, force_losses : array
        RMSE in eV/atom and eV/Å, [lines, points]; infinite where it overflowed
    numbers : dict of float
        entropies, mean curvature of L² at 0, and largest rise near 0, by name
    intervals : dict of tuple of float
        bootstrap over lines, (low, high) by the same names; NaN of one line
    scan : dict of list of dict
        the entropies under other kT and weights
    predictors : dict of dict
        those of :mod:`.predictors.entries` that were asked for, as the document has them
    plane : dict or None
        positions and losses of a plane, or None
    cost : dict
        seconds, evaluations and threads of this call
    notes : list of str
        what a reader has to know
    """

    model: dict
    settings: dict
    x: np.ndarray
    energy_losses: np.ndarray
    force_losses: np.ndarray
    numbers: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    scan: dict[str, list[dict]]
    plane: dict | None = None
    predictors: dict[str, dict] = field(default_factory=dict)
    cost: dict = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def S(self) -> float:
        """0.2 S_E + 0.8 S_F."""
        return self.numbers["S"]

    def to_dict(self) -> dict:
        """The document of :mod:`.document`, for JSON."""
        pairs = {key: self.numbers[key] for key in self.numbers if key.startswith("S")}
        return {
            "kind": KIND,
            "version": VERSION,
            "model": self.model,
            "settings": self.settings,
            "x": self.x,
            "energy_losses": self.energy_losses,
            "force_losses": self.force_losses,
            "entropy": pairs,
            "intervals": self.intervals,
            "curvature": {kind: self.numbers[f"curvature_{kind}"] for kind in ("energy", "forces")},
            "rise": {kind: self.numbers[f"rise_{kind}"] for kind in ("energy", "forces")}
            | {"radius": self.settings["radius"]},
            "predictors": self.predictors,
            "scan": self.scan,
            "plane": self.plane,
            "cost": self.cost,
            "notes": self.notes,
            "versions": versions(),
            "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        }

    def to_text(self) -> str:
        """An aligned table of the numbers with their intervals."""
        settings, middle = self.settings, len(self.x) // 2
        level = f"{100 * settings['confidence']:g} %"
        lines = [
            f"{self.model['name']} ({self.model['family']}): {settings['lines']} {settings['directions']} "
            f"lines of {settings['points']} points, span {settings['span']:g}, {settings['frames']} frames",
            f"training error: {1e3 * self.energy_losses[0, middle]:.2f} meV/atom, "
            f"{self.force_losses[0, middle]:.4f} eV/Å",
            f"{'':<30}{'value':>12}   {level} interval over lines",
        ]
        for name, label in LABELS.items():
            low, high = self.intervals[name]
            interval = "-" if np.isnan(low) else f"{low:.4g} to {high:.4g}"
            lines.append(f"{label:<30}{self.numbers[name]:>12.4g}   {interval}")
        for name, entry in self.predictors.items():
            label = ", ".join(part for part in (name.replace("_", " "), entry["unit"]) if part)
            error = f"± {entry['error']:.2g}, of the probes" if "error" in entry else ""
            lines.append(f"{label:<30}{entry['value']:>12.4g}   {error}".rstrip())
        return "\n".join(lines)

    def plot(self, path: str | Path) -> None:
        """Write the picture: curves with bands and S, with a plane also its contours; PNG, PDF or SVG."""
        from ..pictures.landscape import plot_landscape
        from ..pictures.plots import save_figure

        save_figure(plot_landscape(self), path)
