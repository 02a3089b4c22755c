"""Model files with something replaced, and every kind that has to be refused."""

import hashlib
import json
import pickle
import zipfile

import pytest
import torch
from ase import Atoms
from toy import PairNetwork

from ase_mlip import _torchscript
from ase_mlip.model_file import archive


def as_atoms(structure: dict) -> Atoms:
    return Atoms(structure["numbers"], positions=structure["positions"], cell=structure["cell"], pbc=True)


def rewrite(source, target, members=None, document=None, resign=True, edit=None):
    """Copy a model file with some members or claims of the document replaced, signed anew if asked.

    ``edit`` changes the document in place, or returns other text; a member None is removed.
    """
    members, kept = dict(members or {}), archive.strip(source.read_bytes())
    text, digest = kept.pop(archive.DOCUMENT)[0], kept.pop(archive.DIGEST, (None,))[0]
    claims = {**json.loads(text), **(document or {})}
    text = edit(claims) if edit is not None else None
    if not isinstance(text, (str, bytes)):
        text = json.dumps(claims)
    text = text if isinstance(text, bytes) else text.encode()
    if resign and claims.get("schema_version") != 1:
        digest = hashlib.sha256(text).hexdigest().encode()
    elif resign:
        digest, text = None, sign_as_schema_1(claims)
    contents = {name: content for name, (content, _) in kept.items()}
    contents |= {archive.DOCUMENT: text, archive.DIGEST: digest, **members}
    with zipfile.ZipFile(target, "w") as new:
        for name, content in contents.items():
            if content is not None:
                new.writestr(f"model/{name}", content)
    return target


def sign_as_schema_1(claims: dict) -> bytes:
    """A document as files of schema 1 hold it, with its digest inside."""
    claims = {key: value for key, value in claims.items() if key != "document_sha256"}
    text = json.dumps(claims, sort_keys=True, separators=(",", ":"))
    return json.dumps(
        {**claims, "document_sha256": hashlib.sha256(text.encode()).hexdigest()}, indent=1
    ).encode()


def bad_file(kind, good, folder):
    """A file that is wrong in one way."""
    path = folder / f"{kind}.pt"
    data = good.read_bytes()
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif kind == "text":
        path.write_text("pair_coeff * * potential\n" * 10)
    elif kind == "json":
        path.write_text('{"a": 1}')
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({"weights": [1.0]}))
    elif kind == "safetensors":
        from safetensors.torch import save

        path.write_bytes(save({"weight": torch.ones(2)}))
    elif kind == "checkpoint":
        torch.save({"weight": torch.ones(2)}, path)
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as zipped:
            zipped.writestr("a/readme.txt", "hello")
    elif kind == "undocumented":
        _torchscript.save(_torchscript.script(PairNetwork([14], 4.0)), str(path))
    elif kind == "garbled document":
        rewrite(good, path, edit=lambda claims: "{")
    elif kind == "newer":
        rewrite(good, path, document={"schema_version": 3})
    elif kind == "edited document":
        rewrite(good, path, document={"cutoff": 5.0, "interaction_range": 5.0}, resign=False)
    elif kind == "edited member":
        rewrite(good, path, members={"data/1": b"\0" * 476})
    elif kind == "damaged member":
        content = bytearray(data)
        with zipfile.ZipFile(good) as zipped:
            tensors = [entry for entry in zipped.infolist() if "/data/" in entry.filename]
            entry = max(tensors, key=lambda tensor: tensor.file_size)
        content[entry.header_offset + 400] ^= 1
        path.write_bytes(content)
    elif kind == "added member":
        rewrite(good, path)
        with zipfile.ZipFile(path, "a") as zipped:
            zipped.writestr("model/code/extra.py", "")
    elif kind == "doubled member":
        rewrite(good, path)
        with zipfile.ZipFile(path, "a") as zipped, pytest.warns(UserWarning, match="Duplicate name"):
            zipped.writestr("model/version", "3\n")
    elif kind == "unknown input":
        rewrite(good, path, document={"inputs": ["magnetic_moments"]})
    elif kind == "cell":
        rewrite(good, path, document={"inputs": ["cell"]})
    elif kind == "unknown output":
        rewrite(good, path, document={"outputs": ["energies", "charges"]})
    elif kind == "unknown field":
        rewrite(good, path, document={"colour": "red"})
    elif kind == "newer operators":
        rewrite(good, path, document={"operators": {"ase_mlip": 99}})
    elif kind == "unknown operators":
        rewrite(good, path, document={"operators": {"ase_mlip": 1, "elsewhere": 1}})
    elif kind == "no self-test":
        rewrite(good, path, document={"self_test": {}})
    elif kind == "wrong type":
        rewrite(good, path, document={"species": "Si"})
    return path


REFUSED = {
    "empty": "is empty",
    "truncated": "is truncated",
    "text": "is not TorchScript",
    "json": "is JSON, not TorchScript",
    "pickle": "is a Python pickle",
    "safetensors": "is a safetensors checkpoint.*export",
    "checkpoint": "not TorchScript but a checkpoint of `torch.save`.*export",
    "zip": "not TorchScript but a zip archive of something else",
    "undocumented": "is TorchScript, but not a model file of ase_mlip",
    "garbled document": "is not JSON with a `schema_version`",
    "newer": "schema version 3, expected at most 2; upgrade",
    "edited document": "its document was altered",
    "edited member": "archive member `data/1` was altered",
    "damaged member": r"archive member `data/\d+` was altered since",
    "added member": "archive was altered: `code/extra.py` was added",
    "doubled member": "archive was altered: `a member stored twice`",
    "unknown input": "unknown input `magnetic_moments`",
    "cell": "needs the input `cell`.*not supported",
    "unknown output": "unknown output `charges`",
    "unknown field": "unknown field `colour`",
    "newer operators": "version 99 of the operators `ase_mlip`.*upgrade",
    "unknown operators": "needs the operators `elsewhere`",
    "no self-test": "carries no self-test",
    "wrong type": "`species` must be list, got 'Si'",
}
