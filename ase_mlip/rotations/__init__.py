"""Rotations as data: which ones a model is averaged over, with which weights, and their file for LAMMPS.

It imports the modules beside the packages. ``schemes`` asks a crystal or a model for its rotations when it is
told to.
Public: ``averaging.Averaging``, ``averaging.PLAIN``, ``schemes.find_averaging``,
    ``rotation_file.write_rotations``.
"""
