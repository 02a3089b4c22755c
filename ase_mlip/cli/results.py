"""Where the results of a command go: to stdout, and with -o FOLDER into files there that bear its name."""

from __future__ import annotations

import functools
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import DataError
from ..folder_lock import locked
from . import options
from .wording import argument_name

if TYPE_CHECKING:
    from ase import Atoms

    from ..provenance import Parts

# of options that change no number of a result, and of arguments of which the content counts
_NOT_IN_RESULTS = {"model", "structure", "structures", "output", "plot", "overwrite", "json", "device"}
BEGUN = "begun"  # a part that says that there are others, in another file
_ENDINGS = (".json", ".extxyz", ".xyz", ".png", ".pdf", ".svg")


@dataclass
class Results:
    """What one command writes: ``NAME.json`` with everything, ``NAME.png`` with --plot, and more so named.

    Attributes
    ----------
    name : str
        of the command
    folder : Path or None
        made and locked; None writes nothing
    plot : bool
        whether a picture is wanted
    overwrite : bool
        whether results of other settings are replaced
    as_json : bool
        whether stdout gets the JSON document, or the text
    settings : dict or None
        what the results depend on, once :meth:`claim` is called
    parts : Parts or None
        what is finished of them, then, in ``NAME.parts.json``; the file goes when all of it is there
    """

    name: str
    folder: Path | None
    plot: bool
    overwrite: bool
    as_json: bool
    settings: dict | None = None
    parts: Parts | None = None

    def file(self, ending: str) -> Path | None:
        """``FOLDER/NAMEending``, or None where nothing is written."""
        return None if self.folder is None else self.folder / f"{self.name}{ending}"

    def claim(self, document_sha256: str, content, **defaults) -> None:
        """Refuse a folder with results of another model, structure or of other settings, before the work.

        Finished parts of an interrupted run are refused alike, also those of other versions, and taken over
        where all is the same.

        Parameters
        ----------
        document_sha256 : str
            of the model
        content : Any
            what is computed for, as JSON has it
        **defaults
            what the command takes for options that are not given

        Raises
        ------
        DataError
            other results are there, and are not to be replaced
        """
        self.settings = run_settings(document_sha256, content, **defaults)
        try:
            refuse_other_results(self.file(".json"), self.settings)
        except DataError:
            if not self.overwrite:
                raise
            if (picture := self.file(".png")) is not None:
                picture.unlink(missing_ok=True)  # of the results that are replaced
        self.parts = finished_parts(self.file(".parts.json"), self.settings, self.overwrite)

    def show(self, document: dict, text: str) -> None:
        """Print the text or the JSON document, and write the latter."""
        from ..provenance import write_atomically

        encoded = json.dumps({"settings": self.settings} | document, indent=1)
        click.echo(encoded if self.as_json else text)
        path = self.file(".json")
        if path is not None:
            write_atomically(path, (encoded + "\n").encode())
            click.echo(f"results: {path}", err=True)
        if self.parts is not None:
            self.parts.remove()

    def __enter__(self) -> Results:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_) -> None:
        """Keep the finished parts, unless the results were written, or an error came before all of them."""
        if self.parts is None:
            return
        if kind is not None and issubclass(kind, Exception) and self.parts.found.keys() == {BEGUN}:
            self.parts.remove()
        self.parts.write()

    def keep(self, atoms: Atoms) -> None:
        """Write a structure to ``FOLDER/NAME.extxyz``."""
        from ase.io import write

        from ..provenance import write_atomically

        path = self.file(".extxyz")
        if path is not None:
            text = io.StringIO()
            write(text, atoms, format="extxyz")
            write_atomically(path, text.getvalue().encode())

    def draw(self, write: Callable[[Path], None]) -> None:
        """Let ``write(path)`` draw the picture, if one is wanted."""
        if self.plot:
            write(self.file(".png"))
            click.echo(f"picture: {self.file('.png')}", err=True)


def finished_parts(path: Path | None, settings: dict, overwrite: bool) -> Parts:
    """What an interrupted run of the same settings and versions has finished, which is said on stderr.

    Parameters
    ----------
    path : Path or None
        of the file; None keeps nothing
    settings : dict
        what :func:`run_settings` gives
    overwrite : bool
        whether those of other settings are replaced

    Returns
    -------
    Parts
        to go on with

    Raises
    ------
    DataError
        parts of other settings are there, and are not to be replaced
    """
    from ..calculators.identity import VERSIONS
    from ..provenance import Parts, versions

    known = versions()
    depends_on = {"settings": settings, "versions": {name: known[name] for name in VERSIONS}}
    parts = Parts(path, depends_on, overwrite)
    if parts.before:
        click.echo(f"going on with what an interrupted run has finished: {path}", err=True)
    return parts


@contextmanager
def forces_of(parts: Parts, forces: Path | None) -> Iterator[None]:
    """While forces go into a file of their own, the settings stand beside it, also where the run is killed.

    Parameters
    ----------
    parts : Parts
        of the run; they go if it ends with nothing in them, and without the file
    forces : Path or None
        the file; None keeps nothing

    Yields
    ------
    None
    """
    parts.keep(BEGUN, True)
    parts.write()
    try:
        yield
    finally:
        if forces is not None and not forces.exists() and parts.found.keys() == {BEGUN}:
            parts.remove()


