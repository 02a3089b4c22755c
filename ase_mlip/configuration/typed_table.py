"""A table of a TOML file as a dataclass: pydantic checks keys and types, one line says each problem.

The dataclasses give names, types, limits (``Annotated[int, Gt(0)]``) and defaults. Types are strict: "8" is
no number and "false" no truth value, but 1 is a number where 1.0 is.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import sys
import types
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, create_model

from ..errors import ConfigurationError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")
_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())
_NOUNS = {bool: "true or false", int: "integer", float: "number", str: "text in quotes"}


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The tables of a TOML file; ``what`` says in an error which file was expected.

    Parameters
    ----------
    path : Path
        the file
    what : str
        which file was expected, for the error

    Returns
    -------
    dict
        its tables

    Raises
    ------
    ConfigurationError
        the file is missing or is not TOML
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(f"`{path}` does not exist; expected {what}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"`{path}` is not valid TOML: {error}") from None


def read_table(kind: type[T], table: Any, where: str, **given: Any) -> T:
    """An instance of the dataclass ``kind`` with the entries of ``table`` and with ``given`` (not checked).

    Parameters
    ----------
    kind : type
        a dataclass
    table : object
        the table of the TOML file
    where : str
        its name, for errors
    **given
        fields that are known already

    Returns
    -------
    object
        an instance of ``kind``

    Raises
    ------
    ConfigurationError
        one line for each unknown key, missing key and value of another type or beyond its limits; or what the
        dataclass itself says of values that do not go together
    """
    if not isinstance(table, dict):
        raise ConfigurationError(f"{where}: expected a table of keys, got {_toml(table)}")
    hints = {name: hint for name, hint in _hints(kind).items() if name not in given}
    try:
        checked = _model(kind, frozenset(hints)).model_validate(table)
    except ValidationError as error:
        first = {tuple(found["loc"][:1]): found for found in reversed(error.errors())}
        lines = [_line(kind, hints, found, table, where) for found in reversed(first.values())]
        raise ConfigurationError("\n".join(lines)) from None
    try:
        return kind(**{name: getattr(checked, name) for name in table}, **given)
    except ConfigurationError:
        raise
    except ValueError as error:
        raise ConfigurationError(f"{where}: {error}") from None


class Sections:
    """The tables of one TOML file, read one after another: what is wrong with any of them is one error.

    Parameters
    ----------
    path : Path
        the file, for errors

    Attributes
    ----------
    problems : list of str
        what was wrong so far, a line for each
    """

    def __init__(self, path: Path):
        self.path = path
        self.problems: list[str] = []

    def read(self, kind: type[T], name: str, table: Any, **given: Any) -> Any:
        """As :func:`read_table` of the table ``name``, "" for the file's own keys; None if it is wrong."""
        where = f"`{self.path}` [{name}]" if name else f"`{self.path}`"
        try:
            return read_table(kind, table, where, **given)
        except ConfigurationError as error:
            self.problems.append(str(error))
            return None

    def checked(self, config: T, contradictions: Callable[[T], Iterable[str]]) -> T:
        """``config``, made of all tables; only of right ones it is asked what does not go together.

        Raises
        ------
        ConfigurationError
            a line for each problem
        """
        problems = self.problems or [f"`{self.path}` {problem}" for problem in contradictions(config)]
        if problems:
            raise ConfigurationError("\n".join(problems))
        return config


@cache
def _hints(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


@cache
def _model(kind: type, names: frozenset[str]) -> type[BaseModel]:
    fields = {f.name: f for f in dataclasses.fields(kind)}
    entries = {
        name: (hint, ... if _is_required(fields[name]) else None)
        for name, hint in _hints(kind).items()
        if name in names
    }
    return create_model(kind.__name__, __config__=_STRICT, **entries)


def _is_required(field: dataclasses.Field) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _line(kind: type, hints: dict[str, Any], found: Any, table: dict[str, Any], where: str) -> str:
    key = str(found["loc"][0])
    if found["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, hints, 1)
        remedy = f"did you mean `{near[0]}`? Known are" if near else "expected one of"
        return f"{where} has the unknown key `{key}`; {remedy} {', '.join(hints)}"
    expected = describe(hints[key])
    if found["type"] == "missing":
        return f"{where} lacks the key `{key}`: expected {expected}; add it"
    return f"{where} {key}: expected {expected}, got {_toml(table[key])}; {_remedy(kind, key, hints, table)}"


def _remedy(kind: type, key: str, hints: dict[str, Any], table: dict[str, Any]) -> str:
    """What the entry was probably meant to be, or the default."""
    adapter = TypeAdapter(hints[key], config=ConfigDict(strict=True, allow_inf_nan=False))
    for meant in _meanings(table[key]):
        try:
            return f"write {key} = {_toml(adapter.validate_python(meant))}"
        except ValidationError:
            continue
    field = next(field for field in dataclasses.fields(kind) if field.name == key)
    if field.default in (dataclasses.MISSING, None):
        return "correct it" if _is_required(field) else "correct it or leave it out"
    return f"correct it or leave it out, which is {key} = {_toml(field.default)}"


def _meanings(value: Any) -> list[Any]:
    found = [[value], str(value)]
    if isinstance(value, float) and value.is_integer():
        found.insert(0, int(value))
    if isinstance(value, int):
        found.insert(0, bool(value))
    if isinstance(value, str):
        with suppress(tomllib.TOMLDecodeError):
            found.insert(0, tomllib.loads(f"x = {value.strip().lower()}")["x"])
    return found


def describe(hint: Any) -> str:
    """A type in words, such as "a positive integer" for ``Annotated[int, Gt(0)]``."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _limited(arguments[0], arguments[1:])
    if origin is Literal:
        names = [_toml(argument) for argument in arguments]
        return " or ".join(names) if len(names) < 3 else "one of " + ", ".join(names)
    if origin in (Union, types.UnionType):
        return " or ".join(describe(a) for a in arguments if a is not type(None))
    if origin is list:
        return f"a list, each entry {describe(arguments[0])}"
    if origin is dict:
        return f"a table, each value {describe(arguments[1])}"
    noun = _NOUNS[hint]
    return noun if hint in (bool, str) else f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _limited(hint: Any, limits: tuple) -> str:
    words = describe(hint)
    for limit in limits:
        if isinstance(limit, Gt) and limit.gt == 0:
            words = f"a positive {_NOUNS[hint]}" if hint in _NOUNS else f"positive {words}"
        elif isinstance(limit, Gt):
            words += f" above {limit.gt}"
        elif isinstance(limit, Ge):
            words += f" of at least {limit.ge}"
        elif isinstance(limit, (Lt, Le)):
            words += f" below {limit.lt}" if isinstance(limit, Lt) else f" of at most {limit.le}"
        elif isinstance(limit, str):
            words = limit
    return words


def _toml(value: Any) -> str:
    """A value as TOML writes it, near enough for a message."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(entry)}" for key, entry in value.items()) + " }"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False, default=str)
