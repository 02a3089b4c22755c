"""``ase-mlip md``: molecular dynamics as a test."""

from __future__ import annotations

import sys
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...progress.bars import bar
from .. import options
from ..command import Command
from ..common import (
    check_known,
    choose_averaging,
    chosen_scheme,
    make_calculator,
    read_first,
)
from ..options import COUNT, CRYSTAL, FILE, NOT_NEGATIVE, POSITIVE, calculator_options
from ..results import BEGUN, Results, output_options
from .crystal_run import warnings_as_lines
from .thermostat import make_thermostat, thermostat_options

if TYPE_CHECKING:
    from ase import Atoms

    from ...calculators.batches.batch_evaluator import BatchEvaluator
    from ...model_file.info import ModelInfo
    from ...provenance import Parts
    from ...stability.replica import Replica
    from ...stability.result import StabilityResult


@click.command(cls=Command)
@click.argument("model")
@click.argument("structure", type=FILE)
@options.temperature
@thermostat_options
@click.option(
    "--timestep",
    default=1.0,
    show_default=True,
    type=POSITIVE,
    help="Advance by this time in each step, in fs.",
)
@options.picoseconds
@click.option("--replicas", default=4, show_default=True, type=COUNT, help="Run this many replicas.")
@click.option("--engine", type=click.Choice(["ase", "lammps"]), default="ase", show_default=True,
              help="Let this program move the atoms: ASE or LAMMPS.")  # fmt: skip
@click.option(
    "--batch/--no-batch",
    default=None,
    help="Evaluate all replicas of the ase engine together. By default this is done for molecules of up to "
    "64 atoms.",
)
@click.option("--repeat", type=COUNT, nargs=3, metavar="A B C",
              help="Repeat the cell this many times along its vectors. By default it is taken as it "
              "is.")  # fmt: skip
@click.option(
    "--rdf-frames", type=FILE, help="Compare the distribution of distances with that in these frames."
)
@options.crystal
@options.symprec
@click.option("--interval", default=10, show_default=True, type=COUNT,
              help="Examine the structure once in this many steps.")  # fmt: skip
