"""Networks of the contract. They import torch only, as TorchScript compiles them.

``pet`` is the unconstrained transformer, ``snnp`` the spline-based potential, ``equivariant`` NequIP and
Allegro.
Public: ``pet.pet.PET``, ``snnp.snnp.SNNP``, ``equivariant.nequip.NequIP``, ``equivariant.allegro.Allegro``.
"""
