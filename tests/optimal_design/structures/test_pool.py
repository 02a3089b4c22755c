"""Reading a pool: groups, what is set aside and why, what is refused.

It also tests `inputs`.
"""

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write

from ase_mlip.errors import DataError
from ase_mlip.optimal_design.settings import DesignSettings
from ase_mlip.optimal_design.structures.inputs import read_inputs
from ase_mlip.optimal_design.structures.pool import places_of, read_frames_of, set_aside, too_close


def frames(count: int, group: str | None = None, seed: int = 0, symbol: str = "Cu"):
    found = []
    for k in range(count):
        atoms = bulk(symbol, "fcc", a=3.6, cubic=True)
        atoms.rattle(0.05, seed=100 * seed + k)
        if group is not None:
            atoms.info["group"] = group
        found.append(atoms)
    return found


def aside(pool, have=()):
    return set_aside(read_frames_of(pool, "pool"), read_frames_of(have, "have") if have else [])


def test_groups_come_from_the_key_and_else_from_the_file(tmp_path):
    write(tmp_path / "solid.xyz", frames(2, "bulk") + frames(1, "surface", 1))
    write(tmp_path / "dump.extxyz", frames(2, None, 2))
    found = read_frames_of([tmp_path / "solid.xyz", tmp_path / "dump.extxyz"], "pool")
    assert [frame.group for frame in found] == ["bulk", "bulk", "surface", "dump", "dump"]
    assert [frame.index for frame in found] == [0, 1, 2, 0, 1]


def test_a_slice_keeps_the_numbers_of_the_whole_file(tmp_path):
    write(tmp_path / "a.xyz", frames(5))
    found = read_frames_of(f"{tmp_path / 'a.xyz'}@3:", "pool")
    assert [(frame.source, frame.index) for frame in found] == [
        (str(tmp_path / "a.xyz"), 3),
        (str(tmp_path / "a.xyz"), 4),
    ]


def test_groups_that_some_frames_of_a_file_lack_are_refused(tmp_path):
    write(tmp_path / "a.xyz", frames(2, "bulk") + frames(1, None, 1))
    with pytest.raises(DataError, match=r"a.xyz`, frame 2: expected its group under the key `group`.*1 of 3"):
        read_frames_of(tmp_path / "a.xyz", "pool")


def test_a_group_key_that_is_nowhere_is_refused():
    with pytest.raises(DataError, match="`group_key`: expected `phase`.*nowhere.*correct the key"):
        read_frames_of(frames(2, "bulk"), "pool", "phase", must_have_key=True)


def test_duplicates_are_set_aside_with_the_frame_that_is_kept():
    pool = frames(4)
    copy = pool[1][[2, 3, 0, 1]]
    copy.translate([1.0, 2.0, 3.0])
    kept, rejected = aside([*pool, copy, pool[3].copy()])
    assert [frame.index for frame in kept] == [0, 1, 2, 3]
    assert [item.reason for item in rejected] == [
        "the same as `pool`, frame 1",
        "the same as `pool`, frame 3",
    ]


def test_frames_with_atoms_too_close_are_set_aside_with_the_distance():
    pool = frames(3)
    pool[1].positions[0] = pool[1].positions[1] + [0.0, 0.0, 1.0]
    kept, rejected = aside(pool)
    assert [frame.index for frame in kept] == [0, 2]
    assert rejected[0].reason.startswith("atoms too close: Cu-Cu at 1.00 Å, below 1.32 Å")
    assert not too_close(bulk("Si", cubic=True))


@pytest.mark.parametrize("role", ["have", "target"])
def test_atoms_at_one_place_are_refused_where_nothing_is_set_aside(role):
    pool, others = frames(3), frames(2, seed=1)
    others[1].positions[2] = others[1].positions[0]
    given = {"have": None, "target": None, role: others}
    text = rf"`{role}`, frame 1: expected atoms at different places, got atoms 0 and 2 .* apart; correct or"
    with pytest.raises(DataError, match=text):
        read_inputs(pool, given["have"], given["target"], None, DesignSettings(pick=1))


def test_what_is_labelled_already_is_no_candidate():
    pool = frames(4)
    kept, rejected = aside(pool, [pool[2].copy()])
    assert [frame.index for frame in kept] == [0, 1, 3]
    assert rejected[0].reason == "labelled already: `have`, frame 0"


def test_a_pool_that_is_labelled_already_is_refused():
    pool = frames(3)
    with pytest.raises(
        DataError,
        match="`pool`: expected structures to choose from, got none: its 3 frames.*labelled already",
    ):
        read_inputs(pool, pool, None, None, DesignSettings(pick=1))


