"""Structures from files, and the refusal of what a reader would change without a word."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path

from ase import Atoms
from ase.io import read
from ase.io.cif import CIFBlock, parse_cif
from ase.io.formats import filetype

from ..crystals import FULL, ORDERED, refuse_partial_occupancy
from ..errors import DataError, MLIPError, StructureError
from .comment_line import read_comment_line

ABSENT = (".", "?", "0", 0)  # of a disorder group in a CIF


def read_frames(file: Path, name: str | None = None, stress_order: str = "ase") -> list[Atoms]:
    """All frames of a file, in order, as ASE reads them; ``name`` is what errors call the file.

    In extended XYZ a stress or virial may have six numbers, in the order ``stress_order`` (references.py); of
    nine numbers the symmetric part is kept.

    Parameters
    ----------
    file : Path
        in any format of ASE's
    name : str, optional
        what errors call it
    stress_order : str
        of six numbers in extended XYZ: "ase" or "vasp"

    Returns
    -------
    list of ase.Atoms
        all frames

    Raises
    ------
    DataError
        a file that ASE cannot read
    StructureError
        a site that is partially occupied or disordered, which ASE takes as full
    """
    name = str(file) if name is None else name
    try:
        options = {}
        if filetype(str(file)) == "extxyz":
            options["properties_parser"] = partial(read_comment_line, order=stress_order)
        frames = read(file, index=":", do_not_split_by_at_sign=True, **options)
        blocks = _cif_blocks(file)
    except Exception as error:  # ASE's readers raise whatever their parsing meets
        raise DataError(
            f"`{name}`: expected a file with structures that ASE reads, got {_reason(error, file)}; see "
            "`ase info --formats` for the formats, or convert it to extended XYZ"
        ) from error
    try:
        for block in blocks:
            _refuse_disorder(block)
        for atoms in frames:
            refuse_partial_occupancy(atoms)
    except StructureError as error:
        raise StructureError(f"`{name}`: {error}") from None
    return frames


def _cif_blocks(file: Path) -> list[CIFBlock]:
    """The structures of a CIF, as the file has them; empty for other formats."""
    if filetype(str(file)) != "cif":
        return []
    with warnings.catch_warnings(), file.open("rb") as stream:
        warnings.simplefilter("ignore")  # reading it the first time has said it
        return [block for block in parse_cif(stream) if block.has_structure()]


def _refuse_disorder(block: CIFBlock) -> None:
    """Raise StructureError for partial occupancy and alternatives of disorder, by the sites' labels."""
    symbols = block.get_symbols()
    labels = [str(label) for label in block.get("_atom_site_label") or symbols]
    occupancies = block.get("_atom_site_occupancy") or [1.0] * len(symbols)
    partial = [
        f"`{label}` ({symbol}, {occupancy})"
        for label, symbol, occupancy in zip(labels, symbols, occupancies, strict=True)
        if isinstance(occupancy, (int, float)) and abs(occupancy - 1.0) > FULL
    ]
    if partial:
        raise StructureError(
            f"expected sites that are fully occupied, got {_list(partial)}, which would be computed as "
            f"full; {ORDERED}"
        )
    groups = block.get("_atom_site_disorder_group") or [None] * len(symbols)
    disordered = [
        (group, f"`{label}` (group {group})")
        for label, group in zip(labels, groups, strict=True)
        if group is not None and group not in ABSENT
    ]
    if len({group for group, _ in disordered}) > 1:
        raise StructureError(
            f"expected one arrangement of the atoms, got alternatives: {_list([n for _, n in disordered])}; "
            f"{ORDERED}"
        )


def _list(names: list[str], shown: int = 5) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def _reason(error: Exception, file: Path) -> str:
    """What a reader of ASE stumbled over, for people: an assertion of it says nothing."""
    if isinstance(error, MLIPError):
        return str(error)
    if isinstance(error, KeyError) and isinstance(error.args[0], str):
        return f"`{error.args[0]}`, which it does not know (of an isotope, write the element and its mass)"
    if isinstance(error, AssertionError) or not str(error):
        return f"one that its reader cannot take for `{file.suffix.removeprefix('.') or file.name}`"
    return f"{type(error).__name__}: {error}"
