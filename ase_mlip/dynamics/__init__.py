"""Molecular dynamics with any ASE calculator or LAMMPS: engines, thermostats, replicas, what unstable means.

``criteria`` holds the one definition of unstable. It imports ``calculators``, ``lammps`` and what is below.
Public: ``md.run_nve``, ``nvt.run_nvt``, ``replicas.run_replicas``, ``thermostats.Thermostat``,
``criteria.Criteria``, ``rdf.rdf``.
"""
