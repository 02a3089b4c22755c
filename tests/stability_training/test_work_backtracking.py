"""A step that leaves a budget is taken back, and taken again with half the rate."""

import sys
from pathlib import Path

import pytest
import torch
from interrupted import interrupted_at_save

from ase_mlip.stability_training import workflow
from ase_mlip.stability_training.inputs import read_inputs
from ase_mlip.stability_training.loop import BUDGET
from ase_mlip.stability_training.settings import read_settings
from ase_mlip.stability_training.work import RealWork
from ase_mlip.stability_training.workflow import stabilize

sys.path.insert(0, str(Path(__file__).resolve().parent))
from stabilize_cases import MadeUp, prepare

RATE = 0.02  # with which a single step multiplies the force error


@pytest.fixture
def make(tmp_path):
    """A function that makes the phases of an epoch anew, with the weights of the file."""

    def make(learning: str = "steps = 1", optimizer: str = "adamw", rate: float = RATE) -> RealWork:
        learning += "" if "epoch_share" in learning else "\nepoch_share = 1.0"
        parts = f'{learning}\noptimizer = "{optimizer}"\n'
        path = prepare(tmp_path)
        text = path.read_text().replace("steps = 2", parts)
        text = text.replace("learning_rate = 1e-5", f"learning_rate = {rate}")
        path.write_text(text)
        config = read_settings(path)
        return RealWork(config, read_inputs(config, path.parent, "cpu"), MadeUp())

    return make


FREE = float("inf")


def learned(work, rate, forces=FREE, energy=FREE):
    work.kept[0] = work.kept.get(0) or work.inputs.trainable.weights()  # as judged at the start
    tracks = work.simulate(work.first_walkers(), 1)
    return work.learn(tracks, rate, {"forces": forces, "energy": energy})


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_step_that_leaves_the_budget_is_the_step_with_the_smaller_rate(make, optimizer):
    """The weights are those of a run that began with the rate that was accepted, bit for bit."""
    work = make(optimizer=optimizer)
    first = work.errors()["forces"]
    free = learned(make(optimizer=optimizer), RATE)
    assert free.learning_rate == RATE and free.row["taken_back"] == 0
    found = learned(work, RATE, 1.02 * first)
    assert found.row["taken_back"] >= 1 and found.row["steps"] == 1 and not found.blocked
    assert found.learning_rate == RATE * 0.5 ** found.row["taken_back"]
    assert work.errors()["forces"] <= 1.02 * first
    other = make(optimizer=optimizer)
    learned(other, found.learning_rate)
    twice = make(optimizer=optimizer)
    learned(twice, 2.0 * found.learning_rate)
    assert twice.errors()["forces"] > 1.02 * first  # the larger rate was taken back with reason
    for name, value in work.inputs.trainable.weights().items():
        assert torch.equal(value, other.inputs.trainable.weights()[name])


def test_what_the_optimizer_remembers_is_taken_back_too(make):
    """A second simulation goes on as if the steps that were taken back had never been."""
    work, other = make(), make()
    limit = 1.02 * work.errors()["forces"]
    found = learned(work, RATE, limit)
    learned(other, found.learning_rate)
    for one in (work, other):
        learned(one, 1e-5)
    assert found.row["taken_back"] >= 1
    for name, value in work.inputs.trainable.weights().items():
        assert torch.equal(value, other.inputs.trainable.weights()[name])


def test_without_a_step_within_the_budget_the_weights_stay_and_the_run_ends(make):
    work = make("steps = 3\nfinal_fraction = 0.3")
    before = work.inputs.trainable.weights()
    found = learned(work, RATE, 0.0)
    assert found.blocked and found.row["steps"] == 0 and found.row["taken_back"] == 2
    assert found.learning_rate == RATE / 4
    for name, value in work.inputs.trainable.weights().items():
        assert torch.equal(value, before[name])


def test_the_steps_of_an_epoch_use_a_share_of_what_is_left_of_either_budget(make):
    work = make("steps = 1\nepoch_share = 0.25")
    before = work.errors()
    limits = {"forces": 1.08 * before["forces"], "energy": 1.4 * before["energy"]}
    found = learned(work, RATE, **limits)
    assert found.row["taken_back"] >= 1
    after = work.errors()
    for name, error in before.items():
        assert after[name] <= error + 0.25 * (limits[name] - error)
    learned(work, RATE, **limits)  # the next epoch has a share of what is left then
    for name, error in work.errors().items():
        assert error <= after[name] + 0.25 * (limits[name] - after[name])


