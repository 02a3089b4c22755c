"""ASE calculators: one model, a committee, an average over rotations, and what they say beside their results.

It imports ``data``, ``model_file`` and everything below; ``diagnostics`` is what they say
beside results, ``batches`` evaluates many structures at once.
Public: ``calculator.MLIPCalculator``, ``ensemble.Ensemble``,
``symmetrized_calculator.SymmetrizedCalculator``, ``batches.batch_evaluator.BatchEvaluator``.
"""
