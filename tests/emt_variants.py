"""EMT that is interrupted, or distorted: calculators that several tests of phonons share."""

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT


class Interrupted(EMT):
    """Counts its evaluations, and is ended in the one of the number ``last``."""

    def __init__(self, last=None):
        super().__init__()
        self.calls, self.last = 0, last

    def calculate(self, *args, **kwargs):
        self.calls += 1
        if self.calls == self.last:
            raise KeyboardInterrupt
        super().calculate(*args, **kwargs)


class Skewed(Calculator):
    """EMT of a structure whose edges are seen distorted: an energy that depends on orientation."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        metric = np.diag([1.0, 1.01, 0.98])
        metric[0, 1] = 0.01
        seen = self.atoms.copy()
        seen.set_cell(seen.cell.array @ metric, scale_atoms=True)
        seen.calc = EMT()
        self.results = {"energy": seen.get_potential_energy(), "forces": seen.get_forces() @ metric.T}
