"""The compiled operators: built once for this torch and compiler, found again, loaded.

It imports the standard library, :mod:`ase_mlip.errors` and, where libraries are built or loaded, torch.
Public: ``_build.find_or_build``, ``_build.CompilationError``, ``_ops.load``.
"""
