"""Elastic constants and the equation of state, with any ASE calculator. It neither prints nor plots.

It imports ``relaxation``, ``calculators``, ``pictures`` (late), ``progress`` and the modules
beside the packages.
Public: ``elasticity.elastic_constants``, ``elasticity.ElasticResult``, ``eos.equation_of_state``,
``eos.EOSResult``, ``moduli.Moduli``.
"""
