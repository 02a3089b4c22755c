"""The command line: reads arguments, prints, sets the exit status. Nothing imports it.

``main`` is the entry point. ``simulations`` has the commands that run a model on structures, ``models`` those
on models and their data.
Public: ``main.main``.
"""
