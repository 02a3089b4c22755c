"""Validation of a model on structures: relaxation, phonons, elasticity, symmetry, dynamics, and a report.

Every structure runs in a process of its own. Finished steps are stored, so that a run that was stopped goes
on where it was, and a structure that fails, or takes its process with it, does not end the others.
"""

from __future__ import annotations

import json
import os
import traceback
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter

from ase import Atoms
from ase.io import read, write

from ..calculators.averaged import is_crystal
from ..calculators.inputs import named_only
from ..data.frames import FileFrame, frames_by_name
from ..errors import MLIPError, StructureError
from ..folder_lock import locked
from ..lattice_dynamics.comparison import reference_digest
from ..model_file.info import ModelInfo, find_model, read_info
from ..progress.form import Progress, told
from ..provenance import (
    difference,
    hardware,
    plain,
    refuse_other_settings,
    structures_sha256,
    versions,
    write_json,
)
from .processes import run_in_processes
from .validate_report import write_csv, write_page
from .validate_steps import (
    STEPS,
    Job,
    NotApplicable,
    Settings,
    kept_steps,
    reference_of,
    require_reference,
    settings_of,
)

RESULTS = "results.json"
RELAXED = "relaxed.extxyz"
VERSIONS = ("ase_mlip", "torch", "ase", "phonopy", "symfc", "spglib")  # of those that make numbers


@dataclass
class ValidationResult:
    """What was found of each structure.

    Attributes
    ----------
    model : dict
        its name, the SHA-256 of its document, its description
    settings : Settings
        what was done
    structures : dict
        by name: formula, number of atoms, ``file`` and ``frame`` where it is from one, and of each of the
        ``steps`` its numbers, pictures and warnings, or the error it ended with
    seconds : float
        of the clock, for what was not done before
    versions, hardware : dict
        of the libraries, and of the machine
    page : Path
        ``index.html``, which shows it all
    """

    model: dict
    settings: Settings
    structures: dict[str, dict] = field(repr=False)
    seconds: float
    versions: dict[str, str] = field(repr=False)
    hardware: dict = field(repr=False)
    page: Path

    @property
    def passed(self) -> bool:
        """Whether no step of a structure failed."""
        return not any(
            "error" in step for found in self.structures.values() for step in found["steps"].values()
        )

    def to_dict(self) -> dict:
        """What ``results.json`` holds."""
        own = {name: value for name, value in vars(self).items() if name != "page"}
        return plain({"schema_version": 1} | own | {"settings": asdict(self.settings)})


