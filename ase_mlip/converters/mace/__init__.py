"""MACE: its checkpoint read, and its network of our own. mace-torch is imported when a file is converted.

It imports ``converters.common`` and ``networks``.
Public: ``mace.adapt``.
"""
