"""Tests of stability: replicas of dynamics, watched by the criteria, and the statistics of their lifetimes.

It imports ``dynamics``, ``pictures`` (late) and what is below.
Public: ``runs.md_stability``, ``result.StabilityResult``, ``budget.affordable_dynamics``,
``survival.survival``, ``survival.logrank``.
"""
