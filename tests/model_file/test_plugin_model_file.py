"""Model files read by the C++ side of the LAMMPS pair style: what it refuses, in one line with a remedy."""

import hashlib
import json
import os
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import bulk
from plugin_driver import whole

from ase_mlip.model_file import archive


def rewrite(source: Path, path: Path, edit=None, members=None) -> Path:
    """The model file ``source`` with an edited document, or other members (None removes one)."""
    kept = archive.strip(source.read_bytes())
    kept.pop(archive.DIGEST)
    document = json.loads(kept.pop(archive.DOCUMENT)[0])
    for name, content in (members or {}).items():
        kept.pop(name, None)
        if content is not None:
            kept[name] = (content, zipfile.ZIP_STORED)
    if edit is not None:
        edit(document)
    path.write_bytes(archive.compose(kept, json.dumps(document)))
    return path


def setting(*keys, value):
    def edit(document):
        for key in keys[:-1]:
            document = document[key]
        document[keys[-1]] = value

    return edit


DOCUMENTS = {
    "newer schema": (setting("schema_version", value=3), "has schema version 3, expected at most 2; upgrade"),
    "no schema": (lambda d: d.pop("schema_version"), "is not JSON with a `schema_version`"),
    "old schema": (setting("schema_version", value=0), "schema version 0 never existed"),
    "unknown operators": (setting("operators", value={"other": 1}), "needs the operators `other`, which"),
    "newer operators": (
        setting("operators", value={"ase_mlip": 99}),
        "needs version 99 of the operators `ase_mlip`, expected at most",
    ),
    "unknown input": (setting("inputs", value=["charge"]), "unknown input `charge`; known here: none"),
    "cell": (setting("inputs", value=["cell"]), r"long-range sums\) are not supported"),
    "unknown output": (setting("outputs", value=["energies", "spins"]), "unknown output `spins`"),
    "no energies": (setting("outputs", value=[]), "`outputs` must contain `energies`"),
    "unit": (setting("units", "energy", value="kcal/mol"), "`units` must be Å and eV"),
    "species": (setting("species", value=[0]), "`species` must be sorted, different atomic numbers"),
    "cutoff": (setting("cutoff", value=-1.0), "`cutoff` must be a positive length in Å, got -1.0"),
    "range": (setting("interaction_range", value=1.0), "must be at least the cutoff 4.0 Å, got 1.0"),
    "dtype": (setting("dtype", value="bfloat16"), "`dtype` must be float32 or float64, got `bfloat16`"),
    "pair": (setting("pair_cutoffs", value={"O-Qq": 2.0}), "keys such as `O-Si`.*`O-Qq`: 2.0"),
    "wrong type": (setting("name", value=5), "`name` must be text, got 5"),
    "missing field": (lambda d: d.pop("cutoff"), "field `cutoff` is missing in the document"),
    "no self-test": (setting("self_test", value={}), "carries no self-test; export it"),
    "failing self-test": (
        setting("self_test", "reference", "energy", value=[0.5]),
        "fails its self-test in float64 on `cpu`: `energy`: expected 0.5, got -.*tolerance .*e-",
    ),
    "self-test of other shapes": (
        setting("self_test", "reference", "forces", value=[[0.0, 0.0, 0.0]]),
        "`self_test.reference.forces` must be an array with 4 entries",
    ),
    "removed member": (setting("members", "data/99", value="0" * 64), "`data/99` was removed"),
    "wrong digest": (setting("members", "data.pkl", value="0" * 64), "member `data.pkl` was altered"),
}


@pytest.mark.parametrize("case", DOCUMENTS)
def test_documents_that_are_refused(driver, tmp_path, pair_model_path, case):
    edit, message = DOCUMENTS[case]
    path = rewrite(pair_model_path, tmp_path / "model.pt", edit)
    with pytest.raises(RuntimeError, match=rf"^`{path}`[^\n]*{message}[^\n]*$"):
        driver.create(path)