@contextmanager
def talk_on_stderr(as_json: bool) -> Iterator[None]:
    """With --json, what is printed meanwhile goes to stderr: stdout is for the JSON object.

    Parameters
    ----------
    as_json : bool
        whether --json is given

    Yields
    ------
    None
    """
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        yield
    if as_json:
        sys.stderr.flush()  # so that it stands before the object where both streams go to one file


def of_structure(
    where: dict, result: dict | None = None, *, warnings: Iterable[str] = (), error: str | None = None
) -> dict:
    """The document of one structure among several, as all commands have it.

    Parameters
    ----------
    where : dict
        ``file`` and ``frame``, see :meth:`ase_mlip.data.frames.FileFrame.where`
    result : dict, optional
        what ``to_dict()`` of the result gives, and what else there is to say
    warnings : iterable of str, optional
        what was said on stderr
    error : str, optional
        why there is no result

    Returns
    -------
    dict
        all of it, with ``warnings``, and with ``error`` where there is one
    """
    failure = {} if error is None else {"error": error}
    return where | ({} if result is None else result) | {"warnings": list(warnings)} | failure


def of_structures(settings: dict | None, documents: Mapping[str, dict]) -> dict:
    """What every command on several structures prints and writes; docs/commands.md describes it.

    Parameters
    ----------
    settings : dict or None
        what :func:`run_settings` gives
    documents : mapping of dict
        of :func:`of_structure`, by the names of the structures

    Returns
    -------
    dict
        ``{"settings": ..., "structures": {name: document}}``
    """
    return {"settings": settings, "structures": dict(documents)}


def answer(document: dict, text: str, as_json: bool) -> None:
    """Print the JSON object or the text.

    Parameters
    ----------
    document : dict
        what JSON can hold, or becomes that with :func:`.provenance.plain`
    text : str
        the same to be read
    as_json : bool
        whether --json is given
    """
    from ..provenance import plain

    click.echo(json.dumps(plain(document), indent=1, ensure_ascii=False) if as_json else text)


def output_options(command: Callable) -> Callable:
    """A decorator that adds -o, --plot, --overwrite and --json; the command gets ``results`` for them.

    The folder is made and locked while the command runs.

    Parameters
    ----------
    command : Callable
        with an argument ``results``, a :class:`Results`

    Returns
    -------
    Callable
        the command with these options
    """

    @functools.wraps(command)
    def gathered(*, output, plot, overwrite, as_json, **others) -> None:
        require_folder(output, plot)
        if overwrite and output is None:
            raise click.BadParameter("needs a folder with results: -o FOLDER", param_hint="--overwrite")
        name = click.get_current_context().command.name
        with (
            nullcontext() if output is None else locked(output),
            Results(name, output, plot, overwrite, as_json) as results,
        ):
            command(results=results, **others)

    for option in (options.as_json, options.overwrite, options.plot, options.output_folder):
        gathered = option(gathered)
    return gathered


def require_folder(output: Path | None, plot: bool = False) -> None:
    """Refuse a file where a folder is meant, and a picture that has no folder to go to.

    Parameters
    ----------
    output : Path or None
        what -o says
    plot : bool, optional
        whether --plot is given

    Raises
    ------
    click.BadParameter
        either of them
    """
    if output is not None and output.suffix.lower() in _ENDINGS and not output.is_dir():
        raise click.BadParameter(
            f"`{output}`: expected a folder, got the name of a {output.suffix} file; results go into files "
            "in the folder",
            param_hint="-o",
        )
    if plot and output is None:
        raise click.BadParameter("needs a folder for the picture: -o FOLDER", param_hint="--plot")


def run_settings(document_sha256: str, content, **defaults) -> dict:
    """What the results of the present command depend on, by the names of its options.

    Parameters
    ----------
    document_sha256 : str
        of the model
    content : Any
        of what is computed for, as JSON has it; None where that is no question
    **defaults
        what the command takes for options that are not given

    Returns
    -------
    dict
        as JSON has it, for :func:`refuse_other_results`
    """
    from ..provenance import plain

    context = click.get_current_context()
    chosen = {}
    for parameter in context.command.params:
        name, value = argument_name(parameter), context.params[parameter.name]
        if name in _NOT_IN_RESULTS:
            continue
        if isinstance(parameter.type, click.Path):
            chosen[f"{name}_sha256"] = None if value is None else _content(value)
        else:
            chosen[name] = defaults.get(name) if value is None else value
    schemes = chosen.get("symmetrize") or ()
    schemes = [schemes] if isinstance(schemes, str) else schemes  # some commands take several
    if "auto" not in schemes:
        chosen.pop("tolerance", None)
    files = [Path(scheme.removeprefix("file ")) for scheme in schemes if scheme.startswith("file ")]
    if files:
        chosen["rotations_sha256"] = [_content(file) for file in files]
    known = {"command": context.command.name, "model_document_sha256": document_sha256}
    known["structure_sha256"] = content
    return plain(known | chosen)


def _content(path: Path) -> str:
    """A digest of a file; of a folder only where it is."""
    from ..provenance import file_sha256

    return file_sha256(path) if path.is_file() else str(path)


def refuse_other_results(path: Path | None, settings: dict) -> None:
    """Refuse to write over anything but results of the same command and settings.

    Parameters
    ----------
    path : Path or None
        the JSON file with earlier results; None, or a file that does not exist, passes
    settings : dict
        what :func:`run_settings` gives

    Raises
    ------
    DataError
        with the first setting that differs
    """
    from ..provenance import read_settings, refuse_other_settings

    if path is not None and path.exists():
        refuse_other_settings(path, read_settings(path), settings)
