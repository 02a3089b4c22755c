"""Supercells of phonon calculations: found wide enough for the model, and taken to phonopy and back.

It imports the modules beside the packages only. :mod:`.supercell` finds them, :mod:`.cells` translates.
Public: ``cells.new_phonopy``, ``cells.to_phonopy``, ``cells.to_ase``, ``cells.as_matrix``, ``cells.as_mesh``,
``supercell.find_supercell``, ``supercell.width_of``, ``supercell.warn_if_small``.
"""
