"""Model files with something replaced, and every kind that has to be refused."""

import hashlib
import json
import pickle
import zipfile

import pytest
import torch
from ase import Atoms
from toy import PairNetwork

from ase_mlip import _torchscript, archive


def as_atoms(structure: dict) -> Atoms:
    return Atoms(structure["numbers"], positions=structure["positions"], cell=structure["cell"], pbc=True)


def rewrite(source, target, members=None, document=None, resign=True):
    """Copy a model file with some members or claims of the document replaced, signed anew if asked."""
    members, document = members or {}, document or {}
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            content = old.read(entry)
            name = entry.filename.partition("/")[2]
            if name == archive.DOCUMENT:
                claims = {**json.loads(content), **document}
                if resign:
                    claims.pop("document_sha256")
                    text = json.dumps(claims, sort_keys=True, separators=(",", ":"))
                    claims["document_sha256"] = hashlib.sha256(text.encode()).hexdigest()
                content = json.dumps(claims)
            new.writestr(entry.filename, members.get(name, content))
    return target


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
        rewrite(good, path, members={archive.DOCUMENT: "{"})
    elif kind == "newer":
        rewrite(good, path, document={"schema_version": 2})
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
    "newer": "schema version 2, expected at most 1; upgrade",
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
