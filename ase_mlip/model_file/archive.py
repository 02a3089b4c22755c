"""The zip archive of a model file: reading its document, verifying and writing it. No torch here.

An archive is what TorchScript writes, plus ``extra/ase_mlip.json`` (libtorch's place for extra files) and,
from schema 2 on, ``extra/ase_mlip.sha256``: the SHA-256 of that document's bytes, which is checked before
they are read.
"""

import hashlib
import io
import json
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ..errors import ModelFileError
from .code import check_code

DOCUMENT = "extra/ase_mlip.json"
DIGEST = "extra/ase_mlip.sha256"
MAX_DOCUMENT = 1 << 26  # bytes; the largest of ours has 25 kB
ALIGNMENT = 64  # libtorch aligns tensors so that they may be mapped into memory
REMEDY = "load it with its own program and write it with `ase_mlip.export_model`"


class Document(NamedTuple):
    """The JSON document of a model file.

    Attributes
    ----------
    text: its bytes
    sha256: their digest, which the file held, too; empty if it holds none, as those of schema 1
    """

    text: bytes
    sha256: str


def read_document(path: str | Path) -> Document:
    """The document of the model file, intact if it has a digest. Raises OSError, ModelFileError."""
    with Path(path).open("rb") as stream, _open(stream, path) as zipped:
        member = _document_member(zipped, path)
        if zipped.getinfo(member).file_size > MAX_DOCUMENT:
            raise ModelFileError(
                f"`{path}`: its document `{DOCUMENT}` is larger than {MAX_DOCUMENT >> 20} MB; "
                "fetch the file again"
            )
        text = _read(zipped, member, path)
        names = {_inner_name(name): name for name in zipped.namelist()}
        if DIGEST not in names:
            return Document(text, "")
        stored = _read(zipped, names[DIGEST], path)
        found = hashlib.sha256(text).hexdigest()
        if stored != found.encode():
            raise ModelFileError(
                f"`{path}`: its document was altered (its SHA-256 is not the one in `{DIGEST}`); "
                "fetch the file again, or export the model anew with the claims you want"
            )
        return Document(text, found)


def verify_members(data: bytes, expected: dict[str, str], path: str | Path) -> None:
    """Raise ModelFileError unless the archive holds exactly the ``expected`` members (name → SHA-256).

    Their code must call operators that compute, and no others (:mod:`ase_mlip.model_file.code`).
    """
    with _open(io.BytesIO(data), path) as zipped:
        names = [_inner_name(name) for name in zipped.namelist()]
        ours = {DOCUMENT, DIGEST} & set(names)
        if len(names) != len(set(names)) or set(names) != expected.keys() | ours:
            changed = sorted(set(names) ^ (expected.keys() | ours)) or ["a member stored twice"]
            raise ModelFileError(
                f"`{path}`: the archive was altered: `{changed[0]}` was added, removed or doubled "
                "since the export; fetch the file again"
            )
        for full_name, name in zip(zipped.namelist(), names, strict=True):
            if name in ours:
                continue
            content = _read(zipped, full_name, path)
            if hashlib.sha256(content).hexdigest() != expected[name]:
                raise _altered(name, path)
            try:
                check_code({name: content})
            except ModelFileError as error:
                raise ModelFileError(f"`{path}`: {error}") from None


def read_member(data: bytes, name: str) -> bytes | None:
    """The content of one member; None where the archive has none of that name. Verify the members before."""
    with zipfile.ZipFile(io.BytesIO(data)) as zipped:
        names = {_inner_name(full): full for full in zipped.namelist()}
        return zipped.read(names[name]) if name in names else None


def strip(data: bytes) -> dict[str, tuple[bytes, int]]:
    """Members of a TorchScript archive without its debug tables: name → (content, compression).

    The tables would put the exporter's own folder names into the file, and libtorch needs them only to
    print source lines in tracebacks.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as zipped:
        return {
            _inner_name(entry.filename): (zipped.read(entry), entry.compress_type)
            for entry in zipped.infolist()
            if not entry.filename.endswith(".debug_pkl")
        }


def digests(members: dict[str, tuple[bytes, int]]) -> dict[str, str]:
    """SHA-256 of each member's content."""
    return {name: hashlib.sha256(content).hexdigest() for name, (content, _) in members.items()}


def compose(members: dict[str, tuple[bytes, int]], document: str | None) -> bytes:
    """The bytes of a model file; the same members and document always give the same bytes."""
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w") as zipped:
        for name, (content, compression) in members.items():
            entry = _entry(name, compression)
            if compression == zipfile.ZIP_STORED:
                # an extra field (id "FB", as libtorch's) pads the local header up to the content
                start = output.tell() + 30 + len(entry.filename.encode()) + 4
                padding = -start % ALIGNMENT
                entry.extra = b"FB" + padding.to_bytes(2, "little") + b"Z" * padding
            zipped.writestr(entry, content)
        if document is not None:
            digest = hashlib.sha256(document.encode()).hexdigest()
            zipped.writestr(_entry(DOCUMENT, zipfile.ZIP_DEFLATED), document)
            zipped.writestr(_entry(DIGEST, zipfile.ZIP_STORED), digest)
    return output.getvalue()


# ---- the archive's members ---------------------------------------------------------------------------------


def _entry(name: str, compression: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(f"model/{name}", date_time=(1980, 1, 1, 0, 0, 0))
    entry.compress_type = compression
    return entry


def _inner_name(name: str) -> str:
    """Without the archive's own top folder, whose name is arbitrary."""
    return name.partition("/")[2]


def _document_member(zipped: zipfile.ZipFile, path: str | Path) -> str:
    names = {_inner_name(name): name for name in zipped.namelist()}
    is_script = "constants.pkl" in names and any(name.startswith("code/") for name in names)
    if not is_script:
        kind = "a checkpoint of `torch.save`" if "data.pkl" in names else "a zip archive of something else"
        raise ModelFileError(f"`{path}` is not TorchScript but {kind}; {REMEDY}")
    if DOCUMENT not in names:
        raise ModelFileError(
            f"`{path}` is TorchScript, but not a model file of ase_mlip: it has no `{DOCUMENT}`; {REMEDY}"
        )
    return names[DOCUMENT]


def _open(stream, path: str | Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(stream)
    except zipfile.BadZipFile:
        stream.seek(0)
        raise ModelFileError(_explain(stream.read(4096), path)) from None


def _read(zipped: zipfile.ZipFile, member: str, path: str | Path) -> bytes:
    try:
        return zipped.read(member)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError):
        raise _altered(_inner_name(member), path) from None


def _altered(member: str, path: str | Path) -> ModelFileError:
    return ModelFileError(
        f"`{path}`: the archive member `{member}` was altered since the export; fetch the file again"
    )


def _explain(start: bytes, path: str | Path) -> str:
    """What a file that is no zip archive seems to be."""
    if not start:
        return f"`{path}` is empty; fetch or export it again"
    if start.startswith(b"PK"):
        return f"`{path}` is truncated: it starts as a zip archive but has no end; fetch it again"
    header = int.from_bytes(start[:8], "little")
    if len(start) > 8 and start[8:9] == b"{" and header < 1 << 32:
        return f"`{path}` is a safetensors checkpoint, not a model file; export it with `export_model` first"
    if start.startswith(b"\x80"):
        return f"`{path}` is a Python pickle, not TorchScript, and is not opened; {REMEDY}"
    with suppress(ValueError):
        json.loads(start)
        return f"`{path}` is JSON, not TorchScript; give the model file that was exported"
    return f"`{path}` is not TorchScript (no zip archive); give the model file that was exported"