@named_only(2, "output", "settings")
def validate(
    model: str | Path,
    structures: Mapping[str, Atoms] | Atoms | str | Path | Sequence[str | Path],
    *,
    output: str | Path = "report",
    dtype: str = "float64",
    symmetrize: str | None = None,
    reference: str | Path | None = None,
    phonon_length: float | None = None,
    temperature_K: float = 300.0,
    time: float | None = None,
    quick: bool = False,
    settings: Settings | None = None,
    device: str = "auto",
    processes: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ValidationResult:
    """Run every step for every structure and write ``index.html``, ``results.json`` and ``results.csv``.

    The model comes first, as in :func:`ase_mlip.check` and :func:`ase_mlip.evaluate`: it is what is judged.

    Parameters
    ----------
    model : str or Path
        model file or shipped potential
    structures : mapping of ase.Atoms, ase.Atoms, str, Path or sequence of paths
        by name, which is also that of their folders; or one, with its formula for a name; or files, each
        frame with the file's name, as ``silicon`` or ``many-3``
    output : str or Path
        folder; steps that it holds already, of the same model, structure, reference, settings and
        versions, are not repeated; the entry ``anew`` of a structure says why others were
    dtype : str
        of the calculators
    symmetrize : str, optional
        average the model over rotations, see :func:`ase_mlip.rotations.schemes.find_averaging`; ``"crystal"``
        is the point group of each structure
    reference : str or Path, optional
        a phonopy directory to compare phonons with, or a folder with one for each structure's name
    phonon_length : float, optional
        make supercells for phonons at least so wide, Å; None takes those of :func:`ase_mlip.phonons`
    temperature_K : float
        of the dynamics, at the start, K
    time : float, optional
        of the dynamics, at least, in ASE's unit; None takes 1 ps, or 0.05 ps of a quick look
    quick : bool
        take a first, rough look, with coarse settings and short dynamics
    settings : Settings, optional
        instead of the options above: all of them, and what has none, such as the number of replicas
    device : str
        of the calculators
    processes : int, optional
        structures at a time; by default as many as there are cores, which share the threads
    overwrite : bool
        whether steps of another model, structure, reference, settings or versions, and a page of structures
        that are not asked for, are replaced, or refused
    progress : callable, optional
        called as ``progress(done, total, stage)`` with steps, see :mod:`ase_mlip.progress`

    Returns
    -------
    ValidationResult
        with the errors of steps that failed

    Raises
    ------
    MLIPError, FileNotFoundError
        an unknown model, no structures, or another process that writes to ``output``
    ArgumentError
        for ``settings`` beside an option that they hold
    DataError
        without ``overwrite``, for an ``output`` with steps of another run, or a page of other structures
    OSError
        where ``output`` cannot be written

    Examples
    --------
    Everything that a potential is asked for one crystal, as a page to look at:

    >>> from ase.build import bulk
    >>> from ase_mlip import validate
    >>> found = validate("snnp-si", bulk("Si"), output="validation", quick=True)
    >>> found.passed
    True
    >>> print(found.page)
    validation/index.html
    """
    progress = told(progress)
    path = find_model(str(model))
    info = read_info(path)
    folder = None if reference is None else str(Path(reference).resolve())
    options = {"dtype": dtype, "symmetrize": symmetrize, "phonon_length": phonon_length}
    options |= {"temperature_K": temperature_K, "reference": folder}
    settings = settings_of(settings, quick, time, options)
    frames = frames_by_name(structures)
    if not frames:
        raise StructureError("`validate` needs at least one structure, got none")
    if settings.reference is not None:
        require_reference(Path(settings.reference), list(frames))
    output = Path(output)
    if not overwrite:
        _refuse_others(info, {name: frame.atoms for name, frame in frames.items()}, output, settings)
    with locked(output):
        return _validate(path, info, frames, output, settings, device, processes, progress)


def _validate(
    path: Path,
    info: ModelInfo,
    structures: Mapping[str, FileFrame],
    output: Path,
    settings: Settings,
    device: str,
    processes: int | None,
    progress: Progress,
) -> ValidationResult:
    processes = max(1, min(processes or os.cpu_count() or 1, len(structures)))
    threads = max(1, (os.cpu_count() or 1) // processes)
    started = perf_counter()

    def ended(name: str, status: int) -> None:
        if status != 0:
            _record_crash(structures[name].atoms, output / name, status)

    def tick() -> None:
        done = sum(len(_stored(output / name)["steps"]) for name in structures)
        progress(done, len(structures) * len(STEPS), "")

    calls = {
        name: (path, name, frame.atoms, output / name, settings, device, threads)
        for name, frame in structures.items()
    }
    run_in_processes(run_structure, calls, processes, ended, tick)
    result = ValidationResult(
        model={"name": info.name, "file_sha256": info.document_sha256, "description": info.description},
        settings=settings,
        structures={name: frame.where() | _stored(output / name) for name, frame in structures.items()},
        seconds=perf_counter() - started,
        versions=versions(),
        hardware=hardware(device, threads),
        page=output / "index.html",
    )
    document = result.to_dict()
    write_json(output / RESULTS, document)
    write_csv(output / "results.csv", document)
    write_page(result.page, document, output)
    return result


def run_structure(
    model: Path, name: str, atoms: Atoms, folder: Path, settings: Settings, device: str, threads: int
) -> None:
    """Run the steps that ``folder`` does not hold yet, storing each as it ends."""
    import torch

    from ..calculators.calculator import MLIPCalculator

    torch.set_num_threads(threads)
    folder.mkdir(parents=True, exist_ok=True)
    scheme = None if is_crystal(settings.symmetrize) else settings.symmetrize
    calculator = MLIPCalculator(model, device=device, dtype=settings.dtype, symmetrize=scheme)
    job = Job(name, atoms, calculator, folder, settings)
    stored = _stored(folder)
    record = _record(stored, job, _made_with(calculator.model.info, job))
    if "anew" in stored:  # of an earlier call
        write_json(folder / RESULTS, record)
    relaxed = folder / RELAXED
    record["steps"] = kept_steps(record["steps"], relaxed)
    if record["steps"]:
        job.relaxed = read(relaxed)
    for step in STEPS:
        if step not in record["steps"]:
            record["steps"][step] = _run_step(step, job)
            if step == "relaxation" and job.relaxed is not None:
                write(relaxed, job.relaxed)
                job.relaxed = read(relaxed)  # to the file's digits, as for a run that goes on after a kill
            write_json(folder / RESULTS, record)


def _run_step(step: str, job: Job) -> dict:
    from ..pictures.plots import save_figure

    started = perf_counter()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            numbers, figures = STEPS[step](job)
    except NotApplicable as reason:
        return {"skipped": str(reason)}
    except OSError:
        raise  # a full disk is not the structure's fault
    except Exception as error:
        known = isinstance(error, MLIPError)
        text = " ".join(str(error).split()) if known else traceback.format_exc(limit=-3)
        return {"error": text or type(error).__name__, "seconds": perf_counter() - started}
    for name, figure in figures.items():
        save_figure(figure, job.folder / f"{name}.png", dpi=130)
    return {
        "numbers": numbers,
        "pictures": [f"{name}.png" for name in figures],
        "warnings": list(dict.fromkeys(" ".join(str(warning.message).split()) for warning in caught)),
        "seconds": perf_counter() - started,
    }


def _record_crash(atoms: Atoms, folder: Path, status: int) -> None:
    """What is known of a structure of which the process ended with a status other than zero."""
    record = {"formula": atoms.get_chemical_formula(), "n_atoms": len(atoms)} | _stored(folder)
    missing = next((step for step in STEPS if step not in record["steps"]), "process")
    record["steps"][missing] = {"error": f"the process ended with exit status {status}"}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RESULTS, record)


def _stored(folder: Path) -> dict:
    try:
        return json.loads((folder / RESULTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {"steps": {}}


def _of_quick(stored: dict | None, asked: dict, quick: dict) -> str:
    """What is a quick look, whose settings nobody gave by their names."""
    if stored is not None and not difference(stored, quick):
        return "; the results there are a quick look's (`--quick`)"
    return "" if difference(asked, quick) else "; this is a quick look (`--quick`)"


def _refuse_others(
    info: ModelInfo, structures: Mapping[str, Atoms], output: Path, settings: Settings
) -> None:
    """Raise DataError for steps, or a page, in ``output`` that were made with something else than now."""
    for name, atoms in structures.items():
        stored = _stored(output / name)
        made, quick = (
            _made_with(info, Job(name, atoms, None, output / name, chosen))
            for chosen in (settings, settings.quick())
        )
        before = stored.get("made_with")
        if stored["steps"]:
            refuse_other_settings(output / name, before, made, _of_quick(before, made, quick))
    _refuse_other_page(info, list(structures), output / RESULTS, settings)


def _refuse_other_page(info: ModelInfo, names: list[str], path: Path, settings: Settings) -> None:
    """The same for what all structures share, and for a page from which structures would vanish."""
    if not path.exists():
        return
    stored = None
    with suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads(path.read_text(encoding="utf-8"))
        stored = _of_page(found["model"]["file_sha256"], found["settings"], found["versions"])
        stored["structures"] = list(found["structures"])
    page, quick = (
        _of_page(info.document_sha256, asdict(chosen), versions()) | {"structures": names}
        for chosen in (settings, settings.quick())
    )
    if stored is not None and set(stored["structures"]) <= set(names):
        stored["structures"] = names  # more of them are added
    refuse_other_settings(path, stored, page, _of_quick(stored, page, quick))


def _of_page(document_sha256: str, settings: dict, known: dict) -> dict:
    return {
        "model_document_sha256": document_sha256,
        # of a reference the content counts
        "settings": {name: value for name, value in settings.items() if name != "reference"},
        "versions": {name: known.get(name) for name in VERSIONS},
    }


def _record(stored: dict, job: Job, made: dict) -> dict:
    """What is kept of a structure: its steps, if they were ``made`` with the same, else a line why not."""
    fresh = {
        "made_with": made,
        "formula": job.atoms.get_chemical_formula(),
        "n_atoms": len(job.atoms),
        "steps": {},
    }
    before = stored.get("made_with")
    why = "not known" if before is None else difference(before, made)
    if not why:
        return {name: value for name, value in stored.items() if name != "anew"}
    if stored["steps"]:
        fresh["anew"] = f"finished steps were of another run ({why}): all were computed anew"
    return fresh


def _made_with(info: ModelInfo, job: Job) -> dict:
    """What the steps of a structure depend on, as JSON has it."""
    folder = reference_of(job)
    return {
        "model_document_sha256": info.document_sha256,
        "structure_sha256": structures_sha256([job.atoms]),
        "reference_sha256": None if folder is None else reference_digest(folder),
        **_of_page(info.document_sha256, asdict(job.settings), versions()),
    }
