"""Other numbers than loss entropy that may say how far a potential extrapolates.

- :mod:`.entries`: ``predictors_of(names, model, samples)``, those that a landscape's document has, by name;
  ``committee_deviation(models, frames)``.
- :mod:`.sharpness`: ``sharpness(losses, weights)``, trace and largest eigenvalue of the Hessian of the loss.
- :mod:`.bond_scan`: ``scan_bonds(atoms, calculator)``, how rough the force along a bond is.

The package imports weights and losses of :mod:`ase_mlip.landscapes`, and the layers below training
(CONTRIBUTING.md). Nothing is imported here.
Public: ``entries.predictors_of``, ``entries.checked_names``, ``entries.committee_deviation``,
``sharpness.sharpness``, ``sharpness.Sharpness``, ``bond_scan.scan_bonds``, ``bond_scan.BondScan``.
"""
