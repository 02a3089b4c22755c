"""Plot what LAMMPS wrote with ``thermo_modify line yaml``, and print the drift of the total energy.

    python plot_thermo.py LOG      # the log file of one of the inputs beside this file; writes LOG's name.png

Every run in the log is a line of its own; a line `# run: NAME` before it gives it a name.
"""

import re
import sys
from pathlib import Path

import numpy as np
import yaml
from matplotlib.figure import Figure

from ase_mlip.pictures.plots import save_figure

LABELS = {
    "Temp": "temperature (K)",
    "PotEng": "potential energy\n(eV/atom)",
    "TotEng": "total energy, change\n(meV/atom)",
    "Press": "pressure (GPa)",
    "Density": "density (g/cm³)",
    "MSD": "mean square\ndisplacement (Å²)",
}


def read_runs(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """Columns of each run in the log, units metal, by the run's name."""
    runs = {}
    text = path.read_text()
    atoms = int(re.search(r"Created (\d+) atoms", text)[1])
    for block in re.finditer(r"^---\n(.*?)^\.\.\.$", text, re.MULTILINE | re.DOTALL):
        table = yaml.safe_load(block[1])
        named = re.findall(r"^# run: (\S+)$", text[: block.start()], re.MULTILINE)
        columns = dict(zip(table["keywords"], np.array(table["data"], dtype=float).T, strict=True))
        for energy in {"PotEng", "TotEng"} & columns.keys():
            columns[energy] = columns[energy] / atoms
        if "TotEng" in columns:
            columns["TotEng"] = 1000.0 * (columns["TotEng"] - columns["TotEng"][0])
        if "Press" in columns:
            columns["Press"] = columns["Press"] / 1e4
        runs[named[-1] if named else f"run {len(runs) + 1}"] = columns
    return runs


def plot(runs: dict[str, dict[str, np.ndarray]]) -> Figure:
    shown = [name for name in LABELS if name in next(iter(runs.values()))]
    figure = Figure(figsize=(6.4, 1.5 * len(shown) + 0.6), layout="constrained")
    for panel, name in zip(figure.subplots(len(shown), 1, sharex=True), shown, strict=True):
        for label, columns in runs.items():
            panel.plot(columns["Time"], columns[name], label=label, linewidth=1.2)
        panel.set_ylabel(LABELS[name])
        panel.spines[["top", "right"]].set_visible(False)
    if len(runs) > 1:
        figure.axes[0].legend(frameon=False)
    figure.axes[-1].set_xlabel("time (ps)")
    return figure


log = Path(sys.argv[1])
runs = read_runs(log)
if not runs:
    sys.exit(f"`{log}`: expected output of `thermo_modify line yaml`, found none; has the run ended?")
for name, columns in runs.items():
    print(f"{name}: {columns['Time'][-1]:g} ps, mean temperature {columns['Temp'].mean():.0f} K", end="")
    if "TotEng" in columns:
        slope, start = np.polyfit(columns["Time"], columns["TotEng"], 1)
        scatter = np.std(columns["TotEng"] - slope * columns["Time"] - start)
        print(f", total energy {slope:+.3f} meV/atom/ps, about that line {scatter:.3f} meV/atom", end="")
    print()
save_figure(plot(runs), log.with_suffix(".png"))
print(f"wrote {log.with_suffix('.png')}")
