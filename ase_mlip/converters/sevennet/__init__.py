"""SevenNet: its checkpoint read, and its network of our own. sevenn is imported when a file is converted.

It imports ``converters.common`` and ``networks``.
Public: ``sevennet.adapt``.
"""