@pytest.mark.parametrize("where", ["positions", "cell"])
def test_numbers_that_are_none_are_refused_by_frame(where):
    pool = frames(3)
    if where == "positions":
        pool[2].positions[1, 0] = np.nan
        text = (
            "`pool`, frame 2: expected finite positions, got NaN or infinity for 1 of 4 atoms, first atom 1"
        )
    else:
        pool[2].cell[0, 0] = np.inf
        text = "`pool`, frame 2: expected a finite cell"
    with pytest.raises(DataError, match=text):
        read_frames_of(pool, "pool")


def test_an_empty_pool_is_refused(tmp_path):
    (tmp_path / "empty.xyz").write_text("")
    for pool in ([], tmp_path / "empty.xyz"):
        with pytest.raises(
            DataError, match="expected at least one structure|expected a file with structures"
        ):
            read_inputs(pool, None, None, None, DesignSettings(pick=1))


def test_a_target_with_other_elements_is_refused():
    with pytest.raises(
        DataError, match="`pool`: expected structures with every element.*none with Al.*`target`, frame 0"
    ):
        read_inputs(frames(3), None, frames(1, symbol="Al"), None, DesignSettings(pick=1))


def test_kept_frames_must_be_in_the_pool():
    pool = frames(4)
    pool[3].positions[0] = pool[3].positions[1] + [0.0, 0.0, 1.0]
    kept, rejected = aside(pool)
    wanted = read_frames_of([pool[2], pool[0]], "keep")
    assert places_of(wanted, kept, rejected) == [2, 0]
    with pytest.raises(DataError, match=r"`keep`: .*got one that is not among them: `keep`, frame 0"):
        places_of(read_frames_of(frames(1, seed=7), "keep"), kept, rejected)
    with pytest.raises(DataError, match=r"`keep`: .*set aside \(atoms too close"):
        places_of(read_frames_of([pool[3]], "keep"), kept, rejected)


def test_more_to_keep_than_to_pick_is_refused():
    pool = frames(4)
    with pytest.raises(DataError, match="`keep`: expected at most 1 frames.*got 2"):
        read_inputs(pool, None, None, pool[:2], DesignSettings(pick=1))


def test_fewer_candidates_than_asked_for_are_all_taken_and_that_is_said():
    inputs = read_inputs(frames(3), None, None, None, DesignSettings(pick=50))
    assert inputs.size == 3
    assert inputs.notes == ["50 frames were asked for, and the pool has 3 candidates: all are taken"]


def test_a_budget_below_the_cheapest_frame_is_refused():
    settings = DesignSettings(budget=63.0, cost="atoms^3")
    with pytest.raises(DataError, match=r"`budget`: expected at least 64, the cost of the cheapest.*got 63"):
        read_inputs(frames(3), None, None, None, settings)


def test_costs_are_one_or_powers_of_atoms_or_stored():
    pool = [*frames(1), frames(1)[0] * (2, 1, 1)]
    for k, atoms in enumerate(pool):
        atoms.info |= {"hours": 2.5 + k, "atoms_cost": 1 + k}
    for cost, expected in (
        ("count", [1, 1]),
        ("atoms^3", [64, 512]),
        ("atoms^1", [4, 8]),
        ("atoms_cost", [1, 2]),
        ("hours", [2.5, 3.5]),
    ):
        found = read_inputs(pool, None, None, None, DesignSettings(budget=1e6, cost=cost))
        assert found.costs == pytest.approx(expected)
    with pytest.raises(DataError, match="`cost`: .*got nothing under `minutes` in `pool`, frame 0"):
        read_inputs(pool, None, None, None, DesignSettings(budget=1e6, cost="minutes"))


def test_atoms_without_a_power_is_a_key_and_a_number_is_shown_as_such():
    pool = frames(1)
    with pytest.raises(DataError, match=r"`cost`: .*atoms\^1.*got nothing under `atoms` in `pool`"):
        read_inputs(pool, None, None, None, DesignSettings(budget=10, cost="atoms"))
    pool[0].info["price"] = np.int64(-1)
    with pytest.raises(DataError, match="`cost`: .*got -1 under `price`"):
        read_inputs(pool, None, None, None, DesignSettings(budget=10, cost="price"))


@pytest.mark.parametrize("role", ["pool", "have", "target", "keep"])
def test_an_empty_list_is_refused_by_name(role):
    given = {"pool": frames(3), "have": None, "target": None, "keep": None, role: []}
    with pytest.raises(DataError, match=f"`{role}`: expected at least one structure, got none"):
        read_inputs(**given, settings=DesignSettings(pick=1))


@pytest.mark.parametrize(
    ("role", "given", "got"),
    [
        ("pool", None, "got None"),
        ("pool", [None], "got None"),
        ("have", 5, "got 5"),
        ("target", [frames(1)], "got a list"),
    ],
)
def test_what_is_no_structure_is_refused_by_name(role, given, got):
    roles = {"pool": frames(3), "have": None, "target": None, "keep": None, role: given}
    with pytest.raises(DataError, match=f"`{role}`: expected files or structures \\(ase.Atoms\\).*{got}.*; "):
        read_inputs(**roles, settings=DesignSettings(pick=1))
