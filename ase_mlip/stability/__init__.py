"""Tests of stability: replicas of dynamics, watched by the criteria, and the statistics of their lifetimes.

It imports ``dynamics`` and what is below.
Public: ``runs.md_stability``, ``budget.affordable_dynamics``, ``survival.survival``, ``survival.logrank``.
"""
