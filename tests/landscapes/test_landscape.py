"""The landscape as a whole: its document and picture, the plane, the sample, what is refused, the command.

It also tests `cli.models.landscape`, `pictures.landscape`, `result`, `sample`.
"""

import json

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from click.testing import CliRunner
from landscape_cases import export, labelled, linear_snnp, silicon
from toy import PairNetwork, export_toy

import ase_mlip
from ase_mlip import landscape
from ase_mlip.cli.models.landscape import PICTURE
from ase_mlip.cli.program import main
from ase_mlip.data.references import ReferenceKeys, Sample, sample_from_atoms
from ase_mlip.errors import DataError, MLIPError, StructureError
from ase_mlip.landscapes import combined_entropy, loss_entropy
from ase_mlip.landscapes.directions import DIRECTIONS
from ase_mlip.landscapes.document import read_document
from ase_mlip.landscapes.landscape import RESULT
from ase_mlip.landscapes.sample import frame_hash, stratified
from ase_mlip.provenance import plain

SHORT = {"lines": 3, "points": 7, "span": 0.1}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return export(linear_snnp(), tmp_path_factory.mktemp("landscape") / "snnp.pt")


@pytest.fixture(scope="module")
def frames(model):
    return labelled(model, silicon(6))


@pytest.fixture(scope="module")
def found(model, frames):
    return landscape(model, frames, plane=True, **SHORT)


def test_the_document_has_everything_and_is_read_back(found, model, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(plain(found.to_dict()), allow_nan=False))
    read = read_document(path)
    assert np.array_equal(read["energy_losses"], found.energy_losses)
    assert read["energy_losses"].shape == (3, 7)
    assert read["entropy"]["S"] == found.S == combined_entropy(found.energy_losses, found.force_losses)
    assert read["entropy"]["S_F"] == loss_entropy(found.force_losses, 0.04)
    assert read["model"]["family"] == "s-NNP" and len(read["model"]["sha256"]) == 64
    assert read["model"]["name"] == "toy" and read["model"]["architecture"] == model.info.architecture
    assert read["settings"]["frames"] == 6 and len(set(read["settings"]["frame_hashes"])) == 6
    assert set(read["intervals"]) == set(found.numbers)
    assert all(low <= found.numbers[name] <= high for name, (low, high) in read["intervals"].items())
    assert len(read["scan"]["kT"]) == 5
    text = found.to_text()
    assert "S+ of L - L(0)" in text and f"{found.S:.4g}" in text


def test_lines_share_the_loss_of_the_model_itself(found):
    for losses in (found.energy_losses, found.force_losses):
        assert np.ptp(losses[:, 3]) == 0.0
        assert (losses.min(axis=1) == losses[:, 3]).sum() >= 2  # about a minimum: labels are near the model
    assert found.force_losses[0, 3] == pytest.approx(0.01, rel=0.2)


def test_the_plane_goes_through_the_first_two_lines(found):
    """Its axes are the lines; elsewhere both steps add up."""
    for name, lines in (("energy_losses", found.energy_losses), ("force_losses", found.force_losses)):
        plane = found.plane[name]
        assert plane.shape == (7, 7)
        assert plane[:, 3] == pytest.approx(lines[0], rel=1e-12)
        assert plane[3] == pytest.approx(lines[1], rel=1e-12)
    assert len(found.plane["x"]) == 7


