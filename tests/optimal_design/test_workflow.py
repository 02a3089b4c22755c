"""The workflow: selection, forecast, what it writes, what it refuses.

It also tests `output.document`, `output.folder`, `result`, `rows.source`.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.io import read, write
from scipy.spatial.transform import Rotation
from toy import PairNetwork, export_toy

sys.path.insert(0, str(Path(__file__).resolve().parent))
from designs import copper, pool, slab

from ase_mlip import design
from ase_mlip.errors import DataError, MLIPError, OutputInUseError
from ase_mlip.folder_lock import locked
from ase_mlip.optimal_design.forecast import covariance

PICKS = 12  # of 20: fewer leave most of the 119 coefficients to the prior


@pytest.fixture(scope="module")
def found():
    return design(pool(), PICKS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files and the folder of a design made from them."""
    folder = tmp_path_factory.mktemp("design")
    frames = pool()
    frames.append(frames[2].copy())
    frames[3].info["note"] = "kept"
    write(folder / "pool.xyz", frames)
    design(folder / "pool.xyz", 5, output=folder / "out")
    return folder


def root(result, picks) -> float:
    """√I with other picks than the result's, from rows made anew."""
    matrix = result.matrix.copy()
    for pick in result.picks:
        block = result.rows.stacked(result.rows.of(pick.atoms))
        matrix -= block.T @ block
    for atoms in picks:
        block = result.rows.stacked(result.rows.of(atoms))
        matrix += block.T @ block
    return float(np.sqrt(result.target.parts(covariance(matrix)).sum()))


def test_the_selection_is_better_than_random_ones_and_no_better_than_the_pool(found):
    last = np.sqrt(found.path.values[-1])
    assert last < np.percentile(found.band.roots[:, -1], 5)
    assert last > found.floor
    assert 0.5 < found.efficiency <= 1.0
    assert len(found.picks) == len(found.curve) == len({pick.place for pick in found.picks}) == PICKS


def test_the_forecast_is_that_of_the_picks(found):
    assert root(found, [pick.atoms for pick in found.picks]) == pytest.approx(
        np.sqrt(found.path.values[-1]), rel=1e-6
    )


