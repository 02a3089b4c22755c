"""What a model file says about itself: one JSON document inside the archive, readable without torch.

``members`` holds a SHA-256 for every other member of the archive. The SHA-256 of the document itself lies
beside it in the archive and is checked first (:mod:`ase_mlip.model_file.archive`). A file of schema 1 holds
it as its
field ``document_sha256``, over the document without that field, written as canonical JSON (sorted keys, no
spaces, ASCII). Neither stops a forger; both stop edits and accidents.
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ase.data import atomic_numbers, chemical_symbols

from ..errors import ModelFileError
from . import archive, document_checks

SCHEMA_VERSION = 2
SHIPPED = Path(__file__).resolve().parent / "models"
KNOWN_INPUTS: tuple[str, ...] = ()
KNOWN_OUTPUTS = ("energies", "direct_forces", "direct_stresses", "direct_virials", "features")
UNITS = {"length": "Å", "energy": "eV"}
DTYPES = ("float32", "float64")


@dataclass
class ModelInfo:
    """The JSON document of a model file. Lengths in Å, energies in eV.

    A new field also needs its type among the ``FIELDS`` of ``document_checks.py``.

    Attributes
    ----------
    name : str
        of the model
    species : list of int
        atomic numbers the model knows, sorted
    cutoff : float
        no edge is longer, Å
    pair_cutoffs : dict of float or None
        shorter cutoffs for pairs of elements, ``{"O-Si": 3.5}``, or None
    message_passing_layers : int
        neighbourhoods that an atom's energy sees in a row
    interaction_range : float
        distance beyond which an atom cannot change another's energy, Å
    description : str
        a sentence for people
    dtype : str
        precision of the stored weights
    units : dict of str
        of the numbers; there is one choice
    inputs, outputs : list of str
        names of per-node tensors beyond the graph, and of what the network returns
    conservative, equivariant : bool
        whether forces are derivatives of the energy; whether energies do not depend on the orientation
    symmetrization : dict of object or None
        the symmetry averaging exported with the model, or None
    operators : dict of int
        versions of the custom operators it calls, ``{"ase_mlip": 1}``
    architecture : dict
        its name and hyper-parameters, of networks that this package can build again
    training : dict of object
        where the weights come from: data, functional, errors on the test set
    license, citation : str
        of the weights
    versions, created : dict of str, str
        of the programs that wrote the file, and when
    reference_energies : dict of float
        energy per element that is added in float64, eV
    self_test : dict of object
        a structure, the numbers it must give, and how closely (:mod:`ase_mlip.model_file.self_test`)
    members : dict of str
        SHA-256 of every other member of the archive
    schema_version : int
        of the file that was read; what is written has the present one
    document_sha256 : str
        of the document's bytes; in a file of schema 1, of its canonical form

    Examples
    --------
    >>> from ase_mlip import load_model
    >>> info = load_model("snnp-si").info
    >>> info.name, info.cutoff, info.conservative
    ('snnp-si', 5.0, True)
    """

    name: str
    species: list[int]
    cutoff: float
    message_passing_layers: int
    interaction_range: float
    description: str = ""
    pair_cutoffs: dict[str, float] | None = None
    dtype: str = "float32"
    units: dict[str, str] = field(default_factory=lambda: dict(UNITS))
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=lambda: ["energies"])
    conservative: bool = True
    equivariant: bool = False
    symmetrization: dict[str, Any] | None = None
    operators: dict[str, int] = field(default_factory=lambda: {"ase_mlip": 1})
    architecture: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    license: str = ""
    citation: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    created: str = ""
    reference_energies: dict[str, float] = field(default_factory=dict)
    self_test: dict[str, Any] = field(default_factory=dict)
    members: dict[str, str] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION
    document_sha256: str = ""

    @property
    def symbols(self) -> list[str]:
        """Chemical symbols of ``species``."""
        return [chemical_symbols[number] for number in self.species]

    def pair_cutoff_numbers(self) -> dict[tuple[int, int], float]:
        """``pair_cutoffs`` by atomic numbers, each pair once in either order, Å."""
        table = {}
        for pair, cutoff in (self.pair_cutoffs or {}).items():
            first, second = (atomic_numbers[symbol] for symbol in pair.split("-"))
            table[first, second] = table[second, first] = cutoff
        return table

    def validate(self) -> None:
        """Raise ModelFileError, naming the field, when a claim cannot be true or is unknown here."""
        document_checks.check_types({entry.name: getattr(self, entry.name) for entry in fields(self)})
        _check_geometry(self)
        _check_names("input", self.inputs, KNOWN_INPUTS)
        _check_names("output", self.outputs, KNOWN_OUTPUTS)
        if "energies" not in self.outputs:
            raise ModelFileError(f"`outputs` must contain `energies`, got {self.outputs}")
        if self.dtype not in DTYPES:
            raise ModelFileError(f"`dtype` must be one of {', '.join(DTYPES)}, got `{self.dtype}`")
        if self.units != UNITS:
            raise ModelFileError(f"`units` must be {UNITS}, got {self.units}; convert inside the network")
        missing = [symbol for symbol in self.reference_energies if symbol not in self.symbols]
        if missing:
            raise ModelFileError(f"`reference_energies` name {missing}, which are not among {self.symbols}")

    def to_json(self) -> str:
        """The document as stored; ``document_sha256`` becomes its digest.

        Raises
        ------
        ModelFileError
            a value is not one of JSON, or a claim is not one that a reader takes
        """
        claims = {key: value for key, value in asdict(self).items() if key != "document_sha256"}
        try:
            text = json.dumps(claims, allow_nan=False, default=_plain, indent=1)
            document = document_checks.parse(text.encode())
        except (TypeError, ValueError) as error:
            raise ModelFileError(f"the metadata must be finite JSON values: {error}") from None
        self.document_sha256 = hashlib.sha256(text.encode()).hexdigest()
        _check_claims({**document, "document_sha256": self.document_sha256})
        return text


def shipped_models() -> list[str]:
    """Names of the potentials inside this package.

    Returns
    -------
    list of str
        sorted
    """
    return sorted(file.stem for file in SHIPPED.glob("*.pt"))


def find_model(path_or_name: str | os.PathLike) -> Path:
    """Absolute path of a model file or of a shipped potential.

    Parameters
    ----------
    path_or_name : str or Path
        a model file, or the name of a shipped potential

    Returns
    -------
    Path
        absolute

    Raises
    ------
    FileNotFoundError
        neither exists; the message lists the shipped potentials
    """
    if not isinstance(path_or_name, (str, os.PathLike)):
        raise ModelFileError(
            f"`model` must be the path of a model file or a shipped potential such as `pet-si`, "
            f"got {path_or_name!r}"
        )
    path = Path(path_or_name)
    if path.is_file():
        return path.resolve()
    shipped = SHIPPED / f"{path.name}.pt"
    if len(path.parts) == 1 and shipped.is_file():
        return shipped
    names = ", ".join(f"`{name}`" for name in shipped_models()) or "none"
    found = "it is a folder" if path.is_dir() else "there is no such file"
    raise FileNotFoundError(
        f"model `{path}` not found: {found}. Give the path of a model file, or a shipped potential: {names}"
    )


def read_info(path: str | Path) -> ModelInfo:
    """Read the document of a model file; torch is not imported and the weights are not touched.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, PermissionError
        from opening the file
    ModelFileError
        the file is empty, truncated, not TorchScript, has no document, a newer one, or an altered one
    """
    return parse_document(archive.read_document(path), path)


def parse_document(document: archive.Document, path: str | Path) -> ModelInfo:
    """The document's claims, once its schema is known to us, it is intact, and every value has its type."""
    try:
        claims = document_checks.parse(document.text)
        version = claims["schema_version"]
    except (ValueError, KeyError) as error:
        what = f"{error}" if isinstance(error, ValueError) else "it has no `schema_version`"
        raise ModelFileError(
            f"`{path}`: its document `{archive.DOCUMENT}` is not JSON with a `schema_version` ({what}); "
            "fetch the file again"
        ) from None
    if isinstance(version, bool) or not isinstance(version, int) or version > SCHEMA_VERSION:
        raise ModelFileError(
            f"`{path}` has schema version {version}, expected at most {SCHEMA_VERSION}; "
            "upgrade ase_mlip to read it"
        )
    if version < 1:
        raise ModelFileError(
            f"`{path}`: schema version {version} never existed; expected 1 to {SCHEMA_VERSION}"
        )
    _require_intact(claims, document, version, path)
    try:
        return _check_claims(_upgrade(claims, version) | {"document_sha256": _digest_of(claims, document)})
    except ModelFileError as error:
        raise ModelFileError(f"`{path}`: {error}") from None


