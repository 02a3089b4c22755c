"""What docs/data.md says of data that lie outside the project; skipped where they are absent."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.io import read

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
SCRIPTS = ROOT / "examples" / "training"


def text() -> str:
    return " ".join((ROOT / "docs" / "data.md").read_text(encoding="utf-8").split())


@pytest.mark.skipif(not (SHARED / "3bpa").is_dir(), reason="../shared/data/3bpa is not there")
def test_3bpa_has_31_frames_twice_and_jumps_between_its_temperatures():
    frames = [read(SHARED / "3bpa" / f"train_{name}.xyz", ":") for name in ("mixedT", "300K")]
    energies, others = ([atoms.get_potential_energy() for atoms in part] for part in frames)
    twice = np.abs(np.subtract.outer(energies, others)).min(axis=1) < 1e-6
    same = [
        min(np.abs(atoms.positions - other.positions).max() for other in frames[1]) < 1e-6
        for atoms in (frames[0][k] for k in np.flatnonzero(twice))
    ]
    assert sum(same) == 31 and "after 31 frames of the training file were taken out" in text()
    left = ~twice
    assert [int(left[a:b].sum()) for a, b in ((0, 167), (167, 334), (334, 500))] == [136, 167, 166]
    assert f"{energies[167] - energies[166]:.1f} eV from frame 166 to 167" in text()
    assert f"{energies[334] - energies[333]:.1f} eV from 333 to 334" in text()


@pytest.mark.skipif(not (SHARED / "water").is_dir(), reason="../shared/data/water is not there")
def test_the_water_of_data_3_is_near_that_of_the_others_and_the_last_frames_are_not(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setattr(sys, "argv", ["prepare_water.py"])
    script = runpy.run_path(str(SCRIPTS / "prepare_water.py"), run_name="prepared")
    systems = [script["read_deepmd"](SHARED / "water" / "data" / f"data_{k}") for k in range(4)]
    frames = [frame for system in systems for frame in system]
    fractional = np.array([frame.get_scaled_positions(wrap=False) for frame in frames])
    train, test = fractional[: -len(systems[3])], fractional[-len(systems[3]) :]
    nearest = []
    for one in test:
        steps = train - one
        vectors = (steps - np.round(steps)) @ frames[0].cell.array
        nearest.append(np.sqrt((vectors**2).sum(axis=2).mean(axis=1)).min())
    assert f"the nearest is {min(nearest):.3f} Å away" in text()
    assert f"the median {np.median(nearest):.2f} Å" in text()
    distances = script["oxygen_distances"](frames)
    order = script["time_order"](distances)
    stretches = script["STRETCHES"]
    apart = distances[np.ix_(order[stretches["test"]], order[stretches["train"]])].min()
    assert f"have moved at least {apart:.2f} Å" in text()
    ordered = distances[np.ix_(order, order)] ** 2
    found = [np.mean(np.diagonal(ordered, lag)) for lag in (40, 160, 300)]
    assert "{:.1f} Å² at 40 frames, {:.1f} at 160, {:.1f} at 300".format(*found) in text()
