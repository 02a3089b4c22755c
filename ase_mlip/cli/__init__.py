"""The command line: reads arguments, prints, sets the exit status. Nothing imports it.

``main`` is the entry point, ``commands`` holds a file for each workflow.
Public: ``main.main``.
"""