def test_a_step_that_leaves_the_energy_budget_alone_is_taken_back(make):
    work = make()
    limit = 1.02 * work.errors()["energy"]
    found = learned(work, RATE, energy=limit)
    assert found.row["taken_back"] >= 1 and work.errors()["energy"] <= limit
    twice = make()
    learned(twice, 2.0 * found.learning_rate)
    assert twice.errors()["energy"] > limit


def run(folder: Path, learning: str) -> Path:
    """A run whose first step leaves its budget."""
    folder.mkdir()
    path = prepare(folder, learning=learning)
    text = path.read_text().replace("max_force_error_increase = 10.0", "max_force_error_increase = 0.02")
    path.write_text(text.replace("learning_rate = 1e-5", f"learning_rate = {RATE}"))
    return path


def test_a_run_stays_within_its_budget_where_it_left_it_before(tmp_path):
    without = stabilize(run(tmp_path / "without", "backtracking = false"), sampler=MadeUp(gain=0.0)).document
    assert without["ended"] == BUDGET and without["epochs"] == 1
    path = run(tmp_path / "with", "final_fraction = 1e-5")
    found = stabilize(path, sampler=MadeUp(gain=0.0)).document
    assert found["epochs"] > 1
    for name, key in (("forces", "force_error_limit"), ("energy", "energy_error_limit")):
        assert max(row[f"validation_{name}_mae"] for row in found["history"]) <= found[key]
    assert sum(row["taken_back"] for row in found["history"]) >= 1
    rates = [row["learning_rate"] for row in found["history"]]
    assert rates[0] == RATE and rates[-1] < RATE  # the smaller rate is that of the next epoch

    path = run(tmp_path / "killed", "final_fraction = 1e-5")
    with interrupted_at_save(workflow):
        stabilize(path, sampler=MadeUp(gain=0.0))
    again = stabilize(path, resume=True, sampler=MadeUp(gain=0.0)).document
    assert again["history"] == found["history"]


def trust_region(folder: Path, learning: str = "") -> Path:
    folder.mkdir()
    path = prepare(folder, learning=f'optimizer = "trust_region"\nerror_weight = 0.0\n{learning}')
    text = path.read_text().replace("learning_rate = 1e-5", "learning_rate = 0.05")
    path.write_text(text.replace("max_force_error_increase = 10.0", "max_force_error_increase = 0.05"))
    return path


def test_a_step_of_the_trust_region_has_its_length(tmp_path):
    """Of the metric of the weights as they came, whatever the gradient's size."""
    path = trust_region(tmp_path / "run", "min_sample_fraction = 0.01\ngradient_clip = 1e-3")
    path.write_text(path.read_text().replace("steps = 2", "steps = 1"))
    config = read_settings(path)
    work = RealWork(config, read_inputs(config, path.parent, "cpu"), MadeUp())
    trainable = work.inputs.trainable
    before = trainable.weights()
    found = learned(work, 0.05)
    metric = work._metric()
    step = torch.cat([(value - before[name]).flatten() for name, value in trainable.weights().items()])
    assert found.row["steps"] == 1 and found.row["taken_back"] == 0
    assert metric.length(step.double()) == pytest.approx(0.05, rel=1e-3)


def test_the_trust_region_is_as_long_again_in_the_next_epoch_and_ends_no_run(tmp_path):
    path = trust_region(tmp_path / "run")
    config = read_settings(path)
    work = RealWork(config, read_inputs(config, path.parent, "cpu"), MadeUp())
    before = work.inputs.trainable.weights()
    work.kept[0] = before
    found = work.learner.learn(work.simulate(work.first_walkers(), 1), 0.05, lambda: False)
    assert found.row["steps"] == 0 and found.row["taken_back"] == 7  # down to a hundredth
    assert not found.blocked and found.learning_rate == 0.05
    assert found.row["effective_samples"] == pytest.approx(1.0)
    for name, value in work.inputs.trainable.weights().items():
        assert torch.equal(value, before[name])


def test_a_step_of_the_trust_region_leaves_samples(tmp_path):
    path = trust_region(tmp_path / "run", "min_sample_fraction = 0.999")
    config = read_settings(path)
    work = RealWork(config, read_inputs(config, path.parent, "cpu"), MadeUp())
    found = learned(work, 1.0)
    assert found.row["taken_back"] > 0
    assert found.row["effective_samples"] >= 0.999


def test_a_trust_region_resumes_with_the_metric_of_the_start(tmp_path):
    found = stabilize(trust_region(tmp_path / "whole"), sampler=MadeUp(gain=0.0)).document
    assert sum(row["steps"] for row in found["history"]) >= 3
    path = trust_region(tmp_path / "killed")
    with interrupted_at_save(workflow):
        stabilize(path, sampler=MadeUp(gain=0.0))
    again = stabilize(path, resume=True, sampler=MadeUp(gain=0.0)).document
    assert again["history"] == found["history"]