def _require_intact(claims: dict, document: archive.Document, version: int, path: str | Path) -> None:
    """From schema 2 on the archive holds the digest, which was checked; before, the document does."""
    if version >= 2 and not document.sha256:
        reason = f"`{archive.DIGEST}` is missing"
    elif version == 1 and document.sha256:
        reason = f"schema 1 has no `{archive.DIGEST}`"
    elif version == 1 and claims.get("document_sha256") != _canonical_digest(claims):
        reason = "`document_sha256` does not agree with the rest"
    else:
        return
    raise ModelFileError(
        f"`{path}`: its document was altered ({reason}); "
        "fetch the file again, or export the model anew with the claims you want"
    )


def _digest_of(claims: dict, document: archive.Document) -> str:
    return document.sha256 or claims["document_sha256"]


def _upgrade(document: dict, version: int) -> dict:
    """Translate an older schema into the present one, so that old files stay loadable.

    Every version adds an ``if version < n:`` step here, in ascending order. Version 2 changed how the module
    is called and where the digest is; ``schema_version`` stays, for those who call the module.
    """
    return document


def _check_claims(document: dict) -> ModelInfo:
    known = {entry.name for entry in fields(ModelInfo)}
    unknown = sorted(document.keys() - known)
    missing = sorted(known - document.keys())
    if unknown or missing:
        problem = f"unknown field `{unknown[0]}`" if unknown else f"field `{missing[0]}` is missing"
        raise ModelFileError(f"{problem} in the document (schema {SCHEMA_VERSION}); export anew")
    info = ModelInfo(**document)
    info.validate()
    document_checks.check_self_test(info.self_test, info.species, info.outputs, info.cutoff)
    return info