@click.option(
    "--equilibration",
    type=NOT_NEGATIVE,
    help="Leave this time at the start out of averages, in ps. By default it is a tenth of --time.",
)
@click.option(
    "--bonds/--no-bonds",
    default=None,
    help="Let a replica fail when a bond breaks or forms. By default this holds for molecules, unless "
    "--bond-deviation or --bond-length is given.",
)
@click.option(
    "--bond-deviation",
    type=POSITIVE,
    metavar="LENGTH",
    help="Let a replica fail when a bond is longer or shorter than at the start by more than this, in Å.",
)
@click.option(
    "--bond-length",
    type=POSITIVE,
    metavar="LENGTH",
    help="Let a replica fail when a bond that it started with is longer than this, in Å.",
)
@options.seed
@calculator_options
@output_options
def md(
    model: str,
    structure: Path,
    temperature: float,
    timestep: float,
    picoseconds: float,
    equilibration: float | None,
    interval: int,
    repeat: tuple[int, int, int] | None,
    thermostat: dict,
    bonds: bool | None,
    bond_deviation: float | None,
    bond_length: float | None,
    results: Results,
    rdf_frames: Path | None,
    crystal: Path | None,
    symprec: float,
    calculator: dict,
    engine: str,
    batch: bool | None,
    seed: int,
    replicas: int,
) -> None:
    """Run dynamics as a test of stability.

    Replicas at constant energy, or with a thermostat, start from the first frame of STRUCTURE. The exit
    status is 1 if one of them becomes unstable.
    """
    if engine == "lammps" and calculator["forces"] == "direct":
        raise click.BadParameter("`direct` is for the ase engine here", param_hint="--forces")
    if engine == "lammps" and batch:
        raise click.BadParameter("the lammps engine runs its replicas one by one", param_hint="--batch")
    if crystal is not None and calculator["symmetrize"] != CRYSTAL:
        raise click.BadParameter("is for --symmetrize crystal", param_hint="--crystal")
    held = make_thermostat(temperature, **thermostat)
    from ...model_file.info import find_model, read_info

    path = find_model(model)  # before torch is imported, so that a misspelt name is answered at once
    from ase import units

    from ...calculators.averaged import average_model
    from ...data.frames import read_structures
    from ...dynamics.criteria import Criteria
    from ...relaxation.store import key_of
    from ...stability.runs import md_stability

    info, atoms = read_info(path), read_first(structure)
    check_known({str(structure): atoms}, info.species)
    undisplaced = atoms if crystal is None else read_first(crystal)
    atoms = atoms.repeat(repeat) if repeat else atoms
    results.claim(info.document_sha256, key_of("", atoms, ""))
    if engine == "ase":
        atoms.calc = make_calculator(str(path), **calculator)
        if calculator["symmetrize"] == CRYSTAL:
            average_model(atoms, undisplaced, "ase-mlip md", symprec)
        choose_averaging(atoms.calc, {structure.stem: atoms})
    elif calculator["symmetrize"] == CRYSTAL:
        calculator["symmetrize"] = undisplaced
    elif calculator["symmetrize"] == "auto":
        calculator["symmetrize"] = chosen_scheme(str(path), {structure.stem: atoms}, **calculator)
    _say_what_starts_again(results.parts, replicas)
    with bar("step") as progress, warnings_as_lines() as said:
        result = md_stability(
            atoms,
            path if engine == "lammps" else None,
            temperature_K=temperature,
            timestep=timestep * units.fs,
            time=picoseconds * 1000.0 * units.fs,
            replicas=replicas,
            engine=engine,
            lammps_options=_lammps_options(info, calculator) if engine == "lammps" else None,
            symmetrize=calculator["symmetrize"] if engine == "lammps" else None,
            symprec=symprec,
            thermostat=held,
            evaluate=_together(atoms, calculator, replicas, batch) if engine == "ase" else None,
            criteria=Criteria(
                bonds="auto" if bonds is None else bonds,
                bond_deviation=bond_deviation,
                bond_length=bond_length,
            ),
            rdf_frames=read_structures(rdf_frames) if rdf_frames else None,
            interval=interval,
            equilibration=None if equilibration is None else equilibration * 1000.0 * units.fs,
            seed=seed,
            checkpoint=results.parts,
            progress=progress,
        )
    document = {"structure": str(structure), "model": _identity(info), "warnings": said} | result.to_dict()
    results.show(document, "\n".join(_lines(result, atoms, model)))
    results.draw(result.plot)
    if not result.stable:
        sys.exit(1)


def _say_what_starts_again(parts: Parts, replicas: int) -> None:
    """Only whole replicas are kept."""
    if parts.before:
        done = sum(f"replica {n}" in parts.found for n in range(replicas))
        click.echo(f"{done} of {replicas} replicas are done, the others start at their beginning", err=True)
    parts.keep(BEGUN, True)


def _identity(info: ModelInfo) -> dict:
    """Which model it was, for programs that compare the results of several."""
    return {
        "name": info.name,
        "sha256": info.document_sha256,
        "architecture": info.architecture.get("name"),
    }


def _together(atoms: Atoms, options: dict, replicas: int, batch: bool | None) -> BatchEvaluator | None:
    """What evaluates all replicas at once, where that is wanted or certain to be faster."""
    from ...calculators.batches.batch_evaluator import COMPLETE, BatchEvaluator

    small = not atoms.pbc.any() and len(atoms) <= COMPLETE and not atoms.constraints
    if replicas == 1 or not (small if batch is None else batch):
        return None
    kept = {name: options[name] for name in ("forces", "check_lattice")}
    return BatchEvaluator(atoms.calc.model, atoms, atoms.calc.averaging, **kept)


