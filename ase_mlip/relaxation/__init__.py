"""Geometry optimisation with any ASE calculator, with the crystal's symmetry where wanted; no printing.

It imports ``calculators``, ``checks``, ``rotations``, ``pictures`` (late), ``progress`` and the modules
beside the packages.
Public: ``relax.relax``, ``result.RelaxResult``, ``force_noise.ForceNoise``. What the command prints is in
``table``.
"""
