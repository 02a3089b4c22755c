"""Loads the compiled operators ``torch.ops.ase_mlip.*``, or says what is missing."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path

import torch

from ..errors import BuildError
from . import _build, _build_files

_folder: Path | None = None


def load() -> None:
    """Make ``torch.ops.ase_mlip.*`` available to Python and TorchScript. May be called again at no cost.

    The library made at install time is used if it fits this torch; else one is compiled and cached.

    Raises
    ------
    BuildError
        no library fits and none can be compiled (with the compiler's output)
    """
    global _folder
    if _folder is not None:
        return
    try:
        folder = _build.find_or_build()
        _build_files.verify(folder, *(path.name for path in folder.glob("*.so")))
        torch.ops.load_library(folder / _build.LIBRARY)
    except (_build.CompilationError, OSError) as error:
        raise BuildError(str(error)) from error
    _folder = folder


def build_info() -> dict:
    """What the compiled parts are and where: torch, compiler, CUDA architectures, schema version.

    ``compiled``, if Python's headers were there, is what the compiler itself said; the rest is
    ``build.json``.
    """
    load()
    assert _folder is not None
    record = {**_build.read_record(_folder), "folder": str(_folder)}
    record["schema_version"] = int(torch.ops.ase_mlip.schema_version())
    module = _folder / _build.INFO_MODULE
    if module.is_file():
        record["compiled"] = _import_file(module).build_info()
    return record


def _import_file(path: Path):
    loader = importlib.machinery.ExtensionFileLoader("_build_info", str(path))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module
