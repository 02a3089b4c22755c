"""``ase-mlip conductivity``: lattice thermal conductivity of a crystal."""

from __future__ import annotations

from pathlib import Path

import click

from ...progress.bars import bar
from ...voigt import NAMES, PAIRS
from .. import options
from ..command import Command
from ..options import COUNT, POSITIVE
from ..results import forces_of
from .crystal_run import CrystalRun, crystal_options, describe_cell


@click.command(cls=Command)
@options.supercell
@click.option("--phonon-supercell", type=COUNT, nargs=3, metavar="A B C",
              help="Repeat the cell this many times for second-order force constants. By default it is "
              "repeated as --supercell says, or without that as in phonons.")  # fmt: skip
@options.mesh
@options.temperatures
@options.distance
@click.option(
    "--pair-cutoff",
    type=POSITIVE,
    help="Leave out pairs of displaced atoms that are further apart than this, in Å.",
)
@click.option(
    "--wigner/--boltzmann",
    default=True,
    show_default=True,
    help="Add the coherences between modes (Wigner's transport equation), or leave them out (Boltzmann's).",
)
@click.option(
    "--isotopes/--no-isotopes",
    default=True,
    show_default=True,
    help="Let phonons be scattered by the natural isotopes of the elements.",
)
@options.reference
@click.option("--entry", metavar="ID",
              help="Print κ_SRME against this entry of the table --reference, such as mp-1265 of "
              "kappas_phononDB_PBE_noNAC.json.gz. It needs the mesh of the entry, and 300 K.")  # fmt: skip
@crystal_options
def conductivity(
    run: CrystalRun,
    supercell: tuple[int, int, int] | None,
    phonon_supercell: tuple[int, int, int] | None,
    mesh: tuple[int, int, int] | None,
    temperatures: tuple[float, ...],
    distance: float | None,
    pair_cutoff: float | None,
    wigner: bool,
    isotopes: bool,
    reference: Path | None,
    entry: str | None,
) -> None:
    """Compute the lattice thermal conductivity of a crystal.

    The crystal is the first frame of STRUCTURE, and is relaxed first. With -o, the forces of finished
    supercells are kept, and a run that was killed goes on with them. The command needs phono3py: pip install
    phono3py.
    """
    from ...lattice_dynamics.conductivity import require_phono3py, thermal_conductivity

    require_phono3py()  # before anything that takes long
    if not all(temperatures):
        raise click.BadParameter("expected more than 0 K", param_hint="--temperature")
    mesh = mesh or options.MESH["conductivity"]
    distance = distance or options.DISTANCE["conductivity"]
    if (reference is None) != (entry is None):
        raise click.BadParameter("a table and its entry go together", param_hint="--reference, --entry")
    known = None if reference is None else _read_reference(reference, entry, mesh, temperatures)
    atoms = run.start(mesh=mesh, distance=distance)
    kept = run.results.file(".forces.npz")
    with forces_of(run.results.parts, kept), bar("supercell") as progress, run.warned():
        result = thermal_conductivity(
            atoms,
            relax_first=False,  # it is, if that is asked for
            supercell_matrix=supercell,
            phonon_supercell_matrix=phonon_supercell,
            mesh=mesh,
            temperatures=temperatures,
            distance=distance,
            wigner=wigner,
            isotopes=isotopes,
            pair_cutoff=pair_cutoff,
            symmetrize=run.symmetrize,
            symprec=run.symprec,
            checkpoint=kept,
            progress=progress,
        )
    document = result.to_dict()
    text = f"{run.structure}: {describe_cell(atoms)}\n{_text(result, run.force(result.residual_force))}"
    if known is not None:
        from ...lattice_dynamics.kappa_srme import kappa_srme

        document["kappa_srme"] = kappa_srme(result, known)
        text += f"\nκ_SRME against {known.identifier} ({known.name}) at 300 K: {document['kappa_srme']:.3f}"
    run.finish(document, text, result.plot if result.stable else None)
    if run.results.plot and not result.stable:
        click.echo("no plot: modes are imaginary", err=True)


def _read_reference(file: Path, identifier: str, mesh: tuple[int, int, int], temperatures: tuple[float, ...]):
    """The entry of the table, if what is asked for can be compared with it."""
    from ...errors import DataError
    from ...lattice_dynamics.kappa_srme import read_references

    table = read_references(file)
    if identifier not in table:
        raise DataError(f"`{file}`: expected one of {', '.join(table)}, got `{identifier}`")
    known = table[identifier]
    if known.mesh != mesh or 300.0 not in temperatures:
        expected = " ".join(map(str, known.mesh))
        raise click.BadParameter(
            f"`{identifier}` needs --mesh {expected} and --temperature 300, got {' '.join(map(str, mesh))} "
            f"and {', '.join(f'{t:g}' for t in temperatures)} K",
            param_hint="--reference",
        )
    return known


def _supercell(cell) -> str:
    from ...crystals import heights

    return f"supercell of {len(cell)} atoms, faces {heights(cell.cell).min():.2f} Å apart"


def _text(result, force: str) -> str:
    second, third = result.n_displacements
    lines = [
        f"mesh {' '.join(map(str, result.mesh))}",
        f"second order: {_supercell(result.phono3py.phonon_supercell)}, displacements: {second}",
        f"third order: {_supercell(result.phono3py.supercell)}, displacements: {third}",
        f"residual force {force}",
    ]
    if not result.stable:
        return "\n".join(
            [*lines, f"imaginary modes, lowest {result.lowest_frequency:.3f} THz: no conductivity"]
        )
    theory = "Wigner transport equation" if result.wigner else "Boltzmann equation"
    lines.append(f"{theory}, relaxation-time approximation, W/m/K")
    lines.append("      K      mean" + "".join(f"{name:>10}" for name in NAMES))
    for temperature, mean, kappa in zip(result.temperatures, result.mean_kappa, result.kappa, strict=True):
        voigt = [kappa[pair] for pair in PAIRS]
        columns = "".join(f"{round(entry, 3) + 0.0:10.3f}" for entry in voigt)
        lines.append(f"{temperature:7g}{mean:10.3f}{columns}")
    if result.wigner:
        share = [entry.trace() / 3.0 for entry in result.kappa_coherences]
        lines.append("of the mean, coherences: " + " ".join(f"{entry:.3f}" for entry in share))
    return "\n".join(lines)
