"""PET, the unconstrained point-edge transformer. It imports torch only.

Public: ``pet.PET``, ``pet.PETHypers``.
"""
