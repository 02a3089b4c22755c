"""Relax a distorted silicon crystal, atoms and cell; look at its energy, space group and equation of state.

Run it with ``python examples/01_relax_silicon.py [MODEL]``; it ends with two pictures and the bulk modulus.
"""

import sys

from ase.build import bulk

from ase_mlip import MLIPCalculator, equation_of_state, relax
from ase_mlip.crystals import idealized

model = sys.argv[1] if len(sys.argv) > 1 else "pet-si"
# float64 makes forces smooth enough for a tight relaxation
calculator = MLIPCalculator(model, dtype="float64")

atoms = bulk("Si", cubic=True)
atoms.set_cell(atoms.cell.array * [1.02, 1.0, 0.98], scale_atoms=True)
atoms.rattle(stdev=0.06, seed=1)

result = relax(atoms, calculator, fmax=1e-4, cell=True)
print(f"{result.steps} steps, {result.energies[0]:.4f} -> {result.energy:.4f} eV")
# PET is not exactly symmetric, so the relaxed crystal has its space group to some tolerance only
for symprec, group in result.spacegroup_after.items():
    print(f"space group within {symprec:g} Å: {result.spacegroup_before[symprec]} -> {group}")
result.plot("relaxation.png")

crystal = idealized(result.atoms, symprec=1e-2)
curve = equation_of_state(crystal, calculator, relax_first=False)  # it is relaxed
curve.plot("equation_of_state.png", label=model)
print(f"lattice constant {curve.volume ** (1 / 3):.4f} Å, bulk modulus {curve.bulk_modulus:.1f} GPa")
print("wrote relaxation.png and equation_of_state.png")
