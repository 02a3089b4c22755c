"""``ase-mlip phonons``: band structures of crystals, with files that phonopy reads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...folder_lock import locked
from ...progress.bars import bar
from .. import options
from ..command import Command
from ..common import (
    choose_averaging,
    make_calculator,
)
from ..options import CRYSTAL, FILE, POSITIVE, calculator_options
from ..results import (
    answer,
    finished_parts,
    forces_of,
    of_structure,
    of_structures,
    refuse_other_results,
    require_folder,
    run_settings,
)
from ..wording import in_options
from .crystal_run import warnings_as_lines

if TYPE_CHECKING:
    from ase import Atoms
    from phonopy import Phonopy

    from ...provenance import Parts

RESULT, FORCES = "phonons.json", "forces.npz"


@click.command(cls=Command)
@click.argument("model")
@click.argument("structures", nargs=-1, required=True, type=FILE)
@options.output_folder
@options.overwrite
@options.supercell
@click.option(
    "--min-length",
    type=POSITIVE,
    help="Instead of --supercell, make a supercell whose faces are at least this far apart, in Å.",
)
@options.distance
@click.option(
    "--plusminus/--no-plusminus",
    default=None,
    help="Displace each atom in both directions. By default this is done where symmetry does not make them "
    "equivalent.",
)
@options.mesh
@click.option(
    "--path",
    help='Follow these special points, such as "GXU,KGL". By default the path is the standard one of '
    "seekpath.",
)
@options.reference
@click.option(
    "--audit", is_flag=True, help="Also measure what symmetries and sum rules the model obeys by itself."
)
@click.option(
    "--group-velocities", is_flag=True, help="Also write the modes and group velocities on the mesh."
)
@options.relax_first
@options.symprec
@click.option("--allow-unrelaxed", is_flag=True, help="Go on even where the crystal could not be relaxed.")
@options.as_json
@calculator_options
def phonons(
    model: str,
    structures: tuple[Path, ...],
    output: Path | None,
    overwrite: bool,
    supercell: tuple[int, int, int] | None,
    min_length: float | None,
    distance: float | None,
    plusminus: bool | None,
    mesh: tuple[int, int, int] | None,
    path: str | None,
    reference: Path | None,
    audit: bool,
    group_velocities: bool,
    relax_first: bool,
    symprec: float,
    allow_unrelaxed: bool,
    as_json: bool,
    calculator: dict,
) -> None:
    """Compute phonons of crystals.

    Each structure is relaxed within its space group and displaced. FOLDER/NAME/ gets phonopy.yaml,
    FORCE_SETS, force_constants.hdf5, phonons.json and bands.png. A run that was killed goes on with the
    supercells it has.
    """
    output = output or Path(options.FOLDERS["phonons"])
    mesh, distance = mesh or options.MESH["phonons"], distance or options.DISTANCE["phonons"]
    require_folder(output)
    if supercell is not None and min_length is not None:
        raise click.BadParameter("has no meaning with --supercell", param_hint="--min-length")
    given = {"mesh": mesh, "distance": distance, "dtype": calculator["dtype"]}
    averages = calculator["symmetrize"] == CRYSTAL
    calculator = make_calculator(model, **calculator)
    from ...data.frames import named_frames
    from ...errors import ArgumentError, MLIPError
    from ...relaxation.store import key_of

    settings = {
        "distance": distance,
        "relax_first": relax_first,
        "allow_unrelaxed": allow_unrelaxed,
    }
    settings["symprec"] = symprec
    settings["symmetrize"] = CRYSTAL if averages else None
    settings |= {"supercell_matrix": supercell, "min_length": min_length}
    drawing = {"path": path, "mesh": mesh, "is_plusminus": "auto" if plusminus is None else plusminus}
    run = _Run(settings, drawing, reference, audit, group_velocities, talk=not as_json)
    found, failed = {}, []
    frames = named_frames(structures)
    named = {name: frame.atoms for name, frame in frames.items()}
    content = {name: key_of("", atoms, "") for name, atoms in named.items()}
    sha256, known, parts = calculator.model.info.document_sha256, {}, {}
    for name in named:
        known[name] = run_settings(sha256, content[name], **given)
        parts[name] = _claim(output / name, known[name], overwrite)
    choose_averaging(calculator, named)
    for name, atoms in named.items():
        atoms.calc = calculator
        said: list[str] = []
        try:
            with locked(output / name):
                with warnings_as_lines() as said:
                    result = run.do(name, atoms, output / name, known[name], parts[name])
                found[name] = of_structure(frames[name].where(), result, warnings=said)
                _complete(output / name / RESULT, found[name])
                parts[name].remove()
        except ArgumentError:
            raise  # of the command, not of this structure
        except MLIPError as error:
            failed.append(name)
            text = in_options(" ".join(str(error).split()))
            found[name] = of_structure(frames[name].where(), warnings=said, error=text)
            click.echo(f"{name}: failed: {text}", err=True)
    if as_json:
        answer(of_structures(run_settings(sha256, list(content.values()), **given), found), "", as_json)
    if failed:
        raise click.ClickException(f"failed: {', '.join(failed)}")


def _claim(folder: Path, settings: dict, overwrite: bool) -> Parts:
    """Refuse results and forces of other settings, before the work, and those of which none are known."""
    if not overwrite:
        refuse_other_results(folder / RESULT, settings)
    forces = folder / FORCES
    # without forces, a killed run has left nothing that could be lost
    parts = finished_parts(folder / "phonons.parts.json", settings, overwrite or not forces.exists())
    if not overwrite and not parts.before and forces.exists() and not (folder / RESULT).exists():
        from ...provenance import other_results

        raise other_results(forces, "forces of which the settings are not known")
    return parts


def _complete(path: Path, document: dict) -> None:
    """Add what was not known when the results were written: where the structure is from, and warnings."""
    from ...provenance import write_json

    write_json(path, json.loads(path.read_text(encoding="utf-8")) | document)


@dataclass
class _Run:
    """What all structures of one command share."""

    options: dict
    drawing: dict
    reference: Path | None
    audit: bool
    group_velocities: bool
    talk: bool

    def do(self, name: str, atoms: Atoms, folder: Path, known: dict, parts: Parts) -> dict:
        """Results of one structure, written to ``folder``, which also keeps the forces of supercells.

        ``known`` are the settings, which ``phonons.json`` holds, and until it is there ``parts``.
        """
        from ...lattice_dynamics.files import write_results
        from ...lattice_dynamics.phonons import phonons as compute
        from ...provenance import write_json

        loaded = None if self.reference is None else self._load(atoms)  # before the work, not after it
        checkpoint = folder / FORCES
        with forces_of(parts, checkpoint), bar("supercell") as progress:
            result = compute(atoms, **self.options, **self.drawing, checkpoint=checkpoint, progress=progress)
        document = write_results(result, folder, self.group_velocities, settings=known)
        result.plot(folder / "bands.png")
        found = {}
        if self.talk:
            _print_result(name, result)
        if loaded is not None:
            found["comparison"] = self._compare(atoms, loaded, folder)
        if self.audit:
            found["audit"] = self._audit(atoms, folder)
        if found:
            write_json(folder / RESULT, document | found)
        if self.talk:
            click.echo(f"  files in {folder}")
        return result.to_dict() | found

    def _load(self, atoms: Atoms) -> Phonopy:
        from ...lattice_dynamics.comparison import check_same_crystal, load_reference
        from ...lattice_dynamics.supercells.cells import to_ase

        loaded = load_reference(self.reference)
        check_same_crystal(atoms, to_ase(loaded.unitcell), str(self.reference))
        return loaded

    def _compare(self, atoms: Atoms, loaded: Phonopy, folder: Path) -> dict:
        from ...lattice_dynamics.comparison import compare_with
        from ...pictures.plots import plot_phonons, save_figure

        options = {**self.options, **self.drawing, "checkpoint": folder / "forces-reference.npz"}
        with bar("supercell") as progress:
            comparison = compare_with(atoms, loaded, str(self.reference), **options, progress=progress)
        names = (atoms.calc.model.info.name, "reference")
        figure = plot_phonons(comparison.model, overlay=comparison.reference_bands, names=names)
        save_figure(figure, folder / "comparison.png")
        if self.talk:
            _print_comparison(comparison)
        return comparison.to_dict()

    def _audit(self, atoms: Atoms, folder: Path) -> dict:
        from ...lattice_dynamics.audit import audit_phonons

        with bar("supercell") as progress:
            checkpoint = folder / "forces-audit.npz"
            checked = audit_phonons(atoms, **self.options, checkpoint=checkpoint, progress=progress)
        if self.talk:
            _print_audit(checked)
        return checked.to_dict()


def _print_result(name: str, result) -> None:
    click.echo(
        f"{name}: {result.space_group}, supercell of {result.n_atoms_supercell} atoms, faces "
        f"{result.supercell_width:.2f} Å apart"
    )
    relaxation = result.relaxation
    if relaxation is not None:
        lengths = ", ".join(f"{length:.4f}" for length in relaxation.atoms.cell.lengths())
        made = relaxation.refinement
        click.echo(
            f"  symmetry made exact: atoms moved by up to {made.moved:.1e} Å, cell strained by up to "
            f"{made.strained:.1e}"
        )
        click.echo(f"  relaxed in {relaxation.steps} steps to cell vectors of {lengths} Å")
    displaced, evaluated = (
        f"{count} {noun}{'' if count == 1 else 's'}"
        for count, noun in ((result.n_displacements, "displacement"), (result.evaluations, "evaluation"))
    )
    click.echo(f"  {displaced}, {evaluated}, {result.seconds:.1f} s; averaging {result.averaging}")
    for point, row in result.special_frequencies.items():
        click.echo(f"  {point:<3} {' '.join(f'{round(value, 3) + 0.0:8.3f}' for value in row)} THz")
    lowest = round(result.lowest_frequency, 3) + 0.0  # zero has no sign
    click.echo(f"  lowest frequency {lowest:.3f} THz: {'stable' if result.stable else 'UNSTABLE'}")
    for q, frequency in result.imaginary[:5]:
        click.echo(f"    {frequency:8.3f} THz at q = ({', '.join(f'{value:.3f}' for value in q)})")


def _print_comparison(comparison) -> None:
    click.echo(
        f"  against {comparison.source}, in its supercell: mean absolute error "
        f"{comparison.mean_absolute_error:.3f} THz, largest {comparison.max_error:.3f} THz"
    )
    ours, theirs = comparison.gamma
    if ours == ours:  # not of one atom per cell
        click.echo(
            f"    optical at Γ {ours:.3f} THz, reference {theirs:.3f}; cell {comparison.lattice_strain:+.2%}"
        )


def _print_audit(audit) -> None:
    click.echo(f"  audit ({audit.n_displacements} displacements of {audit.distance} Å, nothing imposed):")
    click.echo(
        f"    modes equal by symmetry differ by up to {audit.splitting:.2e} THz, at {audit.splitting_at}"
    )
    acoustic = ", ".join(f"{value:.2e}" for value in audit.acoustic)
    click.echo(f"    acoustic modes at Γ {acoustic} THz; sum rule within {audit.sum_rule_error:.1e} eV/Å²")
    click.echo(f"    permutation symmetry within {audit.permutation_error:.1e} eV/Å²")
