"""Judgements of a model file: does it keep the contract, is it physics, how large are its errors.

``installation`` judges what is installed. It imports ``calculators``, ``data``, ``pictures`` (late) and
what is below.
Public: ``check.check``, ``evaluate.evaluate``, ``evaluate.EvaluationResult``.
"""
