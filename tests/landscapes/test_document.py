"""Landscapes as JSON: read as they were written, anything else refused."""

import json

import numpy as np
import pytest

from ase_mlip.errors import DataError
from ase_mlip.landscapes.document import read_document

GOOD = {
    "kind": "landscape",
    "version": 1,
    "model": {"name": "a", "sha256": "0", "family": "PET"},
    "settings": {},
    "x": [-0.1, 0.0, 0.1],
    "energy_losses": [[0.2, 0.1, None]],
    "force_losses": [[0.2, 0.1, 0.3]],
    "entropy": {},
    "intervals": {},
}


def test_null_is_an_infinite_loss(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(GOOD))
    found = read_document(path)
    assert found["energy_losses"].tolist() == [[0.2, 0.1, np.inf]]
    assert found["x"].dtype == found["force_losses"].dtype == np.float64


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "md"}, "is no landscape"),
        ({"version": 2}, "has version 2"),
        ({"model": {"name": "a", "family": "PET"}}, "has no `model.sha256`"),
        ({"x": [0.0]}, "expected `energy_losses` with 1 numbers in each line"),
        ({"force_losses": [[0.1, 0.2, "a"]]}, "expected `force_losses`"),
    ],
)
def test_another_document_is_refused(tmp_path, change, message):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(GOOD | change))
    with pytest.raises(DataError, match=message):
        read_document(path)


def test_what_is_no_json_or_incomplete_is_refused(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("no")
    with pytest.raises(DataError, match="is not JSON"):
        read_document(path)
    path.write_text(json.dumps({name: GOOD[name] for name in GOOD if name != "x"}))
    with pytest.raises(DataError, match="has no `x`"):
        read_document(path)
    path.write_text("[1]")
    with pytest.raises(DataError, match="is no landscape"):
        read_document(path)
