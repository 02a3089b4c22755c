"""PET, the unconstrained point-edge transformer. It imports torch only.

Letters in shapes: N nodes, E edges; B nodes of a block, whose largest neighbourhood has M edges.
Public: ``pet.PET``, ``hypers.PETHypers``; ``cutoff`` has the cutoff functions, ``layers`` and ``transformer``
the parts, ``neighbourhoods`` and ``outputs`` what goes between them.
"""
