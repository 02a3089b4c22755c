"""The structures of a design: the pool, what is labelled already, the target, what must be picked.

- :mod:`.inputs`: ``read_inputs(pool, have, target, keep, settings)`` reads and checks all of them.
- :mod:`.pool`: frames with their groups; what is set aside, and why; what is refused.
- :mod:`.same_structure`: when two frames are the same structure, and finding it among many.

They need no model. Nothing is imported here.
Public: ``inputs.read_inputs``, ``inputs.Inputs``, ``pool.Frame``, ``pool.Structures``, ``pool.Rejected``,
``same_structure.KnownStructures``.
"""
