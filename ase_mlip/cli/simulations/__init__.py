"""Commands that run a model on structures, a file each.

They import ``cli`` and, when they run, everything else. ``crystal_run`` and ``thermostat`` have what several
share.

Public: ``conductivity.conductivity``, ``elastic.elastic``, ``eos.eos``, ``md.md``, ``phonons.phonons``,
``relax.relax``, ``symmetry.symmetry``, ``validate.validate``; for these also ``crystal_run`` and
``thermostat``.
"""
