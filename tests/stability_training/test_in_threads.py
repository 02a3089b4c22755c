"""Runs that share a process, a potential, or more than one thread give the numbers of a run alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from threads import in_threads

from ase_mlip.dynamics.criteria import Criteria
from ase_mlip.stability_training.samplers import EngineSampler
from ase_mlip.stability_training.settings import SimulationConfig
from ase_mlip.stability_training.trainable import open_trainable
from ase_mlip.stability_training.workflow import stabilize

sys.path.insert(0, str(Path(__file__).resolve().parent))
from stabilize_cases import MadeUp, prepare, starts

SHORT = "timestep = 1.0\nrecord_interval = 5"


@pytest.mark.parametrize("name", ["snnp-si", "pet-si"])
def test_one_potential_in_two_threads_gives_the_tracks_of_one(name):
    trainable = open_trainable(name)
    simulation = SimulationConfig(temperature_K=300.0, timestep=1.0, record_interval=5)
    sampler = EngineSampler(simulation, Criteria())

    def run(seed: int):
        return lambda: sampler(trainable, starts(2), [seed, seed + 1], 0.02)

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        serial = [run(seed)() for seed in (3, 7)]
        together = in_threads([run(seed) for seed in (3, 7)])
    finally:
        torch.set_num_threads(before)
    for expected, found in zip(serial, together, strict=True):
        for one, other in zip(expected, found, strict=True):
            assert len(one.frames) == len(other.frames) == 4
            np.testing.assert_allclose(other.end.positions, one.end.positions, rtol=0, atol=1e-9)


def test_two_runs_in_two_threads_are_two_runs_one_after_the_other(tmp_path):
    def run(name: str):
        folder = tmp_path / name
        folder.mkdir()
        path = prepare(folder)
        return lambda: stabilize(path, sampler=MadeUp()).document

    expected = run("alone")()
    for found in in_threads([run("one"), run("other")]):
        assert found["history"] == expected["history"]
        assert found["points"] == expected["points"]
        assert found["chosen"]["epoch"] == expected["chosen"]["epoch"]


SCRIPT = """
import json, sys
import torch
from ase_mlip.stability_training.workflow import stabilize
sys.path.insert(0, sys.argv[2])
from stabilize_cases import MadeUp
document = stabilize(sys.argv[1], sampler=MadeUp()).document
print(json.dumps({"threads": torch.get_num_threads(), "history": document["history"]}))
"""


def test_the_default_number_of_threads_gives_the_numbers_of_one(tmp_path):
    """Without OMP_NUM_THREADS and without `threads`, torch takes as many as there are cores."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    rows = []
    for threads in ("threads = 1", ""):
        folder = tmp_path / (threads.replace(" = ", "-") or "default")
        folder.mkdir()
        path = prepare(folder)
        path.write_text(path.read_text().replace("threads = 1", threads))
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(path), str(Path(__file__).parent)],
            env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        found = json.loads(done.stdout.splitlines()[-1])
        if threads:
            assert found["threads"] == int(threads[-1])
        rows.append(found["history"])
    for history in rows[1:]:
        for row, expected in zip(history, rows[0], strict=True):
            for name, value in expected.items():
                assert row[name] == pytest.approx(value, rel=1e-4), name
