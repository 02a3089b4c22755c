"""``ase-mlip design``: which structures to label next, how good the forecast was; what a model knows."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from ...progress.bars import bar
from .. import options as shared
from ..command import Command, Interrupted
from ..common import refuse_options
from ..options import COUNT, FILE, POSITIVE
from ..wording import in_options
from .attach import attach as attach_to

# Listed here and not taken from ase_mlip.optimal_design, which would be imported for --help; a test compares
CRITERIA = ("i", "d", "a", "e", "g")
ROUNDS = {"bound": "round", "exchange": "round"}  # what these stages count
# Parameters that have a meaning with --verify and with --attach
OF_VERIFY = ("verify", "as_json")
OF_ATTACH = ("attach", "pool", "output", "overwrite", "calibration", "as_json")


@click.command(cls=Command)
@click.argument("pool", nargs=-1, type=FILE)
@click.option("--pick", type=COUNT, metavar="N", help="Choose this many structures.")
@click.option(
    "--budget",
    type=POSITIVE,
    metavar="X",
    help="Choose structures that together cost at most this much (--cost).",
)
@click.option("--have", multiple=True, type=FILE, help="Count these structures as labelled already.")
@click.option(
    "--target",
    multiple=True,
    type=FILE,
    help="Choose what serves predictions for these structures best. By default they are the pool.",
)
@click.option("--keep", multiple=True, type=FILE, help="Choose these structures of the pool in any case.")
@click.option("--basis", default="auto", show_default=True, metavar="auto|RUN.toml|MODEL",
              help="Describe structures by a linear s-NNP made for the pool (auto), by that of a training "
              "run, or by the features of a model.")  # fmt: skip
@click.option("--criterion", type=click.Choice(CRITERIA), default="i", show_default=True,
              help="Minimise the mean (i) or the largest (g) predicted variance of the target, or the "
              "variance of the unknowns (d, a, e).")  # fmt: skip
@click.option("--labels", default="energy,forces", show_default=True, metavar="NAMES",
              help="Expect these labels of each calculation: some of energy,forces,stress.")  # fmt: skip
@click.option("--sigma", metavar="NAME=X,...", show_default="energies and forces of the pool count alike",
              help="Expect these errors of the labels, in eV/atom, eV/Å and eV/Å^3. Only their ratios "
              "matter.")  # fmt: skip
@click.option("--cost", default="count", show_default=True, metavar="count|atoms^P|KEY",
              help="Count each calculation as one (count), by a power of its number of atoms (atoms^P), or "
              "by the number at KEY in the comment line of its frame.")  # fmt: skip
@click.option("--balance", type=click.Choice(["groups", "frames"]), default="groups", show_default=True,
              help="Give equal weight to the groups of the target, or to its frames.")  # fmt: skip
@click.option("--group-key", metavar="KEY", show_default="group, else a group for each file",
              help="Read the group of a frame at this key of its comment line.")  # fmt: skip
@click.option("--rows", metavar="exact|sketch:K", show_default="exact; of a model sketch:8",
              help="Use the rows of all forces of a structure (exact), or K random combinations of "
              "them.")  # fmt: skip
@shared.seed
@shared.output_folder_or_file
@shared.overwrite
@click.option("--verify", nargs=2, type=FILE, metavar="LABELLED FOLDER",
              help="Compare the forecast in FOLDER with the labels that came back.")  # fmt: skip
@click.option("--attach", metavar="MODEL",
              help="Write MODEL to the new file of -o, with the leverage of POOL, its "
              "training data.")  # fmt: skip
@click.option("--calibration", multiple=True, type=FILE,
              help="Calibrate the uncertainty of --attach in eV, by these labelled structures that MODEL was "
              "not trained on.")  # fmt: skip
@shared.as_json
@click.option(
    "--strict", is_flag=True, help="End with exit status 1 if a group of the target is not feasible."
)
def design(
    pool: tuple[Path, ...],
    verify: tuple[Path, Path] | None,
    attach: str | None,
    calibration: tuple[Path, ...],
    output: Path | None,
    as_json: bool,
    strict: bool,
    labels: str,
    sigma: str | None,
    have: tuple[Path, ...],
    target: tuple[Path, ...],
    keep: tuple[Path, ...],
    **options,
) -> None:
    """Choose the structures of POOL to label next.

    The choice is an optimal design, which needs no labels. The command prints what the selection is predicted
    to achieve, beside random ones, a bound on how far it is from the best one, and whether the pool can do
    the job at all. With --verify LABELLED FOLDER, it compares the forecast of an earlier design with the
    labels that came back.

    With --attach MODEL, POOL is what MODEL was trained on. The new model file tells in ASE and LAMMPS how far
    atoms are from this data.
    """
    if verify is not None:
        if pool:
            raise click.BadParameter("takes no POOL: LABELLED and FOLDER alone", param_hint="--verify")
        refuse_options(OF_VERIFY, "--verify")
        _verify(*verify, as_json)
        return
    if attach is not None:
        refuse_options(OF_ATTACH, "--attach")
        with _told_when_interrupted(None):
            attach_to(attach, pool, output, options["overwrite"], calibration, as_json)
        return
    if not pool:
        raise click.UsageError("Missing argument 'POOL...'.")
    if calibration:
        raise click.UsageError("--calibration goes with --attach.")
    if output is not None and output.is_file():
        raise click.BadParameter(
            f"expected a folder, got the file `{output}`; choose another name", param_hint="-o"
        )
    from ...optimal_design.settings import WHEN_NOT_D, parse_sigma

    if options["criterion"] == "d":
        click.echo(WHEN_NOT_D, err=True)
    from ...optimal_design.workflow import design as compute

    options |= {
        "labels": tuple(filter(None, (name.strip() for name in labels.split(",")))),
        "sigma": None if sigma is None else parse_sigma(sigma),
        "have": list(have) or None,
        "target": list(target) or None,
        "keep": list(keep) or None,
    }
    with _told_when_interrupted(output), bar("structure", ROUNDS) as progress:
        result = compute(list(pool), output=output, progress=progress, **options)
    from ...optimal_design.output.report import to_text

    for note in result.notes:
        click.echo(f"note: {in_options(note)}", err=True)
    click.echo(json.dumps(result.to_dict(), indent=1, ensure_ascii=False) if as_json else to_text(result))
    if output is not None:
        click.echo(f"picks: {output / 'picks.xyz'}", err=True)
    if strict and not result.feasible:
        sys.exit(1)


@contextmanager
def _told_when_interrupted(output: Path | None) -> Iterator[None]:
    """What the same command does after Ctrl-C: rows of a network are kept, nothing else takes long."""
    try:
        yield
    except KeyboardInterrupt:
        from ...optimal_design.output.row_store import FOLDER

        kept = output is not None and (output / FOLDER).is_dir()
        what = f"goes on from the rows in {output / FOLDER}" if kept else "starts again"
        raise Interrupted(f"{'' if kept else 'nothing is kept; '}the same command {what}") from None


def _verify(labelled: Path, folder: Path, as_json: bool) -> None:
    from dataclasses import asdict

    from ...optimal_design.verify import to_text, verify
    from ...provenance import plain

    found = verify(labelled, folder)
    for note in found.notes:
        click.echo(f"note: {in_options(note)}", err=True)
    click.echo(json.dumps(plain(asdict(found)), indent=1, ensure_ascii=False) if as_json else to_text(found))
