"""Half a picosecond of silicon at constant energy: does the potential conserve it?

Run it with ``python examples/03_md.py [MODEL]``; it ends with a picture and the energy drift.
"""

import sys

from ase import units
from ase.build import bulk

from ase_mlip import MLIPCalculator
from ase_mlip.dynamics.md import run_nve
from ase_mlip.pictures.plots import plot_md, save_figure
from ase_mlip.progress.bars import bar

model = sys.argv[1] if len(sys.argv) > 1 else "pet-si"

atoms = bulk("Si", cubic=True) * (2, 2, 2)
atoms.calc = MLIPCalculator(model)  # in the precision the weights are stored in

with bar("step") as progress:
    result = run_nve(
        atoms,
        temperature_K=600.0,  # a crystal at rest turns half of it into potential energy: 300 K remain
        timestep=1.0 * units.fs,
        time=500.0 * units.fs,
        equilibration=100.0 * units.fs,
        progress=progress,
    )

save_figure(plot_md(result), "dynamics.png")
print(f"{len(result.atoms)} atoms, {result.steps} steps, {1000 * result.seconds_per_step:.1f} ms per step")
print(f"mean temperature {result.mean_temperature:.0f} K")
print(f"energy drift {result.drift:+.4f} meV/atom/ps, fluctuation {result.fluctuation:.4f} meV/atom")
print("wrote dynamics.png")
