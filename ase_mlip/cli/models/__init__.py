"""Commands on models and their training data, a file each.

They import ``cli`` and, when they run, everything else.

Public: ``design.design``, ``export.export``, ``landscape.landscape``, ``plot_filters.plot_filters``,
``rotations.rotations``, ``stabilize.stabilize``.
"""
