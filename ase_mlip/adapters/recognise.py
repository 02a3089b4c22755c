"""Which program wrote a checkpoint, told without unpickling it."""

from __future__ import annotations

import pickletools
import zipfile
from pathlib import Path

from .common import AdapterError

FAMILIES = ("mace", "nequip", "sevennet", "pet")
# Names that a pickle holds: modules of its classes, or keys of its dictionaries.
SIGNS = {
    "mace": ("mace.modules", "mace.tools"),
    "nequip": ("nequip.", "allegro."),
    "pet": ("metatrain.", "model_ckpt_version", "architecture_name"),
    "sevennet": ("sevenn.", "sevenn_version", "model_state_dict"),
}
PICKLES = ("data.pkl", ".pkl")
MAX_BYTES = 64 * 2**20  # of a pickle; the weights are members of their own


def recognise(path: Path) -> str | None:
    """The family that wrote the file, or None if its contents do not tell.

    Reads the names in the file's pickles with :mod:`pickletools`, which runs nothing.
    """
    if path.name.endswith(".nequip.zip"):
        return "nequip"
    names = _names_in(path)
    for family, signs in SIGNS.items():
        if any(name.startswith(signs) for name in names):
            return family
    return None


def refuse_other_family(path: Path, family: str) -> None:
    """Raise AdapterError if the file was written by another family than ``family``, or is a model file."""
    if _is_model_file(path):
        raise AdapterError(f"`{path}` is an exported model file of ase_mlip already; use it as it is")
    found = recognise(path)
    if found is not None and found != family:
        raise AdapterError(f"`{path}` is a checkpoint of {found}, not of {family}; use `--from {found}`")


def _is_model_file(path: Path) -> bool:
    from ..model_info import read_info

    try:
        read_info(path)
    except (ValueError, OSError):
        return False
    return True


def _names_in(path: Path) -> set[str]:
    """Every text in the file's pickles; empty if there is none or it is damaged."""
    try:
        if not zipfile.is_zipfile(path):
            with open(path, "rb") as file:
                return _texts(file.read(MAX_BYTES))
        names: set[str] = set()
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                if member.endswith(PICKLES) and archive.getinfo(member).file_size < MAX_BYTES:
                    names |= _texts(archive.read(member))
        return names
    except (zipfile.BadZipFile, EOFError):
        return set()


def _texts(data: bytes) -> set[str]:
    found: set[str] = set()
    try:
        for _, argument, _ in pickletools.genops(data):
            if isinstance(argument, str):
                found.add(argument)
    except Exception:  # the opcodes of a damaged pickle can fail in any way; what was read until there counts
        return found
    return found
