"""Files of a phonon calculation: forces of finished supercells, and results that others read."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from phonopy.file_IO import write_force_constants_to_hdf5, write_FORCE_SETS
from phonopy.structure.atoms import PhonopyAtoms

from ..calculators.identity import is_known, made_with
from ..errors import users_line
from ..provenance import difference, write_atomically, write_json
from .supercells.cells import to_ase

SAME_FORCES = 1e-4  # of the largest force: what rounding in float32 and on other machines may change
SMALLEST_FORCE = 1e-6  # eV/Å


class Checkpoint:
    """Forces of the supercells that are finished, so that a killed run goes on where it was.

    Parameters
    ----------
    path : str or Path, optional
        an .npz file, or None to keep nothing
    supercells : sequence of PhonopyAtoms
        those of the run
    calculator
        of which class, parameters, model files, rotations and versions count, as in
        :mod:`ase_mlip.calculators.identity`. Where these do not tell everything, as with a foreign
        calculator, the stored supercell with the largest force is evaluated again and compared

    Warns
    -----
    UserWarning
        for a file of other supercells or of another calculator, which is replaced, saying what differs
    """

    def __init__(self, path: str | Path | None, supercells: Sequence[PhonopyAtoms], calculator):
        self.path = None if path is None else Path(path)
        self.made_with = made_with(calculator)
        self.key = _key(supercells, self.made_with)
        self.sizes = [len(cell) for cell in supercells]
        self.forces: list[np.ndarray] = []
        self.evaluations: list[int] = []
        if self.path is not None and self.path.is_file():
            self._read(supercells, calculator)

    def add(self, forces: np.ndarray, evaluations: int) -> None:
        """Remember the next supercell's forces [N, 3]. Raises OSError; the file before stays."""
        self.forces.append(forces)
        self.evaluations.append(evaluations)
        if self.path is not None:
            buffer = io.BytesIO()
            # one array, since supercells of two sizes may be in it
            forces, counts = np.concatenate(self.forces), np.array(self.evaluations)
            np.savez(
                buffer,
                key=self.key,
                made_with=json.dumps(self.made_with),
                forces=forces,
                evaluations=counts,
                sha256=_content(self.key, forces, counts),
            )
            write_atomically(self.path, buffer.getvalue())

    def _read(self, supercells: Sequence[PhonopyAtoms], calculator) -> None:
        try:
            with self.path.open("rb") as stream, np.load(stream) as stored:
                counts = stored["evaluations"]
                if str(stored["sha256"]) != _content(str(stored["key"]), stored["forces"], counts):
                    raise ValueError("damaged or altered")
                evaluations = [int(count) for count in counts]
                ends = np.cumsum(self.sizes[: len(evaluations)])
                same = str(stored["key"]) == self.key
                forces = np.split(stored["forces"], ends[:-1]) if same else []
                why = difference(json.loads(str(stored["made_with"])), self.made_with)
        except OSError:
            raise  # it is there and cannot be read
        except Exception:  # not ours, or damaged: numpy and zipfile raise whatever they stumble over
            self._warn("holds no forces that can be read")
            return
        if not same:
            self._warn(f"holds forces of another run ({why or 'other supercells'})")
        elif not is_known(calculator) and not _agrees(supercells, forces, calculator):
            self._warn("holds forces that this calculator does not give again")
        else:
            self.forces, self.evaluations = forces, evaluations

    def _warn(self, what: str) -> None:
        warnings.warn(f"`{self.path}` {what}: all are computed anew", UserWarning, stacklevel=users_line())


def _agrees(supercells: Sequence[PhonopyAtoms], forces: list[np.ndarray], calculator) -> bool:
    """Whether ``calculator`` gives the stored ``forces`` of the supercell with the largest again."""
    largest = max(range(len(forces)), key=lambda index: np.abs(forces[index]).max())
    again = calculator.get_property("forces", to_ase(supercells[largest]))
    change = np.abs(again - forces[largest]).max()
    return bool(change <= SAME_FORCES * np.abs(forces[largest]).max() + SMALLEST_FORCE)


def _content(key: str, forces: np.ndarray, counts: np.ndarray) -> str:
    """SHA-256 of what a checkpoint holds."""
    digest = hashlib.sha256(key.encode())
    for array in (forces, counts):
        digest.update(f"{array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def _key(supercells: Sequence[PhonopyAtoms], made_with: dict) -> str:
    digest = hashlib.sha256(b"forces of all supercells in one array")
    for cell in supercells:
        for array in (cell.cell, cell.positions, cell.numbers):
            digest.update(np.round(np.asarray(array, dtype=float), 10).tobytes())
    digest.update(json.dumps(made_with, sort_keys=True).encode())
    return digest.hexdigest()


def write_results(
    result, folder: Path, with_group_velocities: bool = False, settings: dict | None = None
) -> dict:
    """``phonopy.yaml``, ``FORCE_SETS`` and ``force_constants.hdf5``, which phonopy's commands read, and JSON.

    ``result`` is a :class:`ase_mlip.lattice_dynamics.phonons.PhononResult`. Returns what ``phonons.json``
    holds: ``settings`` where there are any, and the mesh's modes ``with_group_velocities``, too. Raises
    OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    result.save(folder / "phonopy.yaml")
    write_FORCE_SETS(result.phonopy.dataset, filename=str(folder / "FORCE_SETS"))
    write_force_constants_to_hdf5(
        result.phonopy.force_constants, filename=str(folder / "force_constants.hdf5")
    )
    known = {} if settings is None else {"settings": settings}
    document = known | result.to_dict() | result.spectra(with_group_velocities)
    write_json(folder / "phonons.json", document)
    return document
