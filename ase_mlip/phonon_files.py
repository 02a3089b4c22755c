"""Files of a phonon calculation: forces of finished supercells, and results that others read."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from phonopy.file_IO import write_force_constants_to_hdf5, write_FORCE_SETS
from phonopy.structure.atoms import PhonopyAtoms

from .archive import write_atomically
from .provenance import write_json


class Checkpoint:
    """Forces of the supercells that are finished, so that a killed run goes on where it was.

    Parameters
    ----------
    path: an .npz file, or None to keep nothing
    supercells: those of the run; a file of others is ignored and replaced
    calculator: of which name, parameters and the content of its model file count
    """

    def __init__(self, path: str | Path | None, supercells: Sequence[PhonopyAtoms], calculator):
        self.path = None if path is None else Path(path)
        self.key = _key(supercells, calculator)
        self.sizes = [len(cell) for cell in supercells]
        self.forces: list[np.ndarray] = []
        self.evaluations: list[int] = []
        if self.path is not None and self.path.is_file():
            self._read()

    def add(self, forces: np.ndarray, evaluations: int) -> None:
        """Remember the next supercell's forces [N, 3]. Raises OSError; the file before stays."""
        self.forces.append(forces)
        self.evaluations.append(evaluations)
        if self.path is not None:
            buffer = io.BytesIO()
            # one array, since supercells of two sizes may be in it
            np.savez(buffer, key=self.key, forces=np.concatenate(self.forces), evaluations=self.evaluations)
            write_atomically(self.path, buffer.getvalue())

    def _read(self) -> None:
        try:
            with self.path.open("rb") as stream, np.load(stream) as stored:
                if str(stored["key"]) == self.key:
                    evaluations = [int(count) for count in stored["evaluations"]]
                    ends = np.cumsum(self.sizes[: len(evaluations)])
                    self.forces = np.split(stored["forces"], ends[:-1])
                    self.evaluations = evaluations
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile):
            pass  # not ours, or of a disk that was full: compute again


def _key(supercells: Sequence[PhonopyAtoms], calculator) -> str:
    digest = hashlib.sha256(b"forces of all supercells in one array")
    for cell in supercells:
        for array in (cell.cell, cell.positions, cell.numbers):
            digest.update(np.round(np.asarray(array, dtype=float), 10).tobytes())
    digest.update(f"{type(calculator).__name__} {getattr(calculator, 'parameters', None)}".encode())
    # the parameters name the model's file, which may have been replaced
    info = getattr(getattr(calculator, "model", None), "info", None)
    digest.update(getattr(info, "document_sha256", "").encode())
    averaging = getattr(calculator, "averaging", None)
    if averaging is not None:
        digest.update(averaging.name.encode() + averaging.rotations.tobytes())
    return digest.hexdigest()


def write_results(result, folder: Path, with_group_velocities: bool = False) -> dict:
    """``phonopy.yaml``, ``FORCE_SETS`` and ``force_constants.hdf5``, which phonopy's commands read, and JSON.

    ``result`` is a :class:`ase_mlip.phonons.PhononResult`. Returns what ``phonons.json`` holds, which is the
    mesh's modes ``with_group_velocities``, too. Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    result.save(folder / "phonopy.yaml")
    write_FORCE_SETS(result.phonopy.dataset, filename=str(folder / "FORCE_SETS"))
    write_force_constants_to_hdf5(
        result.phonopy.force_constants, filename=str(folder / "force_constants.hdf5")
    )
    document = result.to_dict() | result.spectra(with_group_velocities)
    write_json(folder / "phonons.json", document)
    return document
