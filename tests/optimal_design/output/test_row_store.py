"""Rows that are stored as they are made: found for the same structure and settings, and for nothing else."""

from dataclasses import fields

import numpy as np
import pytest
from ase.build import bulk

from ase_mlip.optimal_design.output.row_store import RowStore, stored_rows
from ase_mlip.optimal_design.rows.source import RowSource
from ase_mlip.optimal_design.rows.structure_rows import Rows

SETTINGS = {"model_sha256": "0" * 64, "seed": 0}


def copper(seed: int):
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=seed)
    return atoms


def rows_of(atoms) -> Rows:
    generator = np.random.default_rng(int(1e6 * abs(atoms.positions[0, 0])))
    none = np.zeros((0, 3))
    return Rows(generator.normal(size=(1, 3)), generator.normal(size=(2, 3)), none, none, len(atoms))


def same(one: Rows, other: Rows) -> bool:
    return all(np.array_equal(getattr(one, f.name), getattr(other, f.name)) for f in fields(Rows))


class Source(RowSource):
    """Counts the structures whose rows it makes."""

    def __init__(self, depends_on=SETTINGS):
        self.made, self.depends_on = [], depends_on

    def rows(self, structures, progress=None):
        for atoms in structures:
            self.made.append(atoms)
            yield rows_of(atoms)


def test_rows_are_found_again_to_the_last_bit(tmp_path):
    store = RowStore(tmp_path, SETTINGS)
    store.add(copper(1), rows_of(copper(1)))
    assert same(RowStore(tmp_path, SETTINGS).find(copper(1)), rows_of(copper(1)))


@pytest.mark.parametrize("what", ["settings", "position", "cell", "species", "periodicity"])
def test_what_changes_rows_is_not_found(tmp_path, what):
    RowStore(tmp_path, SETTINGS).add(copper(1), rows_of(copper(1)))
    atoms, settings = copper(1), dict(SETTINGS)
    if what == "settings":
        settings["seed"] = 1
    if what == "position":
        atoms.positions[2, 1] += 1e-9
    if what == "cell":
        atoms.cell[0, 0] += 1e-9
    if what == "species":
        atoms.numbers[0] = 28
    if what == "periodicity":
        atoms.pbc = [True, True, False]
    assert RowStore(tmp_path, settings).find(atoms) is None


@pytest.mark.parametrize("damage", [lambda data: data[:200], lambda data: b"", lambda data: b"x" + data[1:]])
def test_a_damaged_file_is_made_again(tmp_path, damage):
    store = RowStore(tmp_path, SETTINGS)
    store.add(copper(1), rows_of(copper(1)))
    (path,) = store.folder.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert store.find(copper(1)) is None
    (rows,) = stored_rows(Source(), [copper(1)], tmp_path, lambda done, total, stage: None)
    assert same(rows, rows_of(copper(1))) and same(store.find(copper(1)), rows)


def test_only_what_is_missing_is_made_and_the_order_stays(tmp_path):
    frames, steps = [copper(k) for k in range(5)], []
    for k in (1, 3):
        RowStore(tmp_path, SETTINGS).add(frames[k], rows_of(frames[k]))
    source = Source()
    found = list(stored_rows(source, frames, tmp_path, lambda *row: steps.append(row[:2])))
    assert source.made == [frames[0], frames[2], frames[4]]
    assert all(same(one, rows_of(atoms)) for one, atoms in zip(found, frames, strict=True))
    assert steps == [(2, 5), (3, 5), (4, 5), (5, 5)]
    again = Source()
    assert (
        len(list(stored_rows(again, frames, tmp_path, lambda done, total, stage: None))) == 5
        and not again.made
    )


def test_rows_that_are_quickly_made_are_not_stored(tmp_path):
    list(stored_rows(Source(depends_on=None), [copper(1)], tmp_path, lambda done, total, stage: None))
    list(stored_rows(Source(), [copper(1)], None, lambda done, total, stage: None))
    assert list(tmp_path.iterdir()) == []