def test_the_picture_shows_every_curve(found, tmp_path):
    found.plot(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    from ase_mlip.pictures.landscape import plot_landscape

    axes = plot_landscape(found).axes
    assert axes[0].get_ylabel() == "$L_E$ (meV/atom)"
    assert len(axes[0].lines) == 3 + 2  # each line, the mean and kT
    mean = axes[1].lines[3].get_ydata()
    assert mean == pytest.approx(found.force_losses.mean(axis=0))
    points = [line.get_ydata()[0] for line in axes[2].lines if line.get_marker() == "o"]
    assert points == pytest.approx(
        [found.numbers[k] for k in ("S_E", "S_F", "S", "S_E_plus", "S_F_plus", "S_plus")]
    )


def test_a_picture_with_an_infinite_loss_and_one_line_can_be_drawn(model, frames, tmp_path):
    one = landscape(model, frames, lines=1, points=5, span=0.1)
    assert all(np.isnan(interval).all() for interval in one.intervals.values())
    assert "   -" in one.to_text()
    one.force_losses[0, 0] = np.inf
    one.plot(tmp_path / "a.svg")


def test_the_same_seed_gives_the_same_numbers_and_another_does_not(model, frames, found):
    again = landscape(model, frames, **SHORT)
    assert np.array_equal(again.energy_losses, found.energy_losses)
    assert again.numbers == found.numbers
    other = landscape(model, frames, seed=1, **SHORT)
    assert not np.array_equal(other.energy_losses, found.energy_losses)
    assert other.energy_losses[0, 3] == found.energy_losses[0, 3]


# ---- the sample --------------------------------------------------------------------------------------------


def frame(group: str, energy: float, n: int = 2) -> Sample:
    return Sample(
        Atoms("Si" * n if n == 2 else f"Si{n}"), energy=energy, forces=np.zeros((n, 3)), group=group
    )


def test_every_group_has_its_share_of_a_sample():
    frames = [frame("abc"[k % 3], 0.01 * k) for k in range(60)] + [frame("d", 1.0) for _ in range(20)]
    chosen, text = stratified(frames, 8)
    assert sorted(sample.group for sample in chosen) == ["a", "a", "b", "b", "c", "c", "d", "d"]
    assert text.startswith("8 of 80 frames were taken, one at random from each of 8 equal strata of 4 groups")
    places = [next(k for k, sample in enumerate(frames) if sample is one) for one in chosen]
    assert places == sorted(places)


def test_without_groups_energies_are_spread():
    frames = [frame("", float(energy)) for energy in np.random.default_rng(0).permutation(100)]
    chosen, text = stratified(frames, 10, seed=3)
    assert sorted(int(sample.energy) // 10 for sample in chosen) == list(range(10))
    assert "of size and energy per atom" in text and "seed 3" in text
    assert [s.energy for s in stratified(frames, 10, seed=3)[0]] == [s.energy for s in chosen]
    assert [s.energy for s in stratified(frames, 10, seed=4)[0]] != [s.energy for s in chosen]
    assert stratified(frames, 200)[0] == frames
    with pytest.raises(MLIPError, match="`sample`: expected at least two frames, got 1"):
        stratified(frames, 1)


def test_the_hash_of_a_frame_knows_its_references(frames):
    first = sample_from_atoms(frames[0], ReferenceKeys())
    other = sample_from_atoms(frames[0], ReferenceKeys())
    assert frame_hash(first) == frame_hash(other)
    other.forces = other.forces + 1e-12
    assert frame_hash(first) != frame_hash(other)


# ---- what is refused ---------------------------------------------------------------------------------------


def test_frames_without_forces_are_named(model, frames):
    bare = frames[1].copy()
    bare.calc = SinglePointCalculator(bare, energy=1.0)
    with pytest.raises(DataError, match="structure 1 has no reference `forces`"):
        landscape(model, [frames[0], bare], **SHORT)
    bare.calc = SinglePointCalculator(bare, forces=np.zeros((len(bare), 3)))
    with pytest.raises(DataError, match="structure 1 has no reference `energy`"):
        landscape(model, [frames[0], bare], **SHORT)


def test_other_species_are_named(model, frames):
    other = frames[1].copy()
    other.numbers[0] = 32
    other.calc = SinglePointCalculator(other, energy=1.0, forces=np.zeros((len(other), 3)))
    with pytest.raises(StructureError, match=r"structure 1: .*Ge"):
        landscape(model, [frames[0], other], **SHORT)


def test_one_frame_is_too_few(model, frames):
    with pytest.raises(DataError, match="expected at least two training frames, got 1"):
        landscape(model, frames[:1], **SHORT)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"span": 0.0}, "`span`: expected a positive number"),
        ({"points": 8}, "`points`: expected an odd number"),
        ({"lines": 0}, "`lines`: expected at least 1"),
        ({"lines": 1, "plane": True}, "`lines`: expected at least 2, got 1; a plane has two directions"),
        ({"directions": "uniform"}, "`directions`: expected `gaussian` or `legacy`"),
        ({"sample": 1}, "`sample`: expected at least two frames"),
    ],
)
def test_settings_that_cannot_be_are_refused(model, frames, change, message):
    with pytest.raises(MLIPError, match=message):
        landscape(model, frames, **(SHORT | change))


def test_a_model_without_weights_is_refused(frames, tmp_path):
    network = PairNetwork([8, 14], 4.5)
    strength = network.strength.detach()
    del network.strength
    network.register_buffer("strength", strength)
    export_toy(tmp_path / "formula.pt", network)
    with pytest.raises(MLIPError, match="has no weights that can be moved"):
        landscape(tmp_path / "formula.pt", frames, **SHORT)


# ---- the command -------------------------------------------------------------------------------------------


def test_the_command_writes_document_and_picture(model, frames, tmp_path):
    write(tmp_path / "train.xyz", frames)
    arguments = ["landscape", str(model.path), str(tmp_path / "train.xyz"), "--lines", "2", "--points", "5"]
    arguments += ["--span", "0.1", "--frames", "4", "--plane", "--plot", "-o", str(tmp_path / "out")]
    run = CliRunner().invoke(main, arguments)
    assert run.exit_code == 0, run.output
    assert "S = 0.2 S_E + 0.8 S_F" in run.stdout
    assert "4 of 6 frames were taken" in run.stderr
    document = read_document(tmp_path / "out" / RESULT)
    assert document["settings"]["frames"] == 4 and document["plane"] is not None
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted([RESULT, PICTURE])
    again = CliRunner().invoke(main, [*arguments, "--json"])
    assert json.loads(again.stdout)["entropy"] == document["entropy"]


def test_the_options_of_the_command_are_those_of_the_package():
    option = next(o for o in main.commands["landscape"].params if o.name == "directions")
    assert tuple(option.type.choices) == DIRECTIONS


def test_the_package_hides_no_function():
    import ase_mlip.landscapes.landscape as module

    assert ase_mlip.landscape is module.landscape
    assert "landscape" in dir(ase_mlip)