def _lammps_options(info: ModelInfo, calculator: dict) -> dict[str, str]:
    """Those of the pair style that give what the calculator gives with the same options."""
    given = {key: calculator[key] for key in ("device", "dtype") if calculator[key] is not None}
    return {"dtype": info.dtype, "check_lattice": "yes" if calculator["check_lattice"] else "no"} | given


def _lines(result: StabilityResult, atoms: Atoms, model: str) -> list[str]:
    """The report: a line for each replica, what they have in common, the verdict."""
    lines = [
        f"{atoms.get_chemical_formula()} with {model}: {len(result.replicas)} x {result.time:.3g} ps from "
        f"{result.temperature_K:g} K, {result.timestep:g} fs, {result.engine}",
        *([] if result.thermostat is None else [f"thermostat: {result.thermostat}"]),
        "",
        "replica  survived     T      slope  fluctuation  shortest    bonds",
        "               ps     K  meV/atom/ps   meV/atom         Å   -    +",
        *(_row(n, replica) for n, replica in enumerate(result.replicas)),
        "",
    ]
    lines.append(_drift_line(result))
    found = result.survival
    low, high = found.mean_time_interval
    level = f"{100 * found.confidence:g}%"
    if found.failures:
        mean, (lower, upper) = found.restricted_mean, found.restricted_mean_interval
        lines.append(f"mean survival time  {found.mean_time:.3g} ps, {level}: {low:.3g} to {high:.3g} ps")
        label = f"of the first {result.time:.3g} ps"
        lines.append(f"{label:<19} {mean:.3g} ps, {level}: {lower:.3g} to {upper:.3g} ps")
    else:
        lines.append(f"mean survival time  above {low:.3g} ps ({level})")
    if result.rdf_error is not None:
        unit = " Å" if result.rdf.periodic else ""
        for name, value in result.rdf_error.items():
            noise = f", of which chance {result.rdf_noise[name]:.3g}{unit}" if result.rdf_noise else ""
            lines.append(f"distances {name:<9} {value:.3g}{unit} from the reference{noise}")
    verdict = "stable" if result.stable else f"UNSTABLE: {found.failures} of {found.n} replicas failed"
    return [*lines, f"verdict             {verdict}"]


def _drift_line(result: StabilityResult) -> str:
    """Of what the dynamics conserves, as far as that is known."""
    from ...stability.result import SHORTEST_DRIFT

    if result.engine == "lammps" and not result.knows_conserved:
        return "drift               not known: LAMMPS does not account for the heat of this thermostat"
    if not isfinite(result.drift):
        remedy = "; take a longer --time or a smaller --interval" if result.stable else ""
        need = "averages need three examined structures of a replica after --equilibration"
        return f"{'slope':<19} not known: {need}{remedy}"
    error = f" ± {result.drift_error:.2g}" if result.drift_error == result.drift_error else ""
    label = "drift" if result.shows_drift else "slope"
    why = "" if result.shows_drift else f", no drift: that shows in runs of {SHORTEST_DRIFT:g} ps and more"
    what = "" if result.thermostat is None else " of the conserved energy"
    return f"{label}               {result.drift:+.3g}{error} meV/atom/ps{what}{why}"


def _row(number: int, replica: Replica) -> str:
    averages = ((replica.mean_temperature, 6, ".0f"), (replica.drift, 13, ".3g"))
    averages += ((replica.fluctuation, 11, ".3g"), (replica.min_distance, 10, ".3f"))
    cells = [f"{f'{value:{form}}' if isfinite(value) else '–':>{width}}" for value, width, form in averages]
    row = f"{number:>7}{replica.survived:>10.3g}{''.join(cells)}"
    row += f"{replica.broken_bonds:>4}{replica.formed_bonds:>5}"
    failure = replica.failure
    return row if failure is None else f"{row}   {failure.kind} at step {failure.step}: {failure.detail}"
