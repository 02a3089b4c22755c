"""What commands on one crystal share: its first frame with the potential, brought to its minimum."""

from __future__ import annotations

import copy
import functools
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ...progress.bars import bar
from .. import options
from ..common import (
    about,
    check_known,
    choose_averaging,
    make_calculator,
    noise_unsaid,
    read_first,
    say_noise,
)
from ..options import CRYSTAL, FILE, calculator_options
from ..results import Results, output_options
from ..wording import in_options

if TYPE_CHECKING:
    from ase import Atoms

_OPTIONS = (
    click.argument("model"),
    click.argument("structure", type=FILE),
    options.relax_first,
    options.keep_space_group,
    options.symprec,
    options.relax_fmax,
)  # fmt: skip
AVERAGING = "--symmetrize octahedral or icosahedral"


@dataclass
class CrystalRun:
    """One run of a command on a crystal: what :func:`crystal_options` asks for.

    Attributes
    ----------
    command : str
        its name
    model : str
        a model file or the name of a shipped potential
    structure : Path
        file of the crystal, of which the first frame is taken
    relax_first, keep_space_group : bool
        whether the crystal is relaxed, and within its space group
    symprec : float
        tolerance of its symmetry, Å
    fmax : float
        largest force of a relaxed crystal, eV/Å
    calculator : dict
        options of the calculator
    results : Results
        where the results go
    relaxation : dict
        how the crystal was relaxed, once it is; empty where it was taken as it is
    relaxed : ase.Atoms or None
        the crystal at its minimum, once it is there
    warnings : list of str
        what was said on stderr, for the JSON document
    """

    command: str
    model: str
    structure: Path
    relax_first: bool
    keep_space_group: bool
    symprec: float
    fmax: float
    calculator: dict[str, Any]
    results: Results
    relaxation: dict[str, Any] = field(default_factory=dict)
    relaxed: Atoms | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def symmetrize(self) -> str | None:
        """What functions are given for --symmetrize crystal; all else the calculator has already."""
        return CRYSTAL if self.calculator["symmetrize"] == CRYSTAL else None

    def start(self, **defaults) -> Atoms:
        """The first frame with its calculator, at its minimum if asked.

        A relaxation that does not reach --relax-fmax, and noise above it, are said on stderr.

        Parameters
        ----------
        **defaults
            what the command takes for options of its own that are not given

        Returns
        -------
        ase.Atoms
            with its calculator

        Raises
        ------
        StructureError
            a structure that is no crystal, is constrained, or that the model cannot evaluate
        DataError
            results of other settings are there
        """
        from ...crystals import refuse_constraints, refuse_random, require_crystal
        from ...relaxation.store import key_of

        calculator = make_calculator(self.model, **self.calculator)
        atoms = read_first(self.structure)
        check_known({str(self.structure): atoms}, calculator.model.info.species)
        defaults["dtype"] = self.calculator["dtype"]
        defaults["keep_space_group"] = self.keep_space_group
        self.results.claim(calculator.model.info.document_sha256, key_of("", atoms, ""), **defaults)
        with about(self.structure):
            require_crystal(atoms, f"ase-mlip {self.command}")
        refuse_random(calculator, f"ase-mlip {self.command}")
        refuse_constraints(atoms, f"ase-mlip {self.command}")
        choose_averaging(calculator, {self.structure.stem: atoms})
        atoms.calc = calculator
        return self._relaxed(atoms) if self.relax_first else atoms

    def warn(self, *texts: str) -> None:
        """A line on stderr for each, which the JSON document has, too."""
        for text in texts:
            click.echo(f"warning: {text}", err=True)
        self.warnings += texts

    @contextmanager
    def warned(self) -> Iterator[None]:
        """Warnings for the user are said as by :meth:`warn`."""
        with warnings_as_lines() as said:
            yield
        self.warnings += said

    def _relaxed(self, atoms: Atoms) -> Atoms:
        """The crystal at its minimum, which an interrupted run may have found."""
        was_there = "relaxed" in self.results.parts.found
        from ...relaxation.minimum import FirstRelaxation

        part = self.results.parts.once("relaxed", lambda: self._relax(atoms))
        if was_there:
            self.warn(*part["warnings"])
        self.relaxation = part["relaxation"]
        self.relaxed = FirstRelaxation.from_part(atoms, part).atoms
        relaxed = self.relaxed.copy()
        relaxed.calc = copy.deepcopy(atoms.calc)  # without a neighbour list that only a relaxation leaves
        return relaxed

    def _relax(self, atoms: Atoms) -> dict:
        """Cell and positions, how they were found, and what was said, as JSON has it."""
        from ...relaxation.minimum import RelaxFirst, relax_crystal

        before = len(self.warnings)
        over_crystal = self.symmetrize == CRYSTAL
        first = RelaxFirst(True, self.keep_space_group, self.fmax, over_crystal, self.symprec)
        with bar("step") as progress, self.warned(), noise_unsaid():
            found = relax_crystal(atoms, first, check_noise=True, progress=progress)
        self.warnings += say_noise(found.noise, self.fmax, AVERAGING, option="--relax-fmax")
        return found.to_part() | {"warnings": self.warnings[before:]}

    def force(self, residual: float) -> str:
        """``2.5e-03 eV/Å``, and what it is where the relaxation, which saw a part of it, went below it."""
        text = f"{residual:.1e} eV/Å"
        if self.keep_space_group and residual > self.fmax and self.relaxation.get("converged"):
            seen = self.relaxation["largest_force"]
            return f"{text} ({seen:.1e} within the space group, the rest is the model's anisotropy)"
        return text

    def finish(self, document: dict, text: str, draw: Callable[[Path], None] | None = None) -> None:
        """Print the text or the JSON document; write the latter, the relaxed crystal and the picture.

        Parameters
        ----------
        document : dict
            the results as JSON has them
        text : str
            the same to be read
        draw : Callable, optional
            ``draw(path)`` writes the picture
        """
        known = {"relaxation": self.relaxation, "warnings": self.warnings}
        self.results.show({"structure": str(self.structure)} | document | known, text)
        if self.relaxed is not None:
            self.results.keep(self.relaxed)
        if draw is not None:
            self.results.draw(draw)