def test_members_that_are_refused(driver, tmp_path, pair_model_path):
    path = rewrite(pair_model_path, tmp_path / "altered.pt", members={"data.pkl": b"other"})
    with pytest.raises(RuntimeError, match="`data.pkl` was altered since the export; fetch the file again"):
        driver.create(path)
    path = rewrite(pair_model_path, tmp_path / "added.pt", members={"notes": b"hello"})
    with pytest.raises(RuntimeError, match="`notes` was added or doubled"):
        driver.create(path)
    data = bytearray(pair_model_path.read_bytes())
    stored = [content for content, kind in archive.strip(bytes(data)).values() if kind == zipfile.ZIP_STORED]
    largest = max(stored, key=len)
    data[data.index(largest) + len(largest) // 2] ^= 1
    (tmp_path / "flipped.pt").write_bytes(data)
    with pytest.raises(RuntimeError, match="flipped.pt`: the archive member .* was altered"):
        driver.create(tmp_path / "flipped.pt")


def test_code_that_torch_cannot_load_is_an_error_with_both_versions(driver, tmp_path, pair_model_path):
    members = archive.strip(pair_model_path.read_bytes())
    name = next(name for name, (content, _) in members.items() if b".forces_from_gradients(" in content)
    code = members[name][0].replace(b"ase_mlip.forces_from_gradients", b"ase_mlip.forces_from_nothing")
    edit = setting("members", name, value=hashlib.sha256(code).hexdigest())
    path = rewrite(pair_model_path, tmp_path / "code.pt", edit, {name: code})
    message = r"^[^\n]*is intact, but torch \S+ cannot load it \(written with torch [^\n]*"
    with pytest.raises(RuntimeError, match=message):
        driver.create(path)


def foreign_files(folder: Path, model: Path) -> dict[str, tuple[Path, str]]:
    """Files that are no model file, and what must be said of them."""
    members = archive.strip(model.read_bytes())
    members.pop(archive.DOCUMENT), members.pop(archive.DIGEST)
    torch.save({"weights": torch.zeros(3)}, folder / "checkpoint")
    with zipfile.ZipFile(folder / "zip", "w") as zipped:
        zipped.writestr("hello.txt", "hello")
    contents = {
        "empty": (b"", "is empty; fetch or export it again"),
        "truncated": (model.read_bytes()[:5000], "is truncated: it starts as a zip archive"),
        "text": (b"units metal\n", "is not TorchScript"),
        "json": (b'{"name": 1}', "is JSON, not TorchScript"),
        "pickle": (pickle.dumps([1, 2]), "is a Python pickle, not TorchScript, and is not opened"),
        "safetensors": ((20).to_bytes(8, "little") + b'{"a":{}}' + b" " * 20, "a safetensors checkpoint"),
        "foreign": (
            archive.compose(members, None),
            "not a model file of ase_mlip: it has no `extra/ase_mlip.j",
        ),
        "text document": (archive.compose(members, "not JSON"), "is not JSON with a `schema_version`"),
        "checkpoint": ((folder / "checkpoint").read_bytes(), "a checkpoint of `torch.save`"),
        "zip": ((folder / "zip").read_bytes(), "a zip archive of something else"),
    }
    for name, (content, _) in contents.items():
        (folder / name).write_bytes(content)
    files = {name: (folder / name, message) for name, (_, message) in contents.items()}
    return {
        **files,
        "folder": (folder, "it is a folder"),
        "missing": (folder / "x.pt", "there is no such file"),
    }


def test_files_that_are_no_model_file(driver, tmp_path, pair_model_path):
    for name, (path, message) in foreign_files(tmp_path, pair_model_path).items():
        with pytest.raises(RuntimeError, match=rf"^[^\n]*`{path}`[^\n]*{message}[^\n]*$") as caught:
            driver.create(path)
        assert str(caught.value).count(";") + str(caught.value).count(". ") >= 1, f"{name}: no remedy"


@pytest.mark.skipif(os.getuid() == 0, reason="root may read every file")
def test_a_file_without_permission_is_named(driver, tmp_path, pair_model_path):
    path = Path(shutil.copy(pair_model_path, tmp_path))
    path.chmod(0)
    with pytest.raises(RuntimeError, match="cannot be read; check its permissions"):
        driver.create(path)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"device": "tpu"}, "unknown `device` tpu; expected `auto`, `cpu`, `cuda` or `cuda:N`"),
        ({"device": "cuda:x"}, "unknown `device` cuda:x"),
        ({"device": "cuda:77"}, "`device` cuda:77 is not there: torch sees .* GPUs; use `device cpu`"),
        ({"dtype": "float16"}, "unsupported `dtype` float16; expected float32 or float64"),
    ],
)
def test_options_that_are_refused(driver, pair_model_path, options, message):
    with pytest.raises(RuntimeError, match=message):
        driver.create(pair_model_path, **options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_without_a_gpu_says_so(driver, pair_model_path):
    with pytest.raises(RuntimeError, match="`device` cuda is not there: torch sees 0 GPUs; use `device cpu`"):
        driver.create(pair_model_path, device="cuda")


def test_a_file_without_gradients_gives_everything_but_centroid_virials(driver, tmp_path, pair_model_path):
    """As the first files of ase_mlip 0.1."""
    members = archive.strip(pair_model_path.read_bytes())
    name = next(name for name, (content, _) in members.items() if b".forces_from_gradients(" in content)
    code = members[name][0].replace(b'"gradients"', b'"unknown to them"')
    assert code != members[name][0]
    edit = setting("members", name, value=hashlib.sha256(code).hexdigest())
    path = rewrite(pair_model_path, tmp_path / "old.pt", edit, {name: code})
    atoms = bulk("SiO", "zincblende", a=4.3)
    driver.create(path)
    domain = whole(atoms, 4.5)
    driver.set_topology(domain)
    assert driver.evaluate(domain.positions(atoms)).energy < 0
    with pytest.raises(
        RuntimeError, match="exported without `gradients`.*export it again with `ase-mlip export"
    ):
        driver.evaluate(domain.positions(atoms), centroid=True)


def test_sha256_is_that_of_hashlib(driver, tmp_path):
    """All lengths around the padding of one and two blocks, and a file of a model's size."""
    content = np.random.default_rng(0).integers(0, 256, 1_000_003, dtype=np.uint8).tobytes()
    for length in [*range(0, 131), 4096, len(content)]:
        (tmp_path / "data").write_bytes(content[:length])
        assert driver.ask("sha256", tmp_path / "data") == [hashlib.sha256(content[:length]).hexdigest()]
