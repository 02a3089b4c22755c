"""Geometry optimisation with any ASE calculator, with the crystal's symmetry where wanted; no printing.

It imports ``calculators`` (late), ``rotations`` and the modules beside the packages.
Public: ``relax.relax``, ``relax.RelaxResult``, ``force_noise.ForceNoise``.
"""
