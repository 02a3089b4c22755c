"""The spline-based neural network potential (s-NNP). It imports torch only.

Public: ``snnp.SNNP``, ``hypers.SNNPHypers``, ``splines.SplineBank``.
"""
