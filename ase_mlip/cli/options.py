"""Every option that several commands have, declared once: one name, one meaning, one default, one text.

Where commands must take different values if nothing is given, these stand in a :class:`ByCommand` beside the
option, with the reason; the option's default is None, and its text names them. ``tests/cli/test_options.py``
compares all commands, and the keywords of the functions that they call.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from .values import Device, Finite, Folder, Whole


@dataclass(frozen=True)
class ByCommand:
    """What commands take for an option that is not given, where they cannot take the same.

    Attributes
    ----------
    values : dict
        by command
    reason : str
        why they differ, a sentence for the documentation
    """

    values: dict[str, Any]
    reason: str

    def __getitem__(self, command: str) -> Any:
        return self.values[command]

    def text(self) -> str:
        """``0.01 in phonons and 0.03 in conductivity``; commands of one value stand together.

        Returns
        -------
        str
            the values with their commands
        """
        groups: dict[str, list[str]] = {}
        for command, value in self.values.items():
            groups.setdefault(_words(value), []).append(command)
        parts = [f"{value} in {listed(commands)}" for value, commands in groups.items()]
        return listed(parts) if len(groups) == len(self.values) else ", and ".join(parts)


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(map(str, value)) if isinstance(value, tuple) else f"{value}"


def listed(words: list[str]) -> str:
    """``a, b and c``

    Parameters
    ----------
    words : list of str
        at least one

    Returns
    -------
    str
        all of them
    """
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


POSITIVE = Finite(min=0.0, min_open=True)
NOT_NEGATIVE = Finite(min=0.0)
DISPLACEMENT = Finite(0.0, 0.5, min_open=True)  # Å; force constants are derivatives, a bond is two of these
COUNT = Whole(min=1)
FILE = click.Path(path_type=Path)
FOLDER = Folder(path_type=Path, file_okay=False)
DEFAULT_TOLERANCE = "0.001"  # of MLIPCalculator, which would be imported for --help; a test compares them

# ---- the network ------------------------------------------------------------------------------------------

device = click.option(
    "--device", default="auto", show_default=True, type=Device(),
    help="Evaluate the network on this device: auto, cpu, cuda or cuda:N.",
)  # fmt: skip
DTYPE = ByCommand(
    dict.fromkeys(("phonons", "elastic", "eos", "conductivity", "validate"), "float64"),
    "Statics take small differences of energies and forces, which lose half of the digits; dynamics and "
    "errors need no more than the precision of the file.",
)
dtype = click.option(
    "--dtype", type=click.Choice(["float32", "float64"]),
    help=f"Use the network in this precision; export stores it so. The default is {DTYPE.text()}, and "
    "elsewhere the precision of the file.",
)  # fmt: skip
forces = click.option(
    "--forces", type=click.Choice(["conservative", "direct"]), default="conservative", show_default=True,
    help="Take the forces as derivatives of the energy (conservative), or from the model's own heads for "
    "them (direct).",
)  # fmt: skip


CRYSTAL = "crystal"  # the one scheme that depends on a structure


def _scheme(_context, _parameter, value):
    """``lebedev 5`` for ``lebedev:5``, so that both have the same settings; unknown ones are refused."""
    if isinstance(value, tuple):
        return tuple(_scheme(None, None, scheme) for scheme in value)
    if value is None:
        return None
    value = re.sub(r"^(lebedev|random|file):", r"\1 ", value.strip())
    if value not in (CRYSTAL, "auto") and not value.startswith("file "):
        from ..rotations.schemes import find_averaging

        find_averaging(value)  # before files are read
    return value


_SYMMETRIZE = {
    "metavar": "SCHEME",
    "callback": _scheme,
    "help": "Average the model over these rotations: none, octahedral or icosahedral (each also with "
    "+inversion), lebedev:L, random:SEED, file:FILE, crystal (the point group of the undisplaced crystal), "
    "or auto (as many as the first structure needs to meet --tolerance; all structures then use the same). "
    "The scheme replaces the averaging that the model file was exported with.",
}
symmetrize = click.option("--symmetrize", **_SYMMETRIZE)
schemes = click.option("--symmetrize", "schemes", multiple=True, **_SYMMETRIZE)
crystal = click.option(
    "--crystal", type=FILE,
    help="Take the point group for --symmetrize crystal from this undisplaced crystal, instead of from the "
    "structure itself.",
)  # fmt: skip
tolerance = click.option(
    "--tolerance", type=POSITIVE, metavar="FORCE", show_default=DEFAULT_TOLERANCE,
    help="Let --symmetrize auto leave at most this residual anisotropy of the forces, in eV/Å.",
)  # fmt: skip
check_lattice = click.option(
    "--check-lattice/--no-check-lattice", default=True,
    help="Refuse a cell that is not mapped onto itself by the point group of the crystal over which the "
    "model is averaged.",
)  # fmt: skip

# ---- what is written --------------------------------------------------------------------------------------

FOLDERS = ByCommand(
    {"phonons": "phonons", "validate": "report", "demo": "demo_output"},
    "Results of these are files, such as phonopy's, and pages; those of the others are printed.",
)
_OUTPUT = {
    "metavar": "FOLDER",
    "help": "Write the results into this folder, where an interrupted run of the same settings goes on. The "
    f"default is {FOLDERS.text()}; the other commands write no files. With --attach, design writes the new "
    "model to this file.",
}
output_folder = click.option("-o", "--output", type=FOLDER, **_OUTPUT)
output_folder_or_file = click.option("-o", "--output", type=FILE, **_OUTPUT)
FILES = ByCommand(
    {"plot-filters": "filters.png", "rotations": "rotations.txt"},
    "What is written is of another kind in each.",
)
output_file = click.option(
    "-o", "--output", type=FILE, metavar="FILE",
    help=f"Write this file. The default is {FILES.text()}; export needs the option.",
)  # fmt: skip
plot = click.option("--plot", is_flag=True, help="Draw the results, too, as a picture in the folder of -o.")
overwrite = click.option("--overwrite", is_flag=True,
                         help="Replace results of other settings that are in the output folder, or the file "
                         "of -o.")  # fmt: skip
as_json = click.option("--json", "as_json", is_flag=True,
                       help="Print the results as one JSON object, and nothing else, on stdout.")  # fmt: skip
resume = click.option("--resume", is_flag=True,
                      help="Only go on with a run: end with an error where the output folder holds none. A "
                      "finished run is not prolonged: with more epochs it is another run, which can start "
                      "from its weights (init_from in the TOML file of train, model in that of "
                      "stabilize).")  # fmt: skip
quick = click.option("--quick", is_flag=True,
                     help="Take a first, rough look, with coarse settings and short dynamics.")  # fmt: skip

# ---- crystals ---------------------------------------------------------------------------------------------

symprec = click.option("--symprec", default=0.01, show_default=True, type=POSITIVE,
                       help="Find the symmetry of a crystal within this tolerance, in Å.")  # fmt: skip
relax_first = click.option("--relax/--no-relax", "relax_first", default=True, show_default=True,
                           help="Relax the cell and the atoms first.")  # fmt: skip
relax_fmax = click.option(
    "--relax-fmax", default=1e-4, show_default=True, type=POSITIVE,
    help="Let --relax end when no force and no stress is larger than this, in eV/Å.",
)  # fmt: skip
KEEP_SPACE_GROUP = ByCommand(
    dict.fromkeys(("elastic", "eos", "conductivity"), True) | {"relax": False},
    "A relaxation asks which crystal a model prefers; the others compute what the given crystal is like.",
)
keep_space_group = click.option(
    "--keep-space-group/--no-keep-space-group", default=None,
    help="Keep the space group of the start while relaxing, by projecting forces and steps. The default is "
    f"{KEEP_SPACE_GROUP.text()}.",
)  # fmt: skip
reference = click.option(
    "--reference", type=FILE,
    help="Compare with reference data. They are a relaxed structure in relax, a phonopy directory in "
    "phonons, one such directory or a folder with one for each structure in validate, and a table of "
    "conductivities in conductivity (with --entry).",
)  # fmt: skip
SUPERCELL = ByCommand(
    {"phonons": "twice the interaction range", "conductivity": "twice the cutoff"},
    "Third-order force constants reach less far than those of second order, and take hundreds of supercells.",
)
supercell = click.option(
    "--supercell", type=COUNT, nargs=3, metavar="A B C",
    help="Displace atoms in a supercell that repeats the cell this many times along its vectors. By default "
    f"its faces are so far apart: {SUPERCELL.text()} of the model. Where the range would take more than 512 "
    "atoms, phonons takes the cutoff, too.",
)  # fmt: skip
MESH = ByCommand(
    {"phonons": (20, 20, 20), "conductivity": (11, 11, 11)},
    "The cost of a density of states grows with the number of q-points, that of a conductivity with its "
    "square.",
)
mesh = click.option(
    "--mesh", type=COUNT, nargs=3, metavar="A B C",
    help=f"Sample this many q-points along each reciprocal vector. The default is {MESH.text()}.",
)  # fmt: skip
DISTANCE = ByCommand(
    {"phonons": 0.01, "conductivity": 0.03},
    "Third-order force constants are second derivatives of forces, which take larger displacements; the "
    "values are phonopy's and phono3py's own.",
)
distance = click.option(
    "--distance", type=DISPLACEMENT,
    help=f"Displace atoms by this distance, in Å. The default is {DISTANCE.text()}.",
)  # fmt: skip

# ---- dynamics ---------------------------------------------------------------------------------------------

_TEMPERATURE = {
    "type": NOT_NEGATIVE,
    "show_default": True,
    "help": "Use this temperature, in K. Dynamics starts with velocities of this temperature, of which a "
    "crystal at constant energy keeps about half; a thermostat holds it. The command conductivity takes "
    "several temperatures: repeat the option.",
}
temperature = click.option("--temperature", default=300.0, **_TEMPERATURE)
temperatures = click.option("--temperature", "temperatures", default=(300.0,), multiple=True, **_TEMPERATURE)
picoseconds = click.option(
    "--time", "picoseconds", default=1.0, show_default=True, type=POSITIVE,
    help="Run dynamics for this time, in ps; a drift shows in runs of 1 ps and more. Where a minute allows "
    "it, validate goes on, up to 20 ps.",
)  # fmt: skip
seed = click.option(
    "--seed", default=0, show_default=True, type=Whole(min=0),
    help="Seed all random numbers with this one; the replicas of md take it and those that follow.",
)  # fmt: skip


# what the table of docs/commands.md says of options that are not given
BY_COMMAND = {
    "--distance": DISTANCE,
    "--dtype": DTYPE,
    "--keep-space-group": KEEP_SPACE_GROUP,
    "--mesh": MESH,
    "--output FILE": FILES,
    "--output FOLDER": FOLDERS,
    "--supercell": SUPERCELL,
}


def calculator_options(command: Callable) -> Callable:
    """A decorator that adds the calculator's options; the command gets a dictionary ``calculator``.

    Without --dtype, the precision is that of the command in :data:`DTYPE`, or that of the weights.

    Parameters
    ----------
    command : Callable
        with an argument ``calculator``, for :func:`.common.make_calculator`

    Returns
    -------
    Callable
        the command with these options
    """

    @functools.wraps(command)
    def gathered(*, device, dtype, forces, symmetrize, tolerance, check_lattice, **others) -> None:
        default = DTYPE.values.get(str(click.get_current_context().command.name))
        calculator = {"device": device, "dtype": dtype or default, "forces": forces}
        calculator |= {"check_lattice": check_lattice} | averaging_arguments(symmetrize, tolerance)
        command(calculator=calculator, **others)

    for option in (check_lattice, tolerance, symmetrize, forces, dtype, device):
        gathered = option(gathered)
    return gathered


def averaging_arguments(symmetrize: str | None, tolerance: float | None) -> dict:
    """The calculator's arguments for --symmetrize and --tolerance.

    Parameters
    ----------
    symmetrize : str or None
        the scheme
    tolerance : float or None
        eV/Å

    Returns
    -------
    dict
        of those that were given

    Raises
    ------
    click.BadParameter
        a tolerance without --symmetrize auto
    """
    if tolerance is None:
        return {"symmetrize": symmetrize}
    if symmetrize != "auto":
        got = "no --symmetrize" if symmetrize is None else f"--symmetrize {symmetrize!r}"
        raise click.BadParameter(f"needs --symmetrize auto, got {got}", param_hint="--tolerance")
    return {"symmetrize": symmetrize, "tolerance": tolerance}


# What to write instead of options that there were, by command and option
_CRYSTAL_KEPT = "--keep-space-group (the default) keeps the space group, --no-keep-space-group lets it go"
_RELAX_FMAX = "how far the crystal is relaxed first is --relax-fmax F"
RETIRED = {
    ("conductivity", "--fmax"): _RELAX_FMAX,
    ("elastic", "--fmax"): _RELAX_FMAX,
    ("eos", "--fmax"): _RELAX_FMAX,
    ("md", "--supercell"): "the structure is repeated by --repeat A B C",
    ("conductivity", "--symmetry"): _CRYSTAL_KEPT,
    ("elastic", "--symmetry"): _CRYSTAL_KEPT,
    ("eos", "--symmetry"): _CRYSTAL_KEPT,
    ("md", "--reference"): "the frames to compare distances with are --rdf-frames FILE",
    ("phonons", "--symmetry"): "averaging over the point group of the crystal is --symmetrize crystal",
    ("relax", "--symmetry"): "`fix` is --keep-space-group, `average` is --symmetrize crystal",
    ("symmetry", "--no-plot"): "nothing is drawn without --plot",
    ("symmetry", "--schemes"): "each scheme is a --symmetrize SCHEME",
    ("landscape", "--sample"): "a sample of N frames is --frames N",
    ("elastic", "--points"): "the number of strains of each component is --strains N",
    ("eos", "--points"): "the number of volumes is --volumes N",
    ("eos", "--strain"): "the relative change of the volume is --volume-change X",
    ("phonons", "--force"): "to go on where the crystal could not be relaxed, use --allow-unrelaxed",
}
