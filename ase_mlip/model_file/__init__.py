"""The model file: one TorchScript archive with its description and self-test, written, verified and loaded.

It imports ``graph``, ``rotations``, ``building`` and the modules beside the packages, and never ``networks``.
The shipped potentials are in ``models/``, ``earlier`` reads files of earlier versions.
Public: ``model.load_model``, ``export.export_model``, ``info.ModelInfo``, ``info.find_model``,
``info.shipped_models``, ``symmetrized_model.SymmetrizedModel``.
"""
