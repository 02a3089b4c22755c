"""The errors and warnings of ase_mlip. Every message names the thing, what was expected, what was got and the
remedy.
"""

import sys
from types import FrameType


class MLIPError(ValueError):
    """Something the user supplied cannot be used; the message says what to do about it."""


class ArgumentError(MLIPError):
    """An argument that makes no sense whatever files hold, or arguments that exclude each other.

    A command ends with exit status 2 for it, where all other errors end with 1.
    """


class ModelFileError(MLIPError):
    """A model file cannot be found, read or trusted."""


class StructureError(MLIPError):
    """A structure the potential cannot evaluate."""


class DataError(MLIPError):
    """Training or reference data that cannot be used."""


class ConfigurationError(DataError):
    """A training's TOML file that cannot be used: one line for each problem."""


class OutputInUseError(MLIPError):
    """An output that another process is writing at this moment."""


class BuildError(RuntimeError):
    """The compiled operators are missing and could not be built."""


class DeviceWarning(UserWarning):
    """A GPU that is there and was not taken, with the reason."""


class SupercellWarning(UserWarning):
    """A supercell in which an atom feels its own periodic image."""


class ResidualWarning(UserWarning):
    """A structure away from its minimum, where one at rest is meant."""


class PrecisionWarning(UserWarning):
    """A result that the model's own noise, rounding or anisotropy, does not allow."""


def users_line() -> int:
    """How deep the line lies that a warning is about: the nearest one that is the user's.

    Lines of this package are not, nor those of what calls it or lies between: ASE, torch and ``contextlib``.

    Returns
    -------
    int
        the ``stacklevel`` of ``warnings.warn``, for the function that calls this one
    """
    frame: FrameType | None = sys._getframe(1)
    level = 1
    while frame is not None and _package(frame) in ("ase_mlip", "ase", "torch", "contextlib"):
        frame, level = frame.f_back, level + 1
    return level


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]
