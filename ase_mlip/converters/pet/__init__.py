"""PET of metatrain: its checkpoint read into our own PET. metatrain is imported when a file is converted.

It imports ``converters.common`` and ``networks``.
Public: ``pet.adapt``.
"""
