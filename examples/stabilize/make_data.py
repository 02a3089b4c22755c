"""A potential with a hole, and data to heal it with: copper by ASE's EMT, which stands for a DFT calculation.

    python examples/stabilize/make_data.py
    ase-mlip stabilize examples/stabilize/quick.toml

writes beside itself train.xyz, validation.xyz, test.xyz (energies and forces), starts.xyz, reference.xyz (a
longer run at the same temperature) and hole.pt. The last is an s-NNP fitted to train.xyz whose pair spline
was then made attractive at short range, where there are few atoms: errors on frames hardly show it, and hot
dynamics falls into it.
"""

from pathlib import Path

import numpy as np
import torch
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from ase.md.langevin import Langevin

from ase_mlip import train
from ase_mlip.stability_training.trainable import open_trainable

HERE = Path(__file__).resolve().parent
TEMPERATURE = 1200.0  # K
NOISE = 0.05  # eV/Å, of the forces in train, validation and test, as of calculations with loose settings
BEGIN = 2.0  # Å, below which the hole is
DEPTH = 1.0  # eV, by which each coefficient of the pair spline is lower for each knot further below
RUN = """
name = "fit"
output = "fit"
[data]
train = "train.xyz"
validation = "validation.xyz"
[model]
architecture = "snnp"
cutoff = 4.5
inner = 1.4
core = false
radial_filters = 0
angular_filters = 0
hidden = []
[loss]
curvature = 0.0
[optimizer]
epochs = 0
"""


def crystal() -> Atoms:
    """Eight atoms of copper, expanded as at the temperature."""
    return bulk("Cu", a=3.70, cubic=False) * (2, 2, 2)


def dynamics(n: int, seed: int, interval: int = 40) -> list[Atoms]:
    """Frames of EMT dynamics at the temperature, with energies and forces."""
    rng = np.random.default_rng(seed)
    atoms = crystal()
    atoms.calc = EMT()
    widths = np.sqrt(atoms.get_masses() * units.kB * TEMPERATURE)  # of Maxwell and Boltzmann
    atoms.set_momenta(rng.standard_normal((len(atoms), 3)) * widths[:, None])
    run = Langevin(
        atoms, 2.0 * units.fs, temperature_K=TEMPERATURE, friction=0.01 / units.fs, fixcm=False, rng=rng
    )
    run.run(200)
    found = []
    for _ in range(n):
        run.run(interval)
        results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
        results["forces"] += NOISE * rng.normal(size=results["forces"].shape)
        frame = Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=True)
        frame.calc = SinglePointCalculator(frame, **results)
        found.append(frame)
    return found


def plant_hole(fitted: Path, output: Path) -> None:
    """Write the potential with a pair spline that is attractive at short range."""
    trainable = open_trainable(fitted)
    phi = trainable.inner.phi
    origin, step, _ = phi.grid[0].tolist()
    scale = float(trainable.inner.energy_scale)
    with torch.no_grad():
        for k in range(phi.coefficients.shape[2]):
            knots = (BEGIN - (origin + (k - 1) * step)) / step  # how many knots below the beginning
            if knots > 0.0:
                at_begin = phi.coefficients[:, :, k + int(knots) + 1].clone()
                phi.coefficients[:, :, k] = at_begin - DEPTH * knots / scale
    trainable.export(output, {}, "hole")


def main(folder: Path = HERE) -> None:
    write(folder / "train.xyz", dynamics(40, seed=0))
    write(folder / "validation.xyz", dynamics(10, seed=1))
    write(folder / "test.xyz", dynamics(10, seed=2))
    write(folder / "reference.xyz", dynamics(150, seed=3, interval=20))
    starts = dynamics(24, seed=4)
    for frame in starts:
        frame.calc = None
    write(folder / "starts.xyz", starts)
    (folder / "fit.toml").write_text(RUN)
    plant_hole(train(folder / "fit.toml", dynamics=0.0), folder / "hole.pt")


if __name__ == "__main__":
    main()
