"""Finished parts of a result: what comes back from their file, and what is refused."""

import json
import math
import os
import signal
import time

import numpy as np
import pytest

from ase_mlip import provenance
from ase_mlip.errors import DataError
from ase_mlip.provenance import Parts

SETTINGS = {"model_document_sha256": "abc", "settings": {"strain": 0.005, "names": ("a", "b")}}


def kept(path, settings=SETTINGS, **parts):
    with Parts(path, settings) as found:
        for name, part in parts.items():
            found.keep(name, part)


def test_parts_come_back_bit_by_bit(tmp_path):
    numbers = np.random.default_rng(0).normal(size=50).tolist()
    special = [math.nan, math.inf, -math.inf, 5e-324, -0.0]
    kept(tmp_path / "parts.json", numbers=numbers, special=special, text="Å")
    again = Parts(tmp_path / "parts.json", SETTINGS)
    assert again.before == 3 and again.found["numbers"] == numbers and again.found["text"] == "Å"
    assert np.array(again.found["special"]).tobytes() == np.array(special).tobytes()


def test_a_part_is_computed_once(tmp_path):
    for _ in range(2):
        with Parts(tmp_path / "parts.json", SETTINGS) as parts:
            assert parts.once("one", lambda: time.monotonic_ns()) == parts.once("one", lambda: 0)
    assert parts.before == 1 and Parts().once("one", lambda: 2) == 2


def test_they_are_written_whatever_ends_the_work(tmp_path):
    with pytest.raises(KeyboardInterrupt), Parts(tmp_path / "parts.json", SETTINGS) as parts:
        parts.keep("one", 1)
        raise KeyboardInterrupt
    assert Parts(tmp_path / "parts.json", SETTINGS).found == {"one": 1}
    parts.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_has_left_what_was_due(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "PARTS_SECONDS", -1.0)
    monkeypatch.setattr(provenance, "PARTS_SHARE", math.inf)
    child = os.fork()
    if child == 0:
        parts = Parts(tmp_path / "parts.json", SETTINGS)
        parts.keep("one", [1.5])
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert Parts(tmp_path / "parts.json", SETTINGS).found == {"one": [1.5]}


def test_writing_takes_a_small_part_of_the_time(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(provenance, "write_atomically", lambda *_: written.append(time.sleep(0.02)))
    monkeypatch.setattr(provenance, "PARTS_SECONDS", 0.0)
    parts, started = Parts(tmp_path / "parts.json"), time.monotonic()
    while time.monotonic() - started < 0.6:
        parts.keep("one", 1)
    assert 1 <= len(written) <= 3  # a twentieth of the time, and the first


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (
            {**SETTINGS, "settings": {"strain": 0.01, "names": ["a", "b"]}},
            "`strain=0.005`, now `strain=0.01`",
        ),
        ({**SETTINGS, "model_document_sha256": "abd"}, "another `model`"),
        (None, "`model"),
    ],
)
def test_those_of_other_settings_are_refused_or_replaced(other, why, tmp_path):
    path = tmp_path / "parts.json"
    kept(path, one=1)
    if other is not None:
        with pytest.raises(
            DataError, match=f"parts.json` exists; .*other settings: .*{why}.*`overwrite=True`"
        ):
            Parts(path, other)
        assert Parts(path, other, overwrite=True).found == {}
    assert Parts(path, SETTINGS, overwrite=True).found == {"one": 1}


@pytest.mark.parametrize("damage", ["flipped", "cut", "other", "binary"])
def test_a_damaged_file_is_refused_or_replaced(damage, tmp_path):
    path = tmp_path / "parts.json"
    kept(path, one=[0.125, 2.0])
    text = path.read_text()
    changed = {"flipped": text.replace("0.125", "0.135"), "cut": text[:-9], "other": json.dumps([1])}
    path.write_bytes(b"\xff\xfe" if damage == "binary" else changed[damage].encode())
    with pytest.raises(DataError, match="expected results of the same settings, got something else"):
        Parts(path, SETTINGS)
    with Parts(path, SETTINGS, overwrite=True) as parts:
        parts.keep("two", 2)
    assert Parts(path, SETTINGS).found == {"two": 2}
