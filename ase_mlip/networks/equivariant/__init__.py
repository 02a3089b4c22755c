"""Equivariant message passing, NequIP and Allegro, and the parts they share. It imports torch only.

Public: ``nequip.NequIP``, ``allegro.Allegro``; ``edges`` (cutoff, radial functions, harmonics), ``linear``,
    ``interaction`` and ``neighbourhoods`` for networks that are built of them.
"""
