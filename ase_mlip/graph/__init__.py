"""Graphs of the contract from ASE structures: neighbours, stored lists, edges within the cutoff, pairs.

It imports ``building`` and the modules beside the packages.
Public: ``neighbors.Graph``, ``neighbors.build_graph``, ``neighbors.NeighborList``, ``pairs.find_pairs``.
"""
