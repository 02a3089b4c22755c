"""Phonons and thermal conductivity over phonopy and phono3py, with any ASE calculator. It does not print.

``supercells`` has the cells. It imports ``relaxation``, ``checks``, ``pictures`` (late) and what is below.
Public: ``phonons.phonons``, ``conductivity.thermal_conductivity``, ``comparison.compare_with``,
``audit.audit_phonons``, ``kappa_srme.kappa_srme``, ``results.PhononResult``,
``results.ConductivityResult``.
"""
