"""Supercells of phonon calculations: found wide enough for the model, and taken to phonopy and back.

It imports the modules beside the packages only. :mod:`.supercell` finds them, :mod:`.cells` translates.
"""
