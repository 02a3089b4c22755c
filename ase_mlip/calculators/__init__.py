"""ASE calculators: one model, a committee, an average over rotations, and what they say beside their results.

It imports ``model_file`` and everything below.
Public: ``calculator.MLIPCalculator``, ``ensemble.Ensemble``,
``symmetrized_calculator.SymmetrizedCalculator``, ``batch_evaluator.BatchEvaluator``.
"""
