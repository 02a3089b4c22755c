"""Relaxed structures in a file, found again by name, content and settings, and a document of each beside it.

The file's format keeps eight decimals, and has no place for lists: the documents hold everything.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, unquote

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from ..errors import DataError
from ..provenance import (
    Parts,
    other_results,
    plain,
    refuse_other_settings,
    structure_content,
    write_atomically,
)
from .result import RelaxResult

TRAJECTORIES = "trajectories"  # the folder beside the file
_NAME_END = "~"  # makes a word of every name: the file's format would take some for numbers
_DOCUMENT = "document"  # its name in its file
_OURS = re.compile(r"-x[0-9a-f]{16}(\.failed)?\.(traj|json)$")  # see `_named`
SHARE = 0.05  # of the time that may go into writing a long file again and again


def digest(settings: dict) -> str:
    """A short name for what all structures of a file were relaxed with."""
    return _named(hashlib.sha256(json.dumps(settings, sort_keys=True).encode()))


def key_of(name: str, atoms: Atoms, settings: str) -> str:
    """A short name for one structure, relaxed with the settings of digest ``settings``."""
    content = hashlib.sha256(f"{settings}\n{name}\n".encode() + structure_content(atoms))
    held = [plain(constraint.todict()) for constraint in atoms.constraints]
    if held:
        content.update(json.dumps(held, sort_keys=True).encode())
    return _named(content)


def to_frame(result: RelaxResult, name: str, key: str, settings: dict) -> Atoms:
    """The relaxed structure with energy, forces and stress as ASE keeps them, all else in ``info``.

    ``settings`` are what it was relaxed with, as JSON has them.
    """
    frame = result.atoms.copy()
    frame.calc = SinglePointCalculator(
        frame, energy=result.energy, forces=result.forces, stress=result.stress
    )
    frame.info = {
        "name": name,
        "relax_name": quote(name, safe="") + _NAME_END,
        "converged": result.converged,
        "steps": result.steps,
        "optimizer": result.optimizer,
        "fmax": result.fmax,
        "gradient": result.fmaxes[-1],
        "energy_start": result.energies[0],
        "spacegroup_before": {f"{symprec:g}": group for symprec, group in result.spacegroup_before.items()},
        "spacegroup_after": {f"{symprec:g}": group for symprec, group in result.spacegroup_after.items()},
        "rmsd": result.rmsd,
        "wall_time": result.wall_time,
        "relax_key": key,
        "relax_settings": _as_word(settings),
    }
    optional = {
        "volume": result.volume,
        "rmsd_to_reference": result.rmsd_to_reference,
        "noise_rounding": result.noise and result.noise.rounding,
        "noise_anisotropy": result.noise and result.noise.anisotropy,
        "trajectory": result.trajectory and str(result.trajectory),
    }
    frame.info |= {label: value for label, value in optional.items() if value is not None}
    frame.info["relax_sha256"] = _content(frame)
    return frame


def name_of(frame: Atoms) -> str:
    """The name of the structure of a frame; the format may have changed that of earlier versions' frames."""
    word = str(frame.info.get("relax_name", ""))
    return unquote(word.removesuffix(_NAME_END)) if word.endswith(_NAME_END) else str(frame.info["name"])


