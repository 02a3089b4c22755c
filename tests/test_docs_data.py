"""What docs/data.md says of data that lie outside the project; skipped where they are absent."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.io import read
from doc_tables import numbers, sentences, table

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


@pytest.mark.skipif(not (SHARED / "mlearn").is_dir(), reason="../shared/data/mlearn is not there")
@pytest.mark.parametrize("k", range(3), ids=["Si", "Ge", "Mo"])
def test_elastic_constants_of_the_training_data(k, monkeypatch, capsys):
    """The rows [1] of docs/validation.md: C11, C12, C44 of clamped ions and the bulk modulus, GPa."""
    symbol = ("Si", "Ge", "Mo")[k]
    rows = [row for row in table("validation.md", "C11, GPa", "C44, relaxed") if "[1]" in row[0]]
    files = [SHARED / "mlearn" / f"{symbol}_{part}.xyz" for part in ("training", "test")]
    monkeypatch.setattr(sys, "argv", ["elastic_constants_of_data.py", *map(str, files)])
    runpy.run_path(str(SCRIPTS / "elastic_constants_of_data.py"), run_name="__main__")
    found = numbers(capsys.readouterr().out.splitlines()[-1])
    c11, c12, c44, modulus = map(float, found)
    stated = [rows[k][column] for column in (2, 3, 4, 6)]
    for text, value in zip(stated, (c11, c12, c44, modulus), strict=True):
        assert float(text) == pytest.approx(value, abs=0.06 if "." in text else 0.6)
    strained = [a for file in files for a in read(file, ":") if a.info.get("group") == "Elastic"]
    calm = min(strained, key=lambda atoms: np.abs(atoms.get_stress()).max())
    if rows[k][1]:
        sites = {"Si": 8, "Mo": 2}[symbol]
        assert float(rows[k][1]) == pytest.approx(
            (calm.get_volume() / len(calm) * sites) ** (1 / 3), abs=6e-4
        )
    else:
        largest = np.abs(calm.get_stress()).max() / units.GPa
        assert f"the smallest stress has {largest:.2f} GPa" in sentences("validation.md")
