"""What a potential is trained to reproduce: the kinds of observables, and the values they shall have.

It imports ``dynamics``, ``data``, ``graph`` and what is beside it in ``stability_training``. The
observables are in :mod:`.distances` and :mod:`.kinds`; :mod:`.reference_values` reads what they are compared
with.
"""
