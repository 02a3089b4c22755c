"""Phonon band structure and density of states of silicon, by finite displacements through phonopy.

Run it with ``python examples/02_phonons.py [MODEL]``; it ends with a picture, and a ``phonopy.yaml`` that
phonopy's own commands read: ``phonopy-load phonopy.yaml --mesh 20 20 20 -t -p``.
"""

import sys

from ase.build import bulk

from ase_mlip import phonons
from ase_mlip.progress.bars import bar

model = sys.argv[1] if len(sys.argv) > 1 else "pet-si"
crystal = bulk("Si", cubic=True)
options = {"supercell_matrix": (2, 2, 2), "path": "GXU,KGL"}

# in float64; relaxes the cell within its space group, then displaces one atom
with bar("supercell") as progress:
    result = phonons(crystal, model, **options, progress=progress)

result.plot("phonons.png")
result.save("phonopy.yaml")
print(f"{result.n_displacements} displacement in {result.n_atoms_supercell} atoms, {result.space_group}")
print(f"forces in the undisplaced crystal: {result.residual_force:.1e} eV/Å")
print(f"lowest frequency {result.lowest_frequency:.3f} THz: {'stable' if result.stable else 'UNSTABLE'}")
print(f"optical mode at Γ: {result.gamma_frequencies[-1]:.2f} THz")
print("wrote phonons.png and phonopy.yaml")
