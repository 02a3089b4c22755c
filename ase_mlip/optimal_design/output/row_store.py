"""Rows as they are made, a file for each structure: what a killed design goes on from.

A file is named by a digest of its structure and of all that its rows depend on, so that rows of other
settings, of another model or of a changed structure are never found.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from ase import Atoms

from ...progress.form import Progress
from ...provenance import plain, structure_content, write_atomically
from ..rows.source import RowSource
from ..rows.structure_rows import Rows

FOLDER = "rows"
ARRAYS = ("energy", "forces", "stress", "atoms")


def stored_rows(
    source: RowSource, structures: Sequence[Atoms], folder: Path | None, progress: Progress
) -> Iterator[Rows]:
    """As ``source.rows``; those that take long come from ``folder`` or, once they are made, go into it.

    Parameters
    ----------
    source : RowSource
        makes rows
    structures : sequence of ase.Atoms
        of which rows are wanted
    folder : Path or None
        of the design; None to store nothing
    progress : callable
        called as ``progress(done, total, "rows")``

    Yields
    ------
    Rows
        of one structure after another, not scaled

    Raises
    ------
    OSError
        a file cannot be written
    """
    if folder is None or source.depends_on is None:
        yield from source.rows(structures, progress)
        return
    store = RowStore(folder, source.depends_on)
    found = [store.find(atoms) for atoms in structures]
    made = source.rows([atoms for atoms, rows in zip(structures, found, strict=True) if rows is None])
    done = sum(rows is not None for rows in found)
    progress(done, len(structures), "rows")
    for atoms, rows in zip(structures, found, strict=True):
        if rows is None:
            rows = next(made)
            store.add(atoms, rows)
            done += 1
            progress(done, len(structures), "rows")
        yield rows


class RowStore:
    """Rows of structures in a folder, which is made with the first of them.

    Parameters
    ----------
    folder: of the design; the rows go into ``rows`` in it
    settings: what rows depend on beside their structure, ready for JSON
    """

    def __init__(self, folder: Path, settings: Mapping):
        self.folder = folder / FOLDER
        self._settings = json.dumps(plain(settings), sort_keys=True).encode()

    def find(self, atoms: Atoms) -> Rows | None:
        """Rows of the structure; None if there are none, or the file is damaged."""
        try:
            with np.load(io.BytesIO(self._path(atoms).read_bytes()), allow_pickle=False) as stored:
                return Rows(*(stored[name] for name in ARRAYS), n_atoms=len(atoms))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def add(self, atoms: Atoms, rows: Rows) -> None:
        """Write the rows of a structure, all or nothing. Raises OSError."""
        stream = io.BytesIO()
        np.savez(stream, **{name: getattr(rows, name) for name in ARRAYS})
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self._path(atoms), stream.getvalue())

    def _path(self, atoms: Atoms) -> Path:
        digest = hashlib.sha256(self._settings + structure_content(atoms)).hexdigest()
        return self.folder / f"{digest[:32]}.npz"
