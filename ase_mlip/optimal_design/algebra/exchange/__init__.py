"""The exchange of a chosen candidate for another one: exact gains, bounds that exclude most, the search.

It imports NumPy, SciPy and what is beside it in ``algebra``. :mod:`.swaps` is what ``select`` calls.
Public: ``swaps.exchange_candidates``.
"""
