"""What a potential is trained to reproduce: the kinds of observables, and the values they shall have.

It imports ``dynamics``, ``data``, ``graph`` and what is beside it in ``stability_training``. The
observables are in :mod:`.distances` and :mod:`.kinds`; :mod:`.reference_values` reads what they are compared
with.
Public: ``distances.Distances``, ``distances.UnseenDistances``, ``kinds.BondLengths``,
``kinds.NonbondedDistance``, ``kinds.Pressure``, ``kinds.mean_square_displacement``,
``reference_values.Reference``, ``reference_values.Target``, ``reference_values.read_reference``,
``reference_values.check_same_system``.
"""
