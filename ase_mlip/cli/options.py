"""Every option that several commands have, declared once: one name, one meaning, one default, one text.

Where commands take different values if nothing is given, the option's default is None, its text names them,
and each command puts its own in. ``tests/cli/test_options.py`` compares all commands.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable
from pathlib import Path

import click


class Finite(click.FloatRange):
    """A range of numbers that holds neither infinity nor NaN, which no comparison would refuse."""

    def convert(self, value, param, context):
        """The number, unless it is out of range or not finite (click.BadParameter)."""
        number = super().convert(value, param, context)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, context)
        return number


class Device(click.ParamType):
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``; whether it is there only torch knows."""

    name = "device"

    def convert(self, value, param, context):
        """The text as it is, unless it can be no device (click.BadParameter)."""
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
            self.fail(f"expected auto, cpu, cuda or cuda:N, got {value!r}.", param, context)
        return value


POSITIVE = Finite(min=0.0, min_open=True)
NOT_NEGATIVE = Finite(min=0.0)
DISPLACEMENT = Finite(0.0, 0.5, min_open=True)  # Å; force constants are derivatives, a bond is two of these
COUNT = click.IntRange(min=1)
FILE = click.Path(path_type=Path)
FOLDER = click.Path(path_type=Path, file_okay=False)
DEFAULT_TOLERANCE = "0.001"  # of MLIPCalculator, which would be imported for --help; a test compares them

# ---- the network ------------------------------------------------------------------------------------------

device = click.option(
    "--device", default="auto", show_default=True, type=Device(),
    help="Evaluate the network on this device: auto, cpu, cuda or cuda:N.",
)  # fmt: skip
dtype = click.option(
    "--dtype", type=click.Choice(["float32", "float64"]),
    help="Use the network in this precision; export stores it so. By default phonons, elastic, eos, "
    "conductivity and validate use float64, since they take small differences, and all others use the "
    "precision of the file.",
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

_OUTPUT = {
    "metavar": "FOLDER",
    "help": "Write the results into this folder, where an interrupted run of the same settings goes on. By "
    "default phonons writes to phonons, validate to report and demo to demo_output; the other commands write "
    "no files. With --attach, design writes the new model to this file.",
}
output_folder = click.option("-o", "--output", type=FOLDER, **_OUTPUT)
output_folder_or_file = click.option("-o", "--output", type=FILE, **_OUTPUT)
output_file = click.option(
    "-o", "--output", type=FILE, metavar="FILE",
    help="Write this file. By default plot-filters writes filters.png and rotations writes rotations.txt; "
    "export needs the option.",
)  # fmt: skip
plot = click.option("--plot", is_flag=True, help="Draw the results, too, as a picture in the folder of -o.")
overwrite = click.option("--overwrite", is_flag=True,
                         help="Replace results of other settings that are in the output folder, or the file "
                         "of -o.")  # fmt: skip
as_json = click.option("--json", "as_json", is_flag=True,
                       help="Print the results as one JSON object, and nothing else, on stdout.")  # fmt: skip
resume = click.option("--resume", is_flag=True,
                      help="Only go on with a run: end with an error where the output folder holds "
                      "none.")  # fmt: skip
quick = click.option("--quick", is_flag=True,
                     help="Take a first, rough look, with coarse settings and short dynamics.")  # fmt: skip

# ---- crystals ---------------------------------------------------------------------------------------------

symprec = click.option("--symprec", default=0.01, show_default=True, type=POSITIVE,
                       help="Find the symmetry of a crystal within this tolerance, in Å.")  # fmt: skip
relax_first = click.option("--relax/--no-relax", "relax_first", default=True, show_default=True,
                           help="Relax the cell and the atoms first.")  # fmt: skip
fmax = click.option(
    "--fmax", type=POSITIVE,
    help="Relax until no force is larger than this, in eV/Å; where the cell relaxes, it bounds the stress, "
    "too. The default is 0.01 in relax, and 0.0001 in elastic, eos and conductivity, which relax first.",
)  # fmt: skip
keep_space_group = click.option(
    "--keep-space-group/--no-keep-space-group", default=None,
    help="Keep the space group of the start while relaxing, by projecting forces and steps. By default "
    "elastic, eos and conductivity keep it, and relax does not.",
)  # fmt: skip
reference = click.option(
    "--reference", type=FILE,
    help="Compare with reference data. They are a relaxed structure in relax, a phonopy directory in "
    "phonons, one such directory or a folder with one for each structure in validate, and a table of "
    "conductivities in conductivity (with --entry).",
)  # fmt: skip
supercell = click.option(
    "--supercell", type=COUNT, nargs=3, metavar="A B C",
    help="Repeat the cell this many times along its vectors. By default md does not repeat it. By default "
    "the faces of the supercell are twice the model's interaction range apart in phonons, or twice its "
    "cutoff where that would take more than 512 atoms, and twice its cutoff in conductivity for third-order "
    "force constants.",
)  # fmt: skip
mesh = click.option(
    "--mesh", type=COUNT, nargs=3, metavar="A B C",
    help="Sample this many q-points along each reciprocal vector. The default is 20 20 20 in phonons and "
    "11 11 11 in conductivity.",
)  # fmt: skip
distance = click.option(
    "--distance", type=DISPLACEMENT,
    help="Displace atoms by this distance, in Å. The default is 0.01 in phonons and 0.03 in conductivity.",
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
    help="Run dynamics for this time, in ps; validate runs up to 20 ps where a minute allows it. A drift "
    "shows in runs of 1 ps and more.",
)  # fmt: skip
seed = click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(min=0),
    help="Seed all random numbers with this one; the replicas of md take it and those that follow.",
)  # fmt: skip


