"""The JSON document of a model file, before anything in it is believed: strict JSON, types, shapes.

Python's ``json`` takes NaN, numbers of a thousand digits, keys that occur twice and text that cannot be
printed; a document with any of them comes from no export. What the fields mean is said where they are
declared (:class:`.info.ModelInfo`). ``lammps_plugin/model_file/`` makes the same checks (``document.cpp`` and
``document_types.cpp``).
"""

import json
import math
import re
from collections.abc import Callable
from numbers import Real
from typing import Any

from ..errors import ModelFileError

MAX_DEPTH = 32
MAX_SELF_TEST_ATOMS = 64
MAX_PAIRS = 4_000_000  # of atoms and images that the self-test's plain sum looks at
# the largest tolerance of a self-test, relative to the largest number it compares: more would prove nothing
MAX_TOLERANCE = {"cpu": 0.01, "cuda": 0.1}
DTYPES = ("float32", "float64")
# rows of the arrays in a self-test: one for the structure, or one for each atom
SHAPES: dict[str, tuple[bool, tuple[int, ...]]] = {
    "energy": (False, ()),
    "virial": (False, (3, 3)),
    "forces": (True, (3,)),
    "direct_forces": (True, (3,)),
    "direct_stresses": (True, (3, 3)),
    "direct_virials": (True, (3, 3)),
}
REQUIRED = ("energy", "forces", "virial")

Check = Callable[[Any, str], None]


# ---- strict JSON -------------------------------------------------------------------------------------------


def parse(text: bytes) -> dict[str, Any]:
    """The object that ``text`` is. Raises ValueError, in one line, unless it is strict, shallow JSON."""
    _check_depth(text)
    document = json.loads(
        text.decode(),
        parse_constant=_no_constant,
        parse_int=_integer,
        parse_float=_finite,
        object_pairs_hook=_unique,
    )
    if not isinstance(document, dict):
        raise ValueError("it is no object")
    _check_plain(document, 0)
    return document


def _check_depth(text: bytes) -> None:
    """Refuse deep nesting before ``json`` recurses into it.

    Where another library has raised Python's limit of recursion, its stack would overflow.
    """
    depth = 0
    for token in re.finditer(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', text, re.DOTALL):
        bracket = token.group()
        if bracket in (b"[", b"{"):
            depth += 1
            if depth > MAX_DEPTH:
                raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
        elif bracket in (b"]", b"}"):
            depth -= 1


def _no_constant(text: str) -> float:
    raise ValueError(f"it holds {text}")


def _integer(text: str) -> int:
    if len(text) > 18:
        raise ValueError(f"the number {text[:18]}… has too many digits")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:24]} is too large")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!a} occurs twice")
    return found