def crystal_options(command: Callable) -> Callable:
    """A decorator that adds MODEL, STRUCTURE and what these commands share.

    Parameters
    ----------
    command : Callable
        whose first argument is a :class:`CrystalRun`, followed by its own options

    Returns
    -------
    Callable
        the command with these arguments and options
    """

    @functools.wraps(command)
    def wrapped(
        model: str,
        structure: Path,
        relax_first: bool,
        keep_space_group: bool | None,
        symprec: float,
        relax_fmax: float,
        calculator: dict,
        results: Results,
        **own,
    ) -> None:
        given = click.get_current_context().get_parameter_source
        for name in () if relax_first else ("relax_fmax", "keep_space_group"):
            if given(name) is ParameterSource.COMMANDLINE:
                option = f"--{name.replace('_', '-')}"
                raise click.BadParameter("has no meaning with --no-relax", param_hint=option)
        name = command.__name__
        keep = options.KEEP_SPACE_GROUP[name] if keep_space_group is None else keep_space_group
        run = CrystalRun(name, model, structure, relax_first, keep, symprec, relax_fmax, calculator, results)
        command(run, **own)

    wrapped = output_options(wrapped)
    wrapped = calculator_options(wrapped)
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


@contextmanager
def warnings_as_lines() -> Iterator[list[str]]:
    """Warnings for the user as a line each on stderr, without the place in the code; others as usual.

    Yields
    ------
    list of str
        which has what was said when the block has ended, also by an exception
    """
    said: list[str] = []
    caught: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            yield said
    finally:  # a failure does not make them wrong, and may be what they warned of
        for text in dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, UserWarning)):
            said.append(in_options(" ".join(text.split())))
            click.echo(f"warning: {said[-1]}", err=True)
        for other in caught:
            if not issubclass(other.category, UserWarning):
                warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)


def describe_cell(atoms: Atoms) -> str:
    """Formula and volume, as in ``Si8, 20.4300 Å^3/atom``.

    Parameters
    ----------
    atoms : ase.Atoms
        with a cell

    Returns
    -------
    str
        for the first line of a report
    """
    return f"{atoms.get_chemical_formula()}, {atoms.get_volume() / len(atoms):.4f} Å^3/atom"
