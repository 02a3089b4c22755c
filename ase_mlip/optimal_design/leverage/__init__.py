"""What a model file says of its training data, and how it gets there.

- :mod:`.attach`: ``attach_leverage(model, data, output, calibration)``.
- :mod:`.whitening`: the algebra of it, with NumPy and SciPy only.

Nothing is imported here.
Public: ``attach.attach_leverage``, ``attach.few_structures``, ``attach.hashes_of``.
"""
