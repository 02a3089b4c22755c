"""κ_SRME: how well the conductivity of every phonon mode agrees with a reference.

B. Póta, P. Ahlawat, G. Csányi and M. Simoncelli, arXiv:2408.00755; the measure of Matbench Discovery. For
mode-resolved conductivities κ(q, s), means over x, y and z, and totals κ,

    SRME = 2 Σ_qs |κ(q, s) - κ_ref(q, s)| / (N_q (κ + κ_ref)),

from 0 to 2, where κ = Σ_qs κ(q, s) / N_q. It is 2 by definition where there is no conductivity: relaxation
failed or changed the space group, or modes are imaginary, by a criterion of the benchmark's own that is
stricter than :attr:`.ConductivityResult.stable`.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import DataError
from .bands import ACOUSTIC

if TYPE_CHECKING:
    from .results import ConductivityResult

FAILED = 2.0


@dataclass
class KappaReference:
    """A reference conductivity: attributes mean what they do in :class:`ConductivityResult`.

    ``name`` is a formula, ``identifier`` the data base's.
    """

    name: str
    identifier: str
    temperatures: np.ndarray
    mean_kappa: np.ndarray
    mode_kappa: np.ndarray = field(repr=False)
    frequencies: np.ndarray = field(repr=False)
    q_points: np.ndarray = field(repr=False)
    weights: np.ndarray = field(repr=False)
    mesh: tuple[int, int, int]
    space_group_number: int | None


def kappa_srme(
    result: ConductivityResult | None,
    reference: ConductivityResult | KappaReference,
    temperature: float = 300.0,
) -> float:
    """Symmetric relative mean error of the modes' conductivities, from 0 to 2, no unit.

    Parameters
    ----------
    result : ConductivityResult, optional
        None stands for a relaxation or calculation that failed
    reference : ConductivityResult or KappaReference
        on the same mesh, which is what makes modes correspond
    temperature : float
        K, one that both have

    Returns
    -------
    float
        0 where all modes agree, 2 for what failed

    Raises
    ------
    DataError
        another mesh, or no such temperature
    """
    at = _index(reference.temperatures, temperature, "reference")
    if result is None or not result.stable or fails_benchmark(result.frequencies):
        return FAILED
    groups = (result.space_group_number, reference.space_group_number)
    if None not in groups and groups[0] != groups[1]:
        return FAILED
    _check_mesh(result, reference)
    here = _index(result.temperatures, temperature, "result")
    if not np.isfinite(result.kappa[here]).all():
        return FAILED
    difference = np.abs(result.mode_kappa[here] - reference.mode_kappa[at]).sum() / result.weights.sum()
    return float(2.0 * difference / (result.mean_kappa[here] + reference.mean_kappa[at]))


def fails_benchmark(frequencies: np.ndarray) -> bool:
    """Whether the benchmark calls modes imaginary: any below zero, of the acoustic ones at Γ below -0.01 THz.

    Parameters
    ----------
    frequencies : float64 [q, bands]
        THz, Γ first

    Returns
    -------
    bool
        whether there is such a mode
    """
    at_gamma = np.sort(frequencies[0])
    return bool(
        (at_gamma[:3] < -ACOUSTIC).any() or (at_gamma[3:] < 0.0).any() or (frequencies[1:] < 0.0).any()
    )


def read_references(path: str | Path) -> dict[str, KappaReference]:
    """References by identifier from the benchmark's file, such as ``kappas_phononDB_PBE_noNAC.json.gz``.

    Raises
    ------
    DataError
        a file of another kind
    OSError
        one that cannot be read
    """
    path = Path(path)
    data = path.read_bytes()
    try:
        table = json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
        rows = [{column: table[column][row] for column in table} for row in table["mp_id"]]
        return {row["mp_id"]: _reference(row) for row in rows}
    except (ValueError, KeyError, TypeError, EOFError, gzip.BadGzipFile) as error:
        raise DataError(
            f"`{path}`: expected the table of reference conductivities of k_SRME (JSON by column), got "
            f"something else ({type(error).__name__}: {error}); fetch it from the benchmark's repository"
        ) from None


def _reference(row: dict) -> KappaReference:
    return KappaReference(
        name=row["name"],
        identifier=row["mp_id"],
        temperatures=np.array(row["temperatures"], dtype=float),
        mean_kappa=np.array(row["kappa_TOT_ave"], dtype=float),
        mode_kappa=np.array(row["mode_kappa_TOT_ave"], dtype=float),
        frequencies=np.array(row["frequencies"], dtype=float),
        q_points=np.array(row["qpoints"], dtype=float),
        weights=np.array(row["weights"], dtype=int),
        mesh=tuple(row["q_mesh"]),
        space_group_number=row.get("symm.no"),
    )


def _index(temperatures: np.ndarray, temperature: float, what: str) -> int:
    found = np.flatnonzero(np.isclose(temperatures, temperature))
    if len(found) == 0:
        raise DataError(
            f"`{what}` has no conductivity at `temperature={temperature:g}` K, got {list(temperatures)}; "
            "compute it there"
        )
    return int(found[0])


def _check_mesh(result, reference) -> None:
    """Modes correspond where both have the same irreducible points in the same order."""
    same = (
        result.mode_kappa.shape[1:] == reference.mode_kappa.shape[1:]
        and np.array_equal(result.weights, reference.weights)
        and np.allclose(result.q_points, reference.q_points, atol=1e-5)
    )
    if not same:
        raise DataError(
            f"`reference` is of a mesh {tuple(reference.mesh)} with {len(reference.weights)} irreducible "
            f"points and {reference.mode_kappa.shape[-1]} bands, got {tuple(result.mesh)} with "
            f"{len(result.weights)} and {result.mode_kappa.shape[-1]}; use its mesh and structure"
        )
