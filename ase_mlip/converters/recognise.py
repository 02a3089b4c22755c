"""Which program wrote a checkpoint, told without unpickling it."""

from __future__ import annotations

import pickletools
import zipfile
from pathlib import Path

from .common import AdapterError

FAMILIES = ("mace", "nequip", "sevennet", "pet")
# Texts that a pickle holds: modules of its classes, or all of some keys of its dictionaries.
MODULES = {
    "mace": ("mace.modules", "mace.tools"),
    "nequip": ("nequip.", "allegro."),
    "pet": ("metatrain.",),
    "sevennet": ("sevenn.",),
}
KEYS = {"sevennet": {"model_state_dict", "num_convolution_layer", "self_connection_type"}}
ARCHITECTURE = "architecture_name"  # metatrain's key, of which the value is read, too
WRAPPER = "llpr"  # metatrain's uncertainties around a model of another architecture
PUTS, GETS = ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), ("GET", "BINGET", "LONG_BINGET")
PICKLES = ("data.pkl", ".pkl")
MAX_BYTES = 64 * 2**20  # of a pickle; the weights are members of their own


def recognise(path: Path) -> str | None:
    """The program that wrote the file, or None if its contents do not tell.

    One of :data:`FAMILIES`, or `metatrain, architecture ...` for another network of metatrain than PET. Reads
    the texts in the file's pickles with :mod:`pickletools`, which runs nothing.
    """
    if path.name.endswith(".nequip.zip"):
        return "nequip"
    texts = texts_in(path)
    if ARCHITECTURE in texts:
        return _of_metatrain(texts)
    names = set(texts)
    for family, modules in MODULES.items():
        if any(name.startswith(modules) for name in names):
            return family
    for family, keys in KEYS.items():
        if keys <= names:
            return family
    return None


def refuse_other_family(path: Path, family: str) -> None:
    """Raise AdapterError if the file was written by another family than ``family``, or is a model file."""
    if _is_model_file(path):
        raise AdapterError(f"`{path}` is an exported model file of ase_mlip already; use it as it is")
    found = recognise(path)
    if found is None or found == family:
        return
    remedy = f'use `family="{found}"`' if found in FAMILIES else f"supported are {', '.join(FAMILIES)}"
    raise AdapterError(f"`{path}` is a checkpoint of {found}, not of {family}; {remedy}")


def _of_metatrain(texts: list[str]) -> str:
    """Which of metatrain's architectures: the text after the key, in a checkpoint that wraps another, too."""
    pairs = zip(texts, [*texts[1:], ""], strict=True)
    found = {value for key, value in pairs if key == ARCHITECTURE} - {WRAPPER}
    if not found or "pet" in found:
        return "pet"
    return f"metatrain, architecture `{sorted(found)[0]}`"


def _is_model_file(path: Path) -> bool:
    from ..model_file.info import read_info

    try:
        read_info(path)
    except (ValueError, OSError):
        return False
    return True


def texts_in(path: Path) -> list[str]:
    """Every text in the file's pickles, in their order; empty if there is none or it is damaged."""
    try:
        if not zipfile.is_zipfile(path):
            with open(path, "rb") as file:
                return _texts(file.read(MAX_BYTES))
        texts: list[str] = []
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                if member.endswith(PICKLES) and archive.getinfo(member).file_size < MAX_BYTES:
                    texts += _texts(archive.read(member))
        return texts
    except (zipfile.BadZipFile, EOFError):
        return []


def _texts(data: bytes) -> list[str]:
    """Texts of one pickle; one that it holds twice is stored once and fetched from its memo."""
    found: list[str] = []
    memo: dict[int, object] = {}
    last: object = None
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name in PUTS:
                memo[len(memo) if opcode.name == "MEMOIZE" else argument] = last
                continue
            last = memo.get(argument) if opcode.name in GETS else argument
            if isinstance(last, str):
                found.append(last)
    except Exception:  # the opcodes of a damaged pickle can fail in any way; what was read until there counts
        return found
    return found