class Store:
    """The frames of one output file, kept in memory and written to it in one piece, and their documents.

    A document is a file of its own in the folder ``trajectories``, written before the frame is.
    Writing is put off while it would take more than a twentieth of the time; ``flush`` writes what is left.
    With ``overwrite``, a file that is refused otherwise counts as none and is replaced.

    Raises
    ------
    DataError
        for a file that exists and holds anything else than structures relaxed with the same settings
    """

    def __init__(self, path: Path | None, settings: dict, overwrite: bool = False):
        self.path, self.overwrite = path, overwrite
        self.frames = {} if path is None or not path.exists() else _read(path, settings, overwrite)
        self.documents: dict[str, dict] = {}
        self._pending = False
        self._duration = 0.0
        self._written = time.perf_counter()

    def claim(self, keys: Mapping[str, str]) -> None:
        """Take the documents of frames; refuse other structures with the names of those to be relaxed.

        With ``overwrite``, they count as none and are replaced; those of other names stay. So do frames
        without a document, which former versions did not write.

        Parameters
        ----------
        keys : mapping of str
            :func:`key_of` the structures, by their names

        Raises
        ------
        DataError
            names the first of them, and the remedy
        """
        for key, frame in list(self.frames.items()):
            name = name_of(frame)
            if keys.get(name, key) == key:
                kept = self._kept(name, key)
                if kept.found:
                    self.documents[key] = kept.found[_DOCUMENT]
                    continue
                got = f"{name!r} without its document `{kept.path}`, as a former version left it"
            else:
                got = f"those of another structure of the name {name!r}"
            if not self.overwrite:
                raise other_results(self.path, got)
            del self.frames[key]
            _forget(self.path, f"{name}-{key}")

    def add(self, frame: Atoms, document: dict) -> None:
        """Keep a frame, in the place of an earlier one of its structure, and its document. Raises OSError."""
        key = frame.info["relax_key"]
        kept = self._kept(name_of(frame), key, anew=True)
        kept.keep(_DOCUMENT, document)
        kept.write()
        self.frames[key], self.documents[key] = frame, document
        self._pending = True
        if time.perf_counter() - self._written > self._duration / SHARE:
            self.flush()

    def flush(self) -> None:
        """Write the file if frames have come since; a full disk leaves the old one. Raises OSError."""
        if self.path is None or not self._pending:
            return
        started = time.perf_counter()
        text = io.StringIO()
        ase.io.write(text, list(self.frames.values()), format="extxyz")
        write_atomically(self.path, text.getvalue().encode())
        self._pending = False
        self._written = time.perf_counter()
        self._duration = self._written - started

    def _kept(self, name: str, key: str, anew: bool = False) -> Parts:
        """The file of a document, which says if it was damaged, and with ``anew`` is replaced."""
        path = None if self.path is None else self.path.parent / TRAJECTORIES / f"{name}-{key}.json"
        return Parts(path, {"relax_key": key}, self.overwrite or anew)


def _content(frame: Atoms) -> str:
    """A short name for the numbers of a frame, with the eight decimals that the file has."""
    parts = [frame.get_potential_energy(), frame.get_forces(), frame.positions, frame.cell.array]
    parts += [frame.get_stress()] if "stress" in frame.calc.results else []
    text = "\n".join(" ".join(f"{value:.8f}" for value in np.ravel(part)) for part in parts)
    kept = [str(frame.info[key]) for key in ("relax_key", "converged", "steps")]
    return _named(hashlib.sha256("\n".join([text, *frame.get_chemical_symbols(), *kept]).encode()))


def _named(content) -> str:
    return "x" + content.hexdigest()[:16]  # a letter first: the file's format would take some for numbers


def _as_word(settings: dict) -> str:
    """Without quotes, backslashes and blanks, which the file's format does not keep inside JSON."""
    return quote(json.dumps(settings))


def _from_word(word) -> dict | None:
    """The settings of :func:`_as_word`; None of anything else."""
    try:
        found = json.loads(unquote(str(word)))
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _read(path: Path, settings: dict, overwrite: bool) -> dict[str, Atoms]:
    try:
        return _frames(path, settings)
    except DataError:
        if not overwrite:
            raise
        _forget(path)
        return {}


def _forget(path: Path, name: str = "") -> None:
    """Remove the trajectories and documents of results that are replaced: no relaxation goes on from them.

    Files that are called otherwise than ours are somebody else's and stay.
    """
    for file in (path.parent / TRAJECTORIES).glob("*"):
        if _OURS.search(file.name) and file.name.startswith(name):
            file.unlink()


def _frames(path: Path, settings: dict) -> dict[str, Atoms]:
    try:
        frames = ase.io.read(path, ":", format="extxyz")
    except Exception as error:  # ASE's parsers raise whatever they stumble over
        raise other_results(path, f"nothing that ASE reads ({error})") from None
    for frame in frames:
        refuse_other_settings(path, _from_word(frame.info.get("relax_settings")), settings)
        if frame.info.get("relax_sha256") != _content(frame):
            numbers = f"numbers of `{frame.info.get('name')}`"
            raise other_results(path, f"{numbers} that were damaged or altered since they were written")
    return {frame.info["relax_key"]: frame for frame in frames}
