"""Equivariant message passing, NequIP and Allegro, and the parts they share. It imports torch only.

Letters in shapes: N nodes, E edges, T types; B radial functions, H = (l_max + 1)² harmonics, F numbers of a
row of features; b nodes of a block with n edges each.
Public: ``nequip.NequIP``, ``allegro.Allegro``; ``edges`` (cutoff, radial functions, harmonics), ``linear``,
    ``interaction`` and ``neighbourhoods`` for networks that are built of them.
"""
