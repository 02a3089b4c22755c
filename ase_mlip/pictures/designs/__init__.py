"""The picture of a design: its three panels, the map of structures in the last, and numbers beside points.

It imports what :mod:`ase_mlip.pictures` may.
Public: ``panels.plot_design``.
"""
