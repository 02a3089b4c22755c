"""Optimal design of training sets: which structures to label, before any label exists.

- :mod:`.algebra`: the mathematics on blocks of rows, with NumPy and SciPy only; what it names is public.

Of this package the mathematics may import :mod:`ase_mlip.errors` only. What makes rows from structures may
import the layers below training (CONTRIBUTING.md); nothing is imported here, so that the mathematics needs no
torch.
"""
