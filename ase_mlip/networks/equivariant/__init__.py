"""Equivariant message passing, NequIP and Allegro, and the parts they share. It imports torch only.

Public: ``nequip.NequIP``, ``allegro.Allegro``; ``parts`` and ``interaction`` for networks that are built of
    them.
"""
