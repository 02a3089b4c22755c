"""PET, the unconstrained point-edge transformer. It imports torch only.

Public: ``pet.PET``, ``hypers.PETHypers``; ``cutoff`` has the cutoff functions.
"""
