"""The spline-based neural network potential (s-NNP). It imports torch only.

Public: ``snnp.SNNP``, ``hypers.SNNPHypers``, ``splines.SplineBank``; ``parts``, ``splines`` and ``training``
    have what it is built of.
"""
