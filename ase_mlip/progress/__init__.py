"""How long work says how far it is, and bars and lines that show it.

It imports nothing else of the package. Public: ``bars.bar``, ``bars.Lines``.
"""
