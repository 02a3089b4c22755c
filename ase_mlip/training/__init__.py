"""Training: from a TOML file to an exported model file.

It imports ``checks``, ``data``, ``networks`` and what is below, and the leverage of ``optimal_design`` when a
run asks for it.
Public: ``train.train``, ``linear_fit.fit_linear``.
"""
