"""Models of one family side by side: their ranks, and what each predictor is worth.

- :mod:`.compare`: ``compare(landscapes, others)``, tables and correlations; public.
- :mod:`.files`: what it reads: landscapes, and what ``evaluate --json`` and ``md --json`` wrote.
- :mod:`.correlations`: ``spearman`` and ``partial_spearman`` with bootstrap intervals; NumPy and SciPy only.

The package knows landscapes by their documents: of :mod:`ase_mlip.landscapes` it imports ``document`` and
``entropy`` only, and therefore needs no torch.
Public: ``compare.compare``, ``compare.Comparison``, ``correlations.spearman``,
``correlations.partial_spearman``, ``correlations.Correlation``.
"""