def _check_plain(value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, str):
        value.encode()  # half a surrogate pair cannot be printed
    elif isinstance(value, dict):
        for key, item in value.items():
            key.encode()
            _check_plain(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check_plain(item, depth + 1)


# ---- types -------------------------------------------------------------------------------------------------


def check_types(claims: dict[str, Any]) -> None:
    """Raise ModelFileError, naming the value, unless every value has its type and is a finite number."""
    for name, check in FIELDS.items():
        check(claims[name], name)


def _fail(name: str, expected: str, value: Any) -> None:
    text = ascii(value)
    raise ModelFileError(f"`{name}` must be {expected}, got {text if len(text) <= 60 else text[:57] + '...'}")


def _text(value: Any, name: str) -> None:
    if not isinstance(value, str):
        _fail(name, "str", value)


def _boolean(value: Any, name: str) -> None:
    if not isinstance(value, bool):
        _fail(name, "bool", value)


def _whole(value: Any, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 2**31:
        _fail(name, "int", value)


def _number(value: Any, name: str) -> None:
    real = isinstance(value, int | float) and not isinstance(value, bool)
    if not real or not abs(value) <= 1e300:  # also NaN
        _fail(name, "a finite float", value)


def _digest(value: Any, name: str) -> None:
    if not isinstance(value, str) or len(value) != 64 or set(value) - set("0123456789abcdef"):
        _fail(name, "a SHA-256 in hexadecimal digits", value)


def _object(value: Any, name: str) -> None:
    if not isinstance(value, dict):
        _fail(name, "dict", value)


def _optional(check: Check) -> Check:
    return lambda value, name: None if value is None else check(value, name)


def _list(check: Check) -> Check:
    def apply(value: Any, name: str) -> None:
        if not isinstance(value, list):
            _fail(name, "list", value)
        for place, item in enumerate(value):
            check(item, f"{name}[{place}]")

    return apply


def _table(check: Check) -> Check:
    def apply(value: Any, name: str) -> None:
        _object(value, name)
        for key, item in value.items():
            _text(key, name)
            check(item, f"{name}[{key}]")

    return apply


def _averaging(value: Any, name: str) -> None:
    _object(value, name)
    _text(value.get("scheme", ""), f"{name}.scheme")
    _boolean(value.get("lattice", False), f"{name}.lattice")
    _whole(value.get("rotations", 0), f"{name}.rotations")
    if value.get("cell") is not None:
        check_array(value["cell"], (3, 3), f"{name}.cell")


FIELDS: dict[str, Check] = {
    "name": _text,
    "species": _list(_whole),
    "cutoff": _number,
    "message_passing_layers": _whole,
    "interaction_range": _number,
    "description": _text,
    "pair_cutoffs": _optional(_table(_number)),
    "dtype": _text,
    "units": _table(_text),
    "inputs": _list(_text),
    "outputs": _list(_text),
    "conservative": _boolean,
    "equivariant": _boolean,
    "symmetrization": _optional(_averaging),
    "operators": _table(_whole),
    "architecture": _object,
    "training": _object,
    "license": _text,
    "citation": _text,
    "versions": _table(_text),
    "created": _text,
    "reference_energies": _table(_number),
    "self_test": _object,
    "members": _table(_digest),
    "schema_version": _whole,
    "document_sha256": _text,
}


# ---- the self-test -----------------------------------------------------------------------------------------


def check_array(value: Any, shape: tuple[int, ...], name: str) -> None:
    """Raise ModelFileError unless ``value`` is nested lists of finite numbers of this shape."""
    if not shape:
        _number(value, name)
        return
    if not isinstance(value, list) or len(value) != shape[0]:
        _fail(name, f"an array of shape {list(shape)}", value)
    for item in value:
        check_array(item, shape[1:], name)


def check_self_test(self_test: dict[str, Any], species: list[int], outputs: list[str], cutoff: float) -> None:
    """Raise ModelFileError unless a structure of the model's species has all numbers that prove a model."""
    for part in ("structure", "reference", "tolerances"):
        if part not in self_test:
            raise ModelFileError("it carries no self-test; export it with `export_model`")
        _object(self_test[part], f"self_test.{part}")
    n_atoms = _check_structure(self_test["structure"], species, cutoff)
    reference, tolerances = self_test["reference"], self_test["tolerances"]
    wanted = [*REQUIRED, *(name for name in SHAPES if name in outputs)]
    if reference.keys() != set(wanted):
        _fail("self_test.reference", f"an object of {', '.join(wanted)}", sorted(reference))
    largest = 1.0
    for name, value in reference.items():
        by_atom, shape = SHAPES[name]
        check_array(value, (n_atoms if by_atom else 1, *shape), f"self_test.reference.{name}")
        largest = max(largest, *(abs(number) for number in _flat(value)))
    for dtype in DTYPES:
        by_device = tolerances.get(dtype)
        _object(by_device, f"self_test.tolerances.{dtype}")
        if not {"cpu"} <= by_device.keys() <= MAX_TOLERANCE.keys():
            _fail(f"self_test.tolerances.{dtype}", "an object of cpu and cuda", sorted(by_device))
        for device, limits in by_device.items():
            _check_tolerances(limits, wanted, MAX_TOLERANCE[device] * largest, f"{dtype}.{device}")


def _check_structure(structure: dict[str, Any], species: list[int], cutoff: float) -> int:
    for part in ("numbers", "positions", "cell"):
        if part not in structure:
            raise ModelFileError(f"the structure of its self-test has no `{part}`; export it again")
    numbers = structure["numbers"]
    _list(_whole)(numbers, "self_test.structure.numbers")
    if not 1 <= len(numbers) <= MAX_SELF_TEST_ATOMS or not set(numbers) <= set(species):
        expected = f"1 to {MAX_SELF_TEST_ATOMS} atoms of the model's species {species}"
        _fail("self_test.structure.numbers", expected, numbers)
    check_array(structure["positions"], (len(numbers), 3), "self_test.structure.positions")
    check_array(structure["cell"], (3, 3), "self_test.structure.cell")
    if not _count_pairs(structure, cutoff) <= MAX_PAIRS:
        expected = f"a cell that reaches the cutoff {cutoff} Å within a few images"
        _fail("self_test.structure.cell", expected, structure["cell"])
    return len(numbers)


def _count_pairs(structure: dict[str, Any], cutoff: float) -> float:
    """Pairs of atoms and images within reach of the cell, as the self-test makes them.

    In plain numbers, as C++ does the same: `crystals.heights` fails for the cells that are refused here.
    """
    cell, columns = structure["cell"], list(zip(*structure["positions"], strict=True))
    reach = cutoff + math.hypot(*(max(column) - min(column) for column in columns))
    normals = [_cross(cell[(k + 1) % 3], cell[(k + 2) % 3]) for k in range(3)]
    volume = abs(sum(a * b for a, b in zip(cell[0], normals[0], strict=True)))
    pairs = float(len(structure["numbers"]) ** 2)
    for normal in normals:
        pairs *= 2.0 * reach * math.hypot(*normal) / volume + 3.0 if volume > 0.0 else math.inf
    return pairs


def _cross(a: list[float], b: list[float]) -> list[float]:
    return [a[(k + 1) % 3] * b[(k + 2) % 3] - a[(k + 2) % 3] * b[(k + 1) % 3] for k in range(3)]


def _check_tolerances(limits: Any, wanted: list[str], largest: float, name: str) -> None:
    _object(limits, f"self_test.tolerances.{name}")
    if limits.keys() != set(wanted):
        _fail(f"self_test.tolerances.{name}", f"an object of {', '.join(wanted)}", sorted(limits))
    for quantity, limit in limits.items():
        _number(limit, f"self_test.tolerances.{name}.{quantity}")
        if not 0.0 < limit <= largest:
            expected = f"between 0 and {largest:.3g} (a hundredth of its numbers, a tenth on a GPU)"
            _fail(f"self_test.tolerances.{name}.{quantity}", expected, limit)


def _flat(value: Any) -> list[float]:
    return [number for item in value for number in _flat(item)] if isinstance(value, list) else [value]


def is_positive(value: Any) -> bool:
    """Whether it is a finite number above zero, of Python or NumPy; True is none."""
    return isinstance(value, Real) and not isinstance(value, bool) and bool(0.0 < value < math.inf)
