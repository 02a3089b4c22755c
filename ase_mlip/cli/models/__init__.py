"""Commands on models and their training data, a file each.

They import ``cli`` and, when they run, everything else. ``attach`` is what ``design --attach`` does.

Public: ``check.check``, ``design.design``, ``evaluate.evaluate``, ``export.export``, ``info.info``,
``landscape.landscape``, ``plot_filters.plot_filters``, ``rotations.rotations``, ``stabilize.stabilize``,
``train.train``; for ``design`` also ``attach``.
"""