def test_a_result_is_a_document_and_a_picture_as_those_of_other_workflows(found, tmp_path):
    document = json.loads(json.dumps(found.to_dict()))
    assert document["predicted_error"] == found.predicted_error.tolist()
    assert document["last_gain"] == found.last_gain
    assert document["random"] == {key: value.tolist() for key, value in found.random.items()}
    assert len(found.predicted_error) == len(found.curve) + 1
    assert found.predicted_error[1:] ** 2 == pytest.approx(found.curve, rel=1e-6)
    found.plot(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_groups_get_better_with_the_picks_and_best_with_the_pool(found):
    assert [group.name for group in found.groups] == ["bulk", "strained", "surface"]
    for group in found.groups:
        for kind in ("energy", "forces"):
            assert group.before[kind] > group.after[kind] > group.best[kind]
        assert group.feasible
    assert found.feasible


def test_a_swap_is_what_selecting_anew_gives(found):
    new = slab(99)
    picks = [pick.atoms for pick in found.picks]
    expected = 1.0 - root(found, [*picks[:1], new, *picks[2:]]) / np.sqrt(found.path.values[-1])
    assert found.swap(2, new) == pytest.approx(expected, rel=1e-4, abs=1e-9)
    assert found.swap(found.picks[1], found.picks[1].place) == pytest.approx(0.0, abs=1e-6)
    with pytest.raises(DataError, match="`out`: expected a rank from 1 to 12, got 13"):
        found.swap(13, new)
    with pytest.raises(DataError, match="`into`: .*place from 0 to 19, got 20"):
        found.swap(1, 20)


@pytest.mark.parametrize(
    ("question", "text"),
    [
        (
            lambda found: found.information("x"),
            "`atoms`: expected a structure .*got 'x'; read the file first",
        ),
        (lambda found: found.predicted(None), "`atoms`: expected a structure .*got None"),
        (lambda found: found.predicted([slab(1), slab(2)]), "got a list; ask for one structure at a time"),
        (lambda found: found.swap("x", slab(1)), "`out`: expected a pick or its rank.*got 'x'"),
        (lambda found: found.swap(True, slab(1)), "`out`: expected a pick or its rank.*got True"),
        (lambda found: found.swap(1, "x"), "`into`: expected a structure .*place.*got 'x'"),
        (lambda found: design(pool(), 3, sigma=0.1), "`sigma`: expected a number for each label"),
        (lambda found: design(pool(), 3, labels="energy"), "`labels`: expected a list .*got 'energy'"),
        (lambda found: design(None, 3), "`pool`: expected files or structures .*got None"),
        (lambda found: design(pool(), 2.5), "`pick`: expected a whole number of picks, got 2.5"),
        (lambda found: design(pool(), 3, target=[]), "`target`: expected at least one structure, got none"),
    ],
)
def test_what_python_gives_wrongly_is_one_message(found, question, text):
    with pytest.raises(MLIPError, match=text):
        question(found)


def test_a_rank_of_numpy_is_a_rank(found):
    assert found.swap(np.int64(2), found.picks[1].atoms) == pytest.approx(0.0, abs=1e-6)


def test_no_swap_helps(found):
    """The exchange has ended: no swap gains more than a millionth."""
    others = set(range(20)) - {pick.place for pick in found.picks}
    assert max(found.swap(rank, place) for rank in range(1, PICKS + 1) for place in others) < 1e-4


def test_information_is_the_determinants(found):
    atoms = copper("bulk", 77)
    block = found.rows.stacked(found.rows.of(atoms))
    before, after = (np.linalg.slogdet(m)[1] for m in (found.matrix, found.matrix + block.T @ block))
    assert found.information(atoms) == pytest.approx((after - before) / 2, rel=1e-4)
    assert found.information(atoms) > found.information(found.picks[0].atoms)


def test_predictions_of_new_structures_are_worse_than_of_picks(found):
    known, other = found.predicted(found.picks[0].atoms), found.predicted(copper("bulk", 5, a=3.0))
    for kind in ("energy", "forces"):
        assert known[kind] < 1.0 < other[kind]


def test_a_target_far_from_the_pool_is_not_feasible():
    crystals = [copper("bulk", 100 + k) for k in range(40)]
    result = design(
        crystals, 4, target=[*(copper("bulk", 50 + k) for k in range(3)), *(slab(k) for k in range(3))]
    )
    by_name = {group.name: group.feasible for group in result.groups}
    assert by_name == {"bulk": True, "surface": False}
    assert not result.feasible


def test_the_target_decides_what_is_picked():
    """Eight crystals and four slabs; for slabs alone slabs are wanted."""
    frames = pool()
    result = design(frames, 3, target=[slab(70 + k) for k in range(4)])
    assert [pick.group for pick in result.picks].count("surface") >= 2


def test_what_is_labelled_counts_before():
    frames = pool()
    result = design(frames[6:], 3, have=frames[:6])
    plain = design(frames[6:], 3)
    for with_have, without in zip(result.groups, plain.groups, strict=True):
        assert with_have.before["energy"] < without.before["energy"]
    assert len(result.undetermined["before"]) < len(plain.undetermined["before"])


def test_what_must_be_kept_is_among_the_picks():
    frames = pool()
    result = design(frames, 4, keep=[frames[0]])
    kept = next(pick for pick in result.picks if pick.place == 0)
    assert kept.reason.startswith("asked for; ")


def test_a_budget_is_kept_to():
    frames = pool()
    frames[0] = frames[0].repeat((2, 1, 1))
    result = design(frames, budget=300.0, cost="atoms^3")
    assert result.spent <= 300.0
    assert result.band.spent[-1] <= 300.0 + 1e-9
    assert all(pick.cost in (64.0, 512.0) for pick in result.picks)


@pytest.mark.parametrize("criterion", ["d", "a", "e", "g"])
def test_other_criteria_give_a_selection_and_a_certificate(criterion):
    result = design(pool(), 4, criterion=criterion)
    assert len(result.picks) == 4
    assert 0.0 < result.efficiency <= 1.0 + 1e-9


def test_given_sigma_is_taken_as_it_is():
    result = design(pool()[:10], 3, sigma={"energy": 0.02, "forces": 0.3})
    assert result.sigma == {"energy": 0.02, "forces": 0.3}
    assert not result.settings.weigh_equally


def test_a_sketch_predicts_about_what_exact_rows_do(found):
    sketched = design(pool(), PICKS, rows="sketch:6")
    exact = found.path.values[-1]
    assert np.sqrt(sketched.path.values[-1] / exact) == pytest.approx(1.0, abs=0.6)


def test_fewer_than_asked_for_are_all_returned():
    result = design(pool()[:4], 50)
    assert len(result.picks) == 4
    assert "50 frames were asked for, and the pool has 4 candidates" in result.notes[0]
    assert np.sqrt(result.path.values[-1]) == pytest.approx(result.floor, rel=1e-6)


def test_neither_place_nor_orientation_nor_order_of_atoms_matters():
    """For an s-NNP; the order of the pool, too, changes names alone."""
    frames = pool()
    rotation = Rotation.from_rotvec([0.3, -1.1, 0.4]).as_matrix()
    others = []
    for k, atoms in enumerate(frames):
        other = atoms[np.random.default_rng(k).permutation(len(atoms))]
        other.set_cell(other.cell.array @ rotation.T)
        other.positions = (other.positions + [0.7, -0.2, 5.1]) @ rotation.T
        others.append(other)
    order = np.random.default_rng(1).permutation(len(frames))
    result, other = design(frames, 4), design([others[k] for k in order], 4)
    assert {pick.place for pick in result.picks} == {order[pick.place] for pick in other.picks}
    assert other.path.values[[0, -1]] == pytest.approx(result.path.values[[0, -1]], rel=1e-5)
    assert other.efficiency == pytest.approx(result.efficiency, rel=1e-3)


def test_the_folder_holds_what_was_promised(folder):
    names = {path.name for path in (folder / "out").iterdir()}
    assert names == {"picks.xyz", "rejected.xyz", "design.json", "design.npz", "design.png"}
    picks = read(folder / "out" / "picks.xyz", ":")
    frames = read(folder / "pool.xyz", ":")
    assert [atoms.info["design_rank"] for atoms in picks] == [1, 2, 3, 4, 5]
    gains = [atoms.info["design_gain"] for atoms in picks]
    for atoms in picks:
        original = frames[atoms.info["design_index"]]
        assert np.allclose(atoms.positions, original.positions, atol=1e-7)
        assert atoms.info["design_source"].endswith("pool.xyz")
        assert " −" in atoms.info["design_reason"]
        assert original.info.items() <= atoms.info.items()
    document = json.loads((folder / "out" / "design.json").read_text())
    assert [pick["gain"] for pick in document["picks"]] == pytest.approx(gains)
    assert document["settings"]["files"][0]["role"] == "pool"
    rejected = read(folder / "out" / "rejected.xyz", ":")
    assert [atoms.info["design_reason"].partition(":")[0] for atoms in rejected] == [
        f"the same as `{folder / 'pool.xyz'}`, frame 2"
    ]


def test_where_nothing_is_set_aside_ase_reads_no_frames(tmp_path):
    design(pool()[:4], 2, output=tmp_path)
    assert read(tmp_path / "rejected.xyz", ":") == []


def test_the_same_design_may_be_repeated_and_another_is_refused_or_overwritten(folder, tmp_path):
    before = (folder / "out" / "picks.xyz").read_bytes()
    design(folder / "pool.xyz", 5, output=folder / "out")
    assert (folder / "out" / "picks.xyz").read_bytes() == before
    with pytest.raises(DataError, match=r"design.json` exists; .*other settings: `pick=5`, now `pick=6`"):
        design(folder / "pool.xyz", 6, output=folder / "out")
    shutil.copytree(folder / "out", tmp_path / "out")
    design(folder / "pool.xyz", 6, output=tmp_path / "out", overwrite=True)
    assert len(read(tmp_path / "out" / "picks.xyz", ":")) == 6
    assert json.loads((tmp_path / "out" / "design.json").read_text())["settings"]["pick"] == 6


def test_a_folder_that_another_process_writes_is_left_alone(folder):
    with locked(folder / "out"), pytest.raises(OutputInUseError, match="is being written"):
        design(folder / "pool.xyz", 5, output=folder / "out")


def test_a_model_without_features_is_refused(tmp_path):
    export_toy(tmp_path / "a.pt", PairNetwork(species=[29], cutoff=4.0), reference_energies={})
    with pytest.raises(MLIPError, match="`features`"):
        design(pool(), 3, basis=tmp_path / "a.pt")


def test_a_model_without_the_elements_is_refused(tmp_path):
    export_toy(tmp_path / "a.pt", PairNetwork(species=[8, 14], cutoff=4.0))
    with pytest.raises(DataError, match="`basis`: expected a model that knows.*without Cu.*`pool`, frame 0"):
        design(pool(), 3, basis=tmp_path / "a.pt")


def test_the_basis_of_a_training_is_taken_and_knots_without_data_are_named(tmp_path):
    text = 'name = "a"\noutput = "a"\n[data]\ntrain = "a.xyz"\n[model]\narchitecture = "snnp"\n'
    text += "cutoff = 5.0\ninner = 1.2\n"
    (tmp_path / "run.toml").write_text(text)
    result = design(pool(), 4, basis=tmp_path / "run.toml")
    assert str(tmp_path / "run.toml") in result.rows.name
    assert any("phi Cu-Cu at 1." in name for name in result.undetermined["whole pool"])
    assert any(
        "the whole pool leaves" in note and "expected data that decide them" in note for note in result.notes
    )


def test_the_training_of_a_pet_is_no_basis(tmp_path):
    (tmp_path / "run.toml").write_text(
        'name = "a"\noutput = "a"\n[data]\ntrain = "a.xyz"\n[model]\ncutoff = 5.0\n'
    )
    with pytest.raises(DataError, match="`basis`: expected the training of an s-NNP.*PET"):
        design(pool(), 4, basis=tmp_path / "run.toml")
