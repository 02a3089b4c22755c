"""NequIP and Allegro: their packages read, and their networks. nequip is imported when a file is converted.

It imports ``converters.common`` and ``networks``.
Public: ``nequip.adapt``.
"""
