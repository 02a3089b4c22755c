"""What calculators say beside their results: dependence on orientation, leverage, places without data.

It imports ``networks``, ``model_file`` and everything below.
Public: ``anisotropy.measure``, ``residual.choose_averaging``, ``leverage.GraphLeverage``,
``visited.Coverage``.
"""
