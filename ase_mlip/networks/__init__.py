"""Networks of the contract. They import torch only, as TorchScript compiles them.

``pet`` is the unconstrained transformer, ``snnp`` the spline-based potential, ``equivariant`` NequIP and
Allegro. ``docs/architecture.md`` lists the arguments and outputs of the contract. A float tensor for which a
docstring gives no dtype has that of the network, float32 or float64.
Public: ``pet.pet.PET``, ``snnp.snnp.SNNP``, ``equivariant.nequip.NequIP``, ``equivariant.allegro.Allegro``;
``expected``, ``gradients``, ``needed``, ``repulsion`` and ``species`` for networks that are built of them.
"""
