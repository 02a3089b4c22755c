"""What ``--verify`` needs of a design beside its JSON: the basis and the prior."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from ...errors import DataError
from ...provenance import write_atomically
from ..result import DesignResult
from ..rows.source import RowSource, basis_of_hypers, feature_source, linear_source
from ..settings import DesignSettings

FILE = "design.npz"


@dataclass
class StoredDesign:
    """A design as it lies in its folder.

    Attributes
    ----------
    document : dict
        design.json
    source : RowSource
        makes rows of structures as the design did, with all force rows of an s-NNP
    prior : float64 [p, p]
        A₀
    """

    document: dict
    source: RowSource
    prior: np.ndarray


def write_stored(result: DesignResult, folder: Path) -> None:
    """Write design.npz, all or nothing.

    Parameters
    ----------
    result : DesignResult
        what ``design`` returned
    folder : Path
        which must exist

    Raises
    ------
    OSError
        the file cannot be written
    """
    stream, arrays = io.BytesIO(), {f"basis_{name}": value for name, value in result.rows.arrays.items()}
    basis = np.array(json.dumps(result.rows.document))
    np.savez_compressed(stream, basis=basis, prior=result.prior, **arrays)
    write_atomically(folder / FILE, stream.getvalue())


def read_stored(folder: Path, smallest: Atoms) -> StoredDesign:
    """The design in a folder.

    Parameters
    ----------
    folder : Path
        that a design was written into
    smallest : ase.Atoms
        one of its structures, the smallest for speed, to count the features of a network with

    Returns
    -------
    StoredDesign
        with the σ that were used

    Raises
    ------
    DataError
        there is none, or its files are damaged
    MLIPError
        its model is not there any more
    """
    path = folder / "design.json"
    if not path.is_file():
        raise DataError(
            f"`{folder}`: expected the folder of a design, got one without `design.json`; give the "
            "folder that `ase-mlip design -o` wrote"
        )
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        options = {key: value for key, value in document["settings"].items() if key != "files"}
        settings = DesignSettings(**{**options, "labels": tuple(options["labels"])})
        with np.load(folder / FILE, allow_pickle=False) as arrays:
            basis, prior = json.loads(str(arrays["basis"])), arrays["prior"]
            f = arrays.get("basis_f")
        sigma = {**settings.sigma, **document["sigma_used"]}
    except (ValueError, KeyError, TypeError, AttributeError, OSError, zipfile.BadZipFile) as error:
        raise DataError(
            f"`{folder}`: expected `design.json` and `{FILE}` as they were written, got "
            f"{type(error).__name__}: {error}; make the design again"
        ) from None
    if basis["kind"] == "linear":
        source = linear_source(basis_of_hypers(basis["hypers"], f), basis["origin"], settings, None)
    else:
        source = feature_source(settings, smallest)
    source.sigma = sigma
    return StoredDesign(document, source, prior)