def calculator_options(default_dtype: str | None = None) -> Callable[[Callable], Callable]:
    """A decorator that adds the calculator's options; the command gets a dictionary ``calculator``.

    Parameters
    ----------
    default_dtype : str, optional
        the precision without --dtype; None stands for that of the weights

    Returns
    -------
    Callable
        the decorator; the dictionary is for :func:`.common.make_calculator`
    """

    def add(command: Callable) -> Callable:
        @functools.wraps(command)
        def gathered(*, device, dtype, forces, symmetrize, tolerance, check_lattice, **others) -> None:
            calculator = {"device": device, "dtype": dtype or default_dtype, "forces": forces}
            calculator |= {"check_lattice": check_lattice} | averaging_arguments(symmetrize, tolerance)
            command(calculator=calculator, **others)

        for option in (check_lattice, tolerance, symmetrize, forces, dtype, device):
            gathered = option(gathered)
        return gathered

    return add


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
RETIRED = {
    ("conductivity", "--symmetry"): _CRYSTAL_KEPT,
    ("elastic", "--symmetry"): _CRYSTAL_KEPT,
    ("eos", "--symmetry"): _CRYSTAL_KEPT,
    ("md", "--reference"): "the frames to compare distances with are --rdf-frames FILE",
    ("phonons", "--symmetry"): "averaging over the point group of the crystal is --symmetrize crystal",
    ("relax", "--symmetry"): "`fix` is --keep-space-group, `average` is --symmetrize crystal",
    ("symmetry", "--no-plot"): "nothing is drawn without --plot",
    ("symmetry", "--schemes"): "each scheme is a --symmetrize SCHEME",
    ("landscape", "--frames"): "a sample of N frames is --sample N",
    ("elastic", "--points"): "the number of strains of each component is --strains N",
    ("eos", "--points"): "the number of volumes is --volumes N",
    ("eos", "--strain"): "the relative change of the volume is --volume-change X",
    ("phonons", "--force"): "to go on where the crystal could not be relaxed, use --allow-unrelaxed",
}
