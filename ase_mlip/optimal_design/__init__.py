"""Optimal design of training sets: which structures to label, before any label exists.

- :mod:`.workflow`: ``design(pool, pick, …)``, from files to a :mod:`.result`; also ``ase_mlip.design``.
- :mod:`.settings`: its options, checked; :mod:`.target`, :mod:`.forecast`: what a selection is predicted to
  achieve; :mod:`.verify`: the forecast beside the labels that came back.

Packages, each of which says what it holds:

- :mod:`.algebra`: the mathematics on blocks of rows, with NumPy and SciPy only; what it names is public.
- :mod:`.rows`: what a structure tells of a model's coefficients before it has a label.
- :mod:`.structures`: pool, labelled structures and target: read, grouped, freed of what cannot be labelled.
- :mod:`.output`: the report, and the files in the folder of a design.
- :mod:`.leverage`: how far an atom is from the training data, into a model file.

The mathematics may import :mod:`ase_mlip.errors` only. What makes rows from structures may import the layers
below training (CONTRIBUTING.md); nothing is imported here, so that the mathematics needs no torch.
Public: ``workflow.design``, ``result.DesignResult``, ``verify.verify``, ``verify.Verification``.
"""
