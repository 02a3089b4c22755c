"""The document of a model file is protected and typed: the same is refused by ASE and by the pair style.

It also tests `archive`, `info`.
"""

import hashlib
import json
import random
import re
import sys

import numpy as np
import pytest
from equivariant import random_nequip
from model_files import rewrite, sign_as_schema_1
from toy import PairNetwork, export_toy

from ase_mlip.errors import ModelFileError
from ase_mlip.model_file import archive, document_checks
from ase_mlip.model_file.document_checks import is_positive
from ase_mlip.model_file.model import export_model, find_model, load_model, read_info

SHIPPED = ["pet-si", "snnp-mo"]


def refused(path, driver, *causes: str) -> None:
    """One line that names the file and the cause, of both engines."""
    cause = "|".join(causes)
    for read in (read_info, lambda path: load_model(path, device="cpu")):
        with pytest.raises(ModelFileError, match=cause) as caught:
            read(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
        assert len(str(caught.value)) < 1000
    with pytest.raises(RuntimeError, match=cause) as caught:
        driver.create(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


# ---- edited documents ----------------------------------------------------------------------------


def set_range(claims):
    claims["interaction_range"] = 5.0


def set_range_and_schema(claims):
    set_range(claims)
    claims["schema_version"] = 1


def without_digest(claims):
    set_range_and_schema(claims)
    claims.pop("document_sha256", None)


@pytest.fixture(scope="module")
def pet_range(tmp_path_factory):
    """A file of two layers with 4 Å each, as `pet-si` has two with 5 Å."""
    path = tmp_path_factory.mktemp("range") / "two.pt"
    network = PairNetwork([8, 14], 2.5)
    export_toy(path, network, message_passing_layers=2, interaction_range=5.0)
    return path


EDITS = {
    "edited": ({"edit": set_range, "resign": False}, "document was altered"),
    "schema 1": ({"edit": set_range_and_schema, "resign": False}, "document was altered"),
    "schema 1 without digests": (
        {"edit": without_digest, "resign": False, "members": {archive.DIGEST: None}},
        "document was altered",
    ),
    "without digest": (
        {"edit": set_range, "resign": False, "members": {archive.DIGEST: None}},
        "document was altered",
    ),
    "with another digest": (
        {"edit": set_range, "members": {archive.DIGEST: b"0" * 64}},
        "document was altered",
    ),
    "digest of other text": (
        {"edit": set_range, "members": {archive.DIGEST: b"\xff" * 99}},
        "document was altered",
    ),
    "signed anew": ({"edit": set_range}, "`interaction_range` must be at least the cutoff times"),
    "signed anew as schema 1": (
        {"edit": set_range_and_schema},
        "`interaction_range` must be at least the cutoff times",
    ),
}


@pytest.mark.parametrize("case", EDITS)
@pytest.mark.parametrize("name", ["pet-si"])
def test_an_edited_interaction_range_is_refused_by_both(driver, tmp_path, name, case):
    how, cause = EDITS[case]
    path = rewrite(find_model(name), tmp_path / "edited.pt", **how)
    refused(path, driver, cause)


def as_schema_1(path, target, **training):
    """The file as the first version wrote it: no digest beside the document, one inside."""

    def edit(claims):
        claims["schema_version"] = 1
        claims["training"] = {**claims["training"], **training}

    return rewrite(path, target, edit=edit)


NUMBERS = [0.0, -0.0, 1.0, 0.1, 1e-4, 9.999e-5, 1e-5, 1e15, 1e16, 123456789012345680.0, 1e22, 5e-324, 1.7e308]


def test_the_digest_of_schema_1_is_understood_by_both(driver, tmp_path, pair_model_path):
    """Of numbers as Python writes them, and of text and keys that are not ASCII."""
    rng = random.Random(0)
    numbers = [*NUMBERS, *(rng.uniform(-1, 1) * 10.0 ** rng.randint(-30, 30) for _ in range(2000))]
    texts = {
        "Å": 'Ångström \u0000\u007f\t"\\/ 水 \U0001f600',
        "z": ["", "é"],
        "~": None,
        "a b": [True, False, -7, 0],
    }
    path = as_schema_1(pair_model_path, tmp_path / "old.pt", numbers=numbers, texts=texts)
    assert read_info(path).schema_version == 1
    driver.create(path)

    def edit(claims):
        claims["schema_version"] = 1
        claims["training"] = {"numbers": numbers, "texts": texts}
        text = sign_as_schema_1(claims)
        assert text.count(b"0.1,") == 1
        return text.replace(b"0.1,", b"0.2,")

    refused(rewrite(pair_model_path, tmp_path / "edited.pt", edit=edit, resign=False,
                    members={archive.DIGEST: None}), driver, "`document_sha256` does not agree")  # fmt: skip


def test_what_is_written_can_be_checked_by_another_program(tmp_path, pair_model_path):
    members = archive.strip(pair_model_path.read_bytes())
    text = members[archive.DOCUMENT][0]
    assert (
        members[archive.DIGEST][0].decode()
        == hashlib.sha256(text).hexdigest()
        == read_info(pair_model_path).document_sha256
    )
    assert json.loads(text)["schema_version"] == 2
    assert "document_sha256" not in json.loads(text)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_documents_pass_every_check(driver, name):
    assert read_info(find_model(name)).document_sha256
    driver.create(find_model(name))


def test_every_bit_of_the_document_is_guarded(tmp_path, pair_model_path, driver):
    """As stored, so that no checksum of the zip archive finds it first."""
    text = archive.strip(pair_model_path.read_bytes())[archive.DOCUMENT][0]
    rng = random.Random(1)
    for _ in range(30):
        place = rng.randrange(len(text))
        flipped = bytearray(text)
        flipped[place] ^= 1 << rng.randrange(8)
        path = rewrite(pair_model_path, tmp_path / "flip.pt", members={archive.DOCUMENT: bytes(flipped)})
        refused(path, driver, "its SHA-256 is not the one in")


# ---- strict JSON ---------------------------------------------------------------------------------


def raw(old: bytes, new: bytes):
    """Replace a piece of the document's text."""

    def edit(claims):
        text = json.dumps(claims).encode()
        assert text.count(old) == 1, old
        return text.replace(old, new)

    return edit


def deep(size: int):
    return raw(b'"training": {', b'"training": {"deep": ' + b"[" * size + b"]" * size + b", ")


NOT_JSON = {
    "deep lists": deep(100_000),
    "deep objects": raw(
        b'"training": {', b'"training": {"deep": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b", "
    ),
    "forty levels": deep(40),
    "an integer of 401 digits": raw(b'"training": {', b'"training": {"n": 1' + b"0" * 400 + b", "),
    "a float beyond all": raw(b'"training": {', b'"training": {"n": 1e400, '),
    "NaN": raw(b'"training": {', b'"training": {"n": NaN, '),
    "Infinity": raw(b'"cutoff": 4.0', b'"cutoff": Infinity'),
    "-Infinity": raw(b'"cutoff": 4.0', b'"cutoff": -Infinity'),
    "a key twice": raw(b'"cutoff": 4.0', b'"cutoff": 4.0, "cutoff": 5.0'),
    "an inner key twice": raw(b'"length": ', b'"length": "nm", "length": '),
    "half a surrogate": raw(b'"training": {', b'"training": {"n": "\\ud800", '),
    "no UTF-8": raw(b'"training": {', b'"training": {"n": "\xff", '),
    "a list": lambda claims: "[1, 2]",
    "a string": lambda claims: '"schema_version"',
    "nothing": lambda claims: "",
    "no schema": lambda claims: claims.pop("schema_version") and None,
}  # fmt: skip


@pytest.mark.parametrize("case", NOT_JSON)
def test_what_is_not_strict_json_is_refused(driver, tmp_path, pair_model_path, case):
    path = rewrite(pair_model_path, tmp_path / "a.pt", edit=NOT_JSON[case])
    limit = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(10**6)  # as some libraries do: Python's own stack must not overflow then
        refused(path, driver, "is not JSON with a `schema_version`")
    finally:
        sys.setrecursionlimit(limit)


def test_a_huge_document_is_refused_before_it_is_unpacked(driver, tmp_path, pair_model_path):
    text = b'{"schema_version": 2, "training": "' + b" " * archive.MAX_DOCUMENT + b'"}'
    members = archive.strip(pair_model_path.read_bytes())
    members.pop(archive.DOCUMENT), members.pop(archive.DIGEST)
    (tmp_path / "huge.pt").write_bytes(archive.compose(members, text.decode()))
    assert (tmp_path / "huge.pt").stat().st_size < 200_000
    refused(tmp_path / "huge.pt", driver, "is larger than 64 MB")


# ---- types and self-tests ------------------------------------------------------------------------


def setting(*keys, value):
    def edit(claims):
        place = claims
        for key in keys[:-1]:
            place = place[key]
        if value is None:
            del place[keys[-1]]
        else:
            place[keys[-1]] = value

    return edit


REFERENCE, STRUCTURE = ("self_test", "reference"), ("self_test", "structure")
TOLERANCES = ("self_test", "tolerances", "float32", "cpu")
SPECIES = "`species` must be sorted, different atomic numbers between 1 and 118, got"
WRONG = {
    "boolean cutoff": (setting("cutoff", value=True), "`cutoff` must be a finite"),
    "text cutoff": (setting("cutoff", value="4.0"), "`cutoff` must be a finite"),
    "boolean layers": (setting("message_passing_layers", value=True), "`message_passing_layers` must be"),
    "real layers": (setting("message_passing_layers", value=1.5), "`message_passing_layers` must be"),
    "huge layers": (setting("message_passing_layers", value=10**12), "`message_passing_layers` must be"),
    "real species": (setting("species", value=[8.0, 14.5]), r"`species\[0\]` must be"),
    "boolean species": (setting("species", value=[True, 14]), r"`species\[0\]` must be"),
    "nested species": (setting("species", value=[[8], [14]]), r"`species\[0\]` must be"),
    "unsorted species": (setting("species", value=[14, 8]), SPECIES + r" \[14, ?8\]"),
    "a species twice": (setting("species", value=[8, 14, 14]), SPECIES + r" \[8, ?14, ?14\]"),
    "no species": (setting("species", value=[]), SPECIES + r" \[\]"),
    "species beyond the elements": (setting("species", value=[8, 14, 119]), SPECIES + r" \[8, ?14, ?119\]"),
    "numbers as outputs": (setting("outputs", value=[1, 2]), r"`outputs\[0\]` must be"),
    "pair cutoff of text": (setting("pair_cutoffs", value={"O-Si": "3"}), r"`pair_cutoffs\[O-Si\]` must be"),
    "operators": (setting("operators", value={"ase_mlip": "1"}), r"`operators\[ase_mlip\]` must be"),
    "versions": (setting("versions", value={"torch": 2.7}), r"`versions\[torch\]` must be"),
    "reference energies": (
        setting("reference_energies", value={"Si": [1]}),
        r"`reference_energies\[Si\]` must",
    ),
    "member": (setting("members", "data.pkl", value=17), r"`members\[data.pkl\]` must be"),
    "conservative": (setting("conservative", value=1), "`conservative` must be"),
    "averaging": (setting("symmetrization", value={"lattice": "no"}), "`symmetrization.lattice` must be"),
    "cell": (
        setting("symmetrization", value={"scheme": "a", "cell": [[1, 2], [3, 4]]}),
        "`symmetrization.cell` must be an array",
    ),
    "schema": (setting("schema_version", value=True), "has schema version"),
    "real schema": (setting("schema_version", value=1.0), "has schema version"),
    "missing field": (setting("citation", value=None), "field `citation` is missing"),
    "empty self-test": (setting("self_test", value={}), "carries no self-test"),
    "no reference": (setting(*REFERENCE, value={}), "`self_test.reference` must be"),
    "energy alone": (setting(*REFERENCE, value={"energy": [1.0]}), "`self_test.reference` must be"),
    "no tolerances": (setting("self_test", "tolerances", value={}), "`self_test.tolerances.float32` must be"),
    "no tolerance": (
        setting(*TOLERANCES, "forces", value=None),
        "`self_test.tolerances.float32.cpu` must be",
    ),
    "wide tolerance": (
        setting(*TOLERANCES, "energy", value=1e30),
        "`self_test.tolerances.float32.cpu.energy` must",
    ),
    "no room": (
        setting(*TOLERANCES, "virial", value=0.0),
        "`self_test.tolerances.float32.cpu.virial` must be",
    ),
    "boolean tolerance": (
        setting(*TOLERANCES, "energy", value=True),
        "`self_test.tolerances.float32.cpu.energy`",
    ),
    "no device": (setting(*TOLERANCES, value=None), "`self_test.tolerances.float32` must be"),
    "one force": (
        setting(*REFERENCE, "forces", value=[[0.0, 0.0, 0.0]]),
        "`self_test.reference.forces` must be",
    ),
    "flat virial": (setting(*REFERENCE, "virial", value=[0.0] * 9), "`self_test.reference.virial` must be"),
    "energy of text": (setting(*REFERENCE, "energy", value=["a"]), "`self_test.reference.energy` must be"),
    "scalar energy": (setting(*REFERENCE, "energy", value=1.0), "`self_test.reference.energy` must be"),
    "ragged forces": (
        setting(*REFERENCE, "forces", value=[[0.0] * 3, [0.0] * 2, [0.0] * 3, [0.0] * 3]),
        "`self_test.reference.forces` must be",
    ),
    "no atoms": (setting(*STRUCTURE, "numbers", value=[]), "`self_test.structure.numbers` must be"),
    "many atoms": (
        setting(*STRUCTURE, "numbers", value=[14] * 100_000),
        "`self_test.structure.numbers` must be",
    ),
    "other atoms": (setting(*STRUCTURE, "numbers", value=[26] * 4), "`self_test.structure.numbers` must be"),
    "three positions": (
        setting(*STRUCTURE, "positions", value=[[0.0] * 3] * 3),
        "`self_test.structure.positions` must be",
    ),
    "no cell": (setting(*STRUCTURE, "cell", value=None), "the structure of its self-test has no `cell`"),
    "flat cell": (setting(*STRUCTURE, "cell", value=[[1.0] * 3] * 3), "`self_test.structure.cell` must be"),
    "tiny cell": (
        setting(*STRUCTURE, "cell", value=(1e-3 * np.eye(3)).tolist()),
        "`self_test.structure.cell` must be",
    ),
    "far atoms": (
        setting(*STRUCTURE, "positions", value=[[1e9, 0.0, 0.0], [0.0] * 3, [0.0] * 3, [0.0] * 3]),
        "`self_test.structure.cell` must be",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_values_of_another_type_or_shape_are_refused(driver, tmp_path, pair_model_path, case):
    edit, cause = WRONG[case]
    refused(rewrite(pair_model_path, tmp_path / "a.pt", edit=edit), driver, cause)


def test_a_document_cannot_be_exported_that_would_be_refused(tmp_path, monkeypatch, pair_model_path):
    from ase_mlip.model_file import self_test

    monkeypatch.setattr(self_test, "MEASURED_MARGIN", 1e30)
    with pytest.raises(ModelFileError, match=re.escape("`self_test.tolerances.")):
        export_toy(tmp_path / "a.pt")
    monkeypatch.undo()
    with pytest.raises(ModelFileError, match="must be finite JSON values.*deeper than 32"):
        nested = []
        for _ in range(40):
            nested = [nested]
        export_toy(tmp_path / "a.pt", training={"deep": nested})
    with pytest.raises(ModelFileError, match="`interaction_range` must be at least the cutoff times"):
        export_toy(tmp_path / "a.pt", message_passing_layers=3)
    assert not list(tmp_path.iterdir())


def test_strict_json_takes_what_python_writes():
    document = {"a": [1, -2.5, True, None, {"b": "Å"}], "c": 10**17}
    assert document_checks.parse(json.dumps(document).encode()) == document


def species_refused(path, driver, cause: str) -> None:
    """The weights say it, so that the file has to be loaded; both engines in the same words."""
    for self_test in (True, False):
        with pytest.raises(ModelFileError) as ours:
            load_model(path, device="cpu", self_test=self_test)
        with pytest.raises(RuntimeError) as theirs:
            driver.create(path, self_test=self_test)
        expected = f"`{path}`: `species` lists {cause}; fetch the file again"
        assert str(ours.value) == str(theirs.value) == expected


def test_species_without_weights_are_refused_by_both(driver, tmp_path):
    """Every architecture of ours has a table of its species."""
    for name in ("snnp-si", "pet-si"):
        path = rewrite(find_model(name), tmp_path / "a.pt", document={"species": [14, 26, 29]})
        species_refused(path, driver, "Fe, Cu, which the weights do not have")


def test_species_of_one_type_are_refused_by_both(driver, tmp_path):
    """NequIP gives unknown numbers the type of its first species, so that it cannot say which is which."""
    claims = {"species": [8, 14], "cutoff": 4.0, "message_passing_layers": 2, "interaction_range": 8.0}
    export_model(random_nequip([8, 14], 4.0), tmp_path / "a.pt", {"name": "random NequIP", **claims})
    path = rewrite(tmp_path / "a.pt", tmp_path / "b.pt", document={"species": [8, 14, 26]})
    species_refused(path, driver, "O, Fe, of which the weights have at most one")


def test_species_without_weights_are_not_exported(tmp_path):
    model = load_model("snnp-si", device="cpu")
    claims = {"name": "x", "cutoff": 5.0, "message_passing_layers": 1, "interaction_range": 5.0}
    with pytest.raises(ModelFileError, match="`species` lists Fe, which the weights do not have"):
        export_model(model.module, tmp_path / "b.pt", {**claims, "species": [14, 26]})
    assert not (tmp_path / "b.pt").exists()


@pytest.mark.parametrize(
    ("expected", "values"),
    [(True, [1, 1e-300, 10**400, np.float32(0.5), np.int64(3)]), (False, [0, -1, True, None, "1", np.inf])],
)
def test_positive_numbers_are_those_of_python_and_numpy(expected, values):
    assert [is_positive(value) for value in values] == [expected] * len(values)
