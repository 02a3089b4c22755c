"""The learning phase: steps of the weights from the samples of a simulation.

It imports ``training``, ``configuration``, ``data``, ``graph`` and what is beside it in
``stability_training``. Steps are taken by :mod:`.learner`,
and :mod:`.metric` measures them.
Public: ``learner.Learner``, ``learner.Learned``, ``learner.Samples``, ``metric.ErrorMetric``.
"""
