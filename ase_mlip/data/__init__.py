"""Structures and reference values from files: read, converted to ASE's units, checked, split and batched.

It imports ``model_file`` and everything below.
Public: ``data.load_data``, ``data.read_structures``, ``references.ReferenceKeys``, ``references.Sample``,
``structure_files.read_frames``.
"""
