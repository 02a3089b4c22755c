"""Many structures in one call: how they are put together, and how large a batch may be.

It imports ``model_file``, ``graph`` and what is beside it in ``calculators``. Public:
``batch_evaluator.BatchEvaluator``.
"""
