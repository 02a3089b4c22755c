"""``ase-mlip relax``: the structures of files, one after another, with what is known of each."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...progress.bars import bar
from .. import options as shared
from ..command import Command
from ..common import (
    choose_averaging,
    make_calculator,
    noise_unsaid,
    read_first,
    say_noise,
)
from ..options import CRYSTAL, FILE, POSITIVE, calculator_options
from ..results import (
    Results,
    of_structure,
    of_structures,
    output_options,
    refuse_other_results,
    run_settings,
)
from ..values import Whole
from ..wording import in_options
from .crystal_run import warnings_as_lines

if TYPE_CHECKING:
    from ase import Atoms

    from ...calculators.calculator import MLIPCalculator
    from ...data.frames import FileFrame
    from ...relaxation.result import RelaxResult
    from ...relaxation.store import Store

CELLS = {"none": False, "full": True, "shape": "shape", "volume": "volume"}
RELAXED = "relaxed.extxyz"
AVERAGING = "--symmetrize octahedral or icosahedral, or crystal where it is known"
# Listed here as well, since `--help` must not import relaxation.relax; a test compares them.
OPTIMIZERS = ("FIRE", "FIRE2", "MDMin", "LBFGS", "BFGS", "LBFGSLineSearch", "BFGSLineSearch")


@click.command(cls=Command)
@click.argument("model")
@click.argument("structures", nargs=-1, required=True, type=FILE)
@click.option("--fmax", default=0.01, show_default=True, type=POSITIVE,
              help="Relax until no force is larger than this, in eV/Å; where the cell relaxes, it bounds the "
              "stress, too.")  # fmt: skip
@click.option(
    "--smax", type=POSITIVE, help="Relax until no component of the stress is larger than this, in eV/Å^3."
)
@click.option(
    "--steps", default=500, show_default=True, type=Whole(min=0), help="Stop after this many steps."
)
@click.option("--optimizer", type=click.Choice(OPTIMIZERS), default="FIRE", show_default=True,
              help="Use this optimiser of ASE.")  # fmt: skip
@click.option("--cell", type=click.Choice(list(CELLS)), default="none", show_default=True,
              help="Relax the cell, too: all of it (full), only its shape, or only its volume.")  # fmt: skip
@shared.keep_space_group
@shared.symprec
@shared.crystal
@shared.reference
@calculator_options
@output_options
def relax(
    model: str,
    structures: tuple[Path, ...],
    fmax: float,
    steps: int,
    cell: str,
    keep_space_group: bool | None,
    crystal: Path | None,
    reference: Path | None,
    calculator: dict,
    results: Results,
    **options,
) -> None:
    """Relax structures: atoms and, if asked, the cell.

    Every frame of STRUCTURES is relaxed. FOLDER gets relaxed.extxyz, relax.json and trajectories, and with
    --plot a picture of each. The same command continues there where it was ended: converged structures are
    skipped; an interrupted or unconverged one goes on from the last frame of its trajectory, for at most
    --steps more steps; failed ones start anew. Structures of other names are added. A structure that fails is
    reported, and the others go on. The exit status is 1 if any of them failed or did not converge.
    """
    if options["smax"] is not None and cell == "none":
        raise click.BadParameter(
            "needs a cell that is relaxed: --cell full, shape or volume", param_hint="--smax"
        )
    averages = calculator["symmetrize"] == CRYSTAL
    if crystal is not None and not averages:
        raise click.BadParameter("is for --symmetrize crystal", param_hint="--crystal")
    calculator = make_calculator(model, **calculator)
    from ...crystals import refuse_random
    from ...data.frames import named_frames
    from ...relaxation.store import Store, digest, key_of
    from ...relaxation.table import table

    refuse_random(calculator, "relax")
    frames = named_frames(structures)
    found = {name: frame.atoms for name, frame in frames.items()}
    choose_averaging(calculator, found)
    keep = shared.KEEP_SPACE_GROUP["relax"] if keep_space_group is None else keep_space_group
    options |= {
        "fmax": fmax,
        "cell": CELLS[cell],
        "keep_space_group": keep,
        "symmetrize": CRYSTAL if averages else None,
    }
    others = {"crystal": crystal, "reference": reference}
    options |= {name: None if file is None else read_first(file) for name, file in others.items()}
    options["steps"] = steps
    results.settings = _settings(calculator)
    path = None if results.folder is None else results.folder / RELAXED
    run = _Run(Store(path, results.settings, results.overwrite), results, options)
    if not results.overwrite:
        refuse_other_results(results.file(".json"), results.settings)
    short = digest(results.settings)
    keys = {name: key_of(name, atoms, short) for name, atoms in found.items()}
    run.store.claim(keys)
    try:
        with bar("structure") as progress:
            for done, (name, frame) in enumerate(frames.items()):
                run.do(name, frame, keys[name], calculator)
                progress(done + 1, len(frames), "")
    finally:
        run.store.flush()
    results.show(of_structures(results.settings, run.documents | run.earlier()), table(run.documents))
    if not all(document.get("converged") for document in run.documents.values()):
        sys.exit(1)


def _settings(calculator: MLIPCalculator) -> dict:
    """What relaxed structures depend on: a run with more --steps, or of other structures beside, goes on."""
    from ...calculators.identity import made_with

    known = run_settings(calculator.model.info.document_sha256, None)
    if known["symmetrize"] == "auto":
        known["averaging"] = None if calculator.averaging is None else calculator.averaging.name
    known["versions"] = made_with(calculator)["versions"]
    return {name: value for name, value in known.items() if name not in ("structure_sha256", "steps")}


class _Run:
    """What all structures of one command share, and the documents of those that were asked for so far."""

    def __init__(self, store: Store, results: Results, options: dict):
        self.store = store
        self.results = results
        self.options = options
        self.documents: dict[str, dict] = {}

    def do(self, name: str, frame: FileFrame, key: str, calculator) -> None:
        """Relax one structure unless that is done; a failure becomes a document, a full disk ends the run."""
        from ...errors import ArgumentError
        from ...relaxation.store import to_frame

        before = self.store.frames.get(key)
        if before is not None and before.info["converged"]:
            self.documents[name] = self.store.documents[key] | frame.where() | {"status": "done before"}
            if self.results.plot and not (self.results.folder / f"{name}.png").exists():
                text = "was done before, without a picture; in another folder it is relaxed again"
                click.echo(f"{name}: {text}", err=True)
            return
        path = self._trajectory(name, key)
        started = time.perf_counter()
        try:
            with warnings_as_lines() as said, noise_unsaid():
                result = self._relax(frame.atoms, calculator, path)
        except ArgumentError:
            raise  # of the command, not of this structure
        except (ValueError, RuntimeError, NotImplementedError) as error:  # of structures, models and torch
            if path is not None and path.exists():
                path.replace(path.with_suffix(".failed.traj"))  # to be looked at, not to be continued
            text = in_options(" ".join(str(error).split()))
            click.echo(f"failed: {name}: {text}", err=True)
            failed = {"status": "failed", "wall_time": time.perf_counter() - started}
            self.documents[name] = of_structure(frame.where(), failed, warnings=said, error=text)
            return
        said += say_noise(result.noise, self.options["fmax"], AVERAGING, name)
        document = of_structure(frame.where(), result.to_dict(), warnings=said)
        self.store.add(to_frame(result, name, key, self.results.settings), document)
        self.documents[name] = document | {"status": "converged" if result.converged else "not converged"}
        self._draw(name, result)

    def earlier(self) -> dict[str, dict]:
        """Documents of structures that earlier calls left in the folder, and this one was not asked for."""
        from ...relaxation.store import name_of

        others = {name_of(frame): self.store.documents[key] for key, frame in self.store.frames.items()}
        return {
            name: document | {"status": "done before" if document["converged"] else "not converged"}
            for name, document in others.items()
            if name not in self.documents
        }

    def _relax(self, atoms: Atoms, calculator, path: Path | None) -> RelaxResult:
        from ...relaxation.relax import relax as compute

        return compute(atoms, calculator, trajectory=path, resume=path is not None, **self.options)

    def _trajectory(self, name: str, key: str) -> Path | None:
        if self.results.folder is None:
            return None
        from ...relaxation.store import TRAJECTORIES

        folder = self.results.folder / TRAJECTORIES
        folder.mkdir(exist_ok=True)
        return folder / f"{name}-{key}.traj"

    def _draw(self, name: str, result: RelaxResult) -> None:
        if self.results.folder is None:
            return
        picture = self.results.folder / f"{name}.png"
        if self.results.plot:
            result.plot(picture)
        elif self.results.overwrite:
            picture.unlink(missing_ok=True)  # of the result that is replaced
