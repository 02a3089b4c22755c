"""The errors of ase_mlip. Every message names the thing, what was expected, what was got and the remedy."""


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
