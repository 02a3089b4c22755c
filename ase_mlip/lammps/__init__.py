"""LAMMPS: where it is, the plugin that is built for it, and ``lmp`` run with that plugin.

``lammps_plugin_path`` is asked whenever LAMMPS starts, so it imports the standard library only and never
raises. The others import ``building`` and :mod:`ase_mlip.errors`.
Public: ``_lammps.find_lammps``, ``lammps_run.run``, ``lammps_run.prepare``.
"""
