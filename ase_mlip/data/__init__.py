"""Structures and reference values from files: read, converted to ASE's units, checked, split and batched.

It imports ``model_file`` and everything below.
Public: ``training_data.load_data``, ``frames.read_structures``, ``references.ReferenceKeys``,
``references.Sample``, ``structure_files.read_frames``.
"""
