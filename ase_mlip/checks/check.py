"""Does a model keep the contract, and is it physics? Every check measures; the table shows what was found."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from ase import Atoms

from ..calculators.inputs import as_structure, named_only
from ..graph.neighbors import check_structure
from ..model_file.model import Model, load_model
from ..progress.form import Progress, told
from . import continuity as check_continuity
from . import features as check_features
from . import graphs as check_graph
from . import physics as check_physics
from . import snnp as check_snnp
from .probe import CheckResult, Probe, in_dtype
from .structures import default_structures

CHECKS = (
    check_graph.shapes_and_dtypes,
    check_graph.input_not_mutated,
    check_graph.halo,
    check_graph.reach,
    check_graph.domains,
    check_graph.empty,
    check_graph.isolated_atom,
    check_graph.small_cell,
    check_graph.large_structure,
    check_graph.batch,
    check_graph.permutation,
    check_physics.translation,
    check_physics.forces,
    check_physics.stress,
    check_physics.sums,
    check_continuity.at_the_cutoff,
    check_continuity.along_a_path,
    check_physics.rotations,
    check_physics.direct_heads,
    check_physics.single_precision,
    check_features.linear_features,
    check_snnp.repulsive_core,
    check_snnp.smooth_cutoff,
    check_snnp.visited_intervals,
)


@named_only(2, "dtype", "seed", "progress")
def check(
    model: Model | str | Path,
    structure: Atoms | str | os.PathLike | None = None,
    *,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[CheckResult]:
    """Run every check on a model and return what was measured, in the order of the table.

    The model passes if ``all(result.passed is not False for result in results)``. A check that raises is a
    check that fails, with the error as its detail. Derivatives are judged only for models that claim to be
    conservative and run in float64; invariance under rotations only if the model claims equivariance.

    Parameters
    ----------
    model : Model, str or Path
        a model, its file or the name of a shipped one
    structure : ase.Atoms, str or Path, optional
        what to check with, or a file with it; by default a disordered crystal, a slab and a molecule of the
        model's species (it is evaluated some hundred times, so tens of atoms are better than thousands)
    dtype : torch.dtype
        what the network is evaluated in
    seed : int
        of the structures, displacements and permutations
    progress : callable, optional
        called as ``progress(done, total, stage)`` after each check, see :mod:`ase_mlip.progress`

    Returns
    -------
    list of CheckResult
        what was measured, in the order of the table

    Raises
    ------
    ModelFileError
        the file cannot be loaded
    StructureError
        ``structure`` is none that this model can evaluate
    DataError, FileNotFoundError
        a file of a structure that cannot be read

    Examples
    --------
    >>> from ase_mlip import check
    >>> found = check("snnp-si")
    >>> [result.name for result in found if result.passed is False]
    []
    """
    progress = told(progress)
    if isinstance(model, Model):
        model = in_dtype(model, dtype)
    else:
        model = load_model(model, dtype=dtype)
    if structure is None:
        structures = default_structures(model.info.species, seed)
    else:
        atoms = as_structure(structure, "structure")
        check_structure(atoms, model.info.species)
        structures = [Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)]
    probe = Probe(model, structures, seed)
    results = []
    for done, each in enumerate(CHECKS):
        results += _run(each, probe)
        progress(done + 1, len(CHECKS), "")
    return results


def passed(results: list[CheckResult]) -> bool:
    """Whether nothing that was judged failed."""
    return all(result.passed is not False for result in results)


def format_checks(results: list[CheckResult]) -> str:
    """The results as an aligned table, with the verdict in its last line."""
    rows = [("check", "measured", "at most", "unit", "", "how")]
    for result in results:
        tolerance = "" if result.tolerance is None else f"{result.tolerance:.1e}"
        verdict = {True: "pass", False: "FAIL", None: "-"}[result.passed]
        value = f"{result.value:.3e}" if np.isfinite(result.value) else str(result.value)
        rows.append((result.name, value, tolerance, result.unit, verdict, result.detail))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = []
    for name, value, tolerance, unit, verdict, detail in rows:
        cells = (name.ljust(widths[0]), value.rjust(widths[1]), tolerance.rjust(widths[2]))
        lines.append("  ".join((*cells, unit.ljust(widths[3]), verdict.ljust(widths[4]), detail)).rstrip())
    lines.insert(1, "-" * max(len(line) for line in lines[:1]))
    judged = [result for result in results if result.passed is not None]
    failed = [result for result in judged if not result.passed]
    lines.append("")
    if failed:
        lines.append(
            f"FAILED: {len(failed)} of {len(judged)} checks; {len(results) - len(judged)} values reported"
        )
    else:
        lines.append(f"passed: {len(judged)} checks; {len(results) - len(judged)} values reported")
    return "\n".join(lines)


def _run(each, probe: Probe) -> list[CheckResult]:
    """The check's results; what it raised is one that failed, since the model is what is under test."""
    try:
        return each(probe)
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
        name = each.__name__.replace("_", " ")
        detail = f"{type(error).__name__}: {lines[-1]}"
        return [CheckResult(name, float("nan"), None, "", False, detail)]
