"""The folder of a design: picks, what was set aside, all numbers."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import ase.io
from ase import Atoms

from ...provenance import read_settings, refuse_other_settings, write_atomically, write_json
from ..result import DesignResult, Pick
from .row_store import FOLDER as ROWS

PICKS, REJECTED, DOCUMENT, PICTURE = "picks.xyz", "rejected.xyz", "design.json", "design.png"


def refuse_other_design(folder: Path, settings: dict) -> None:
    """Refuse a folder that holds a design of other settings or inputs.

    Parameters
    ----------
    folder : Path
        of the design; it need not exist
    settings : dict
        of :func:`.document.settings_document`

    Raises
    ------
    DataError
        it holds one, with what differs
    """
    path = folder / DOCUMENT
    if path.exists():
        remark = ": rows that fit serve again" if (folder / ROWS).is_dir() else ""
        refuse_other_settings(path, read_settings(path), settings, remark)


def write_design(result: DesignResult, folder: Path) -> None:
    """Write picks.xyz, rejected.xyz and design.json, each all or nothing.

    Parameters
    ----------
    result : DesignResult
        what ``design`` returned
    folder : Path
        which must exist

    Raises
    ------
    OSError
        a file cannot be written
    """
    write_frames(folder / PICKS, map(to_frame, result.picks))
    write_frames(folder / REJECTED, (_rejected(item) for item in result.inputs.rejected))
    write_json(folder / DOCUMENT, result.to_dict())


def to_frame(pick: Pick) -> Atoms:
    """The structure with its labels and ``info`` as they were, and what the design says of it."""
    atoms = _copy(pick.atoms)
    atoms.info |= {
        "design_rank": pick.rank,
        "design_source": pick.source,
        "design_index": pick.index,
        "design_group": pick.group,
        "design_gain": pick.gain,
        "design_cost": pick.cost,
        "design_reason": pick.reason,
    }
    return atoms


def write_frames(path: Path, frames: Iterable[Atoms]) -> None:
    """Extended XYZ, all or nothing. Raises OSError.

    Of no frames the file is one empty line: ASE reads that as no frames, and refuses a file without a byte.
    """
    text = io.StringIO()
    frames = list(frames)
    if frames:
        ase.io.write(text, frames, format="extxyz")
    else:
        text.write("\n")
    write_atomically(path, text.getvalue().encode())


def _rejected(item) -> Atoms:
    atoms = _copy(item.frame.atoms)
    atoms.info |= {
        "design_source": item.frame.source,
        "design_index": item.frame.index,
        "design_reason": item.reason,
    }
    return atoms


def _copy(atoms: Atoms) -> Atoms:
    """With the calculator, whose results are the labels that the file had."""
    copy = atoms.copy()
    copy.calc = atoms.calc
    return copy