def _plain(value: Any) -> Any:
    """NumPy scalars and arrays, which people put into metadata, as Python numbers and lists."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} {value!r} is neither number, text, list nor dict")


def _canonical_digest(document: dict) -> str:
    claims = {key: value for key, value in document.items() if key != "document_sha256"}
    text = json.dumps(claims, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _check_geometry(info: ModelInfo) -> None:
    valid = all(1 <= number <= 118 for number in info.species)
    if not info.species or not valid or info.species != sorted(set(info.species)):
        raise ModelFileError(
            f"`species` must be sorted, different atomic numbers between 1 and 118, got {info.species}"
        )
    if not 0.0 < info.cutoff < float("inf"):
        raise ModelFileError(f"`cutoff` must be a positive length in Å, got {info.cutoff}")
    if info.message_passing_layers < 0:
        raise ModelFileError(f"`message_passing_layers` must not be < 0, got {info.message_passing_layers}")
    if not info.cutoff <= info.interaction_range < float("inf"):
        raise ModelFileError(
            f"`interaction_range` must be at least the cutoff {info.cutoff} Å, got {info.interaction_range}"
        )
    if info.interaction_range < info.cutoff * info.message_passing_layers * (1.0 - 1e-9):
        raise ModelFileError(
            f"`interaction_range` must be at least the cutoff times `message_passing_layers`, "
            f"{info.cutoff} × {info.message_passing_layers} Å, got {info.interaction_range}"
        )
    for pair, cutoff in (info.pair_cutoffs or {}).items():
        symbols = pair.split("-")
        if len(symbols) != 2 or not set(symbols) <= set(info.symbols):
            raise ModelFileError(
                f"`pair_cutoffs` must have keys such as `{info.symbols[0]}-{info.symbols[-1]}` "
                f"of the model's species, got `{pair}`"
            )
        if not 0.0 < cutoff <= info.cutoff:
            raise ModelFileError(
                f"`pair_cutoffs[{pair}]` must be between 0 and the cutoff {info.cutoff} Å, got {cutoff}"
            )


def _check_names(kind: str, names: list[str], known: tuple[str, ...]) -> None:
    for name in names:
        if name == "cell":
            raise ModelFileError(
                f"it needs the {kind} `cell`: models of the cell itself (long-range sums) are not supported"
            )
        if name not in known:
            listed = ", ".join(known) if known else "none"
            raise ModelFileError(
                f"unknown {kind} `{name}`; known here: {listed}; upgrade ase_mlip or export without it"
            )
