"""A step that leaves the budget of the force error is taken back, and taken again with half the rate."""

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

    def make(learning: str = "steps = 1", optimizer: str = "adamw") -> RealWork:
        parts = f'{learning}\noptimizer = "{optimizer}"\n'
        path = prepare(tmp_path)
        text = path.read_text().replace("steps = 2", parts)
        text = text.replace("learning_rate = 1e-5", f"learning_rate = {RATE}")
        path.write_text(text)
        config = read_settings(path)
        return RealWork(config, read_inputs(config, path.parent, "cpu"), MadeUp())

    return make


def learned(work, rate, limit):
    return work.learn(work.simulate(work.first_walkers(), 1), rate, limit)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_step_that_leaves_the_budget_is_the_step_with_the_smaller_rate(make, optimizer):
    """The weights are those of a run that began with the rate that was accepted, bit for bit."""
    work = make(optimizer=optimizer)
    first = work.force_errors()["forces"]
    free = learned(make(optimizer=optimizer), RATE, float("inf"))
    assert free.learning_rate == RATE and free.row["taken_back"] == 0
    found = learned(work, RATE, 1.02 * first)
    assert found.row["taken_back"] >= 1 and found.row["steps"] == 1 and not found.blocked
    assert found.learning_rate == RATE * 0.5 ** found.row["taken_back"]
    assert work.force_errors()["forces"] <= 1.02 * first
    other = make(optimizer=optimizer)
    learned(other, found.learning_rate, float("inf"))
    twice = make(optimizer=optimizer)
    learned(twice, 2.0 * found.learning_rate, float("inf"))
    assert twice.force_errors()["forces"] > 1.02 * first  # the larger rate was taken back with reason
    for name, value in work.inputs.trainable.weights().items():
        assert torch.equal(value, other.inputs.trainable.weights()[name])


def test_what_the_optimizer_remembers_is_taken_back_too(make):
    """A second simulation goes on as if the steps that were taken back had never been."""
    work, other = make(), make()
    limit = 1.02 * work.force_errors()["forces"]
    found = learned(work, RATE, limit)
    learned(other, found.learning_rate, float("inf"))
    for one in (work, other):
        learned(one, 1e-5, float("inf"))
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
    errors = [row["validation_forces_mae"] for row in found["history"]]
    assert max(errors) <= found["force_error_limit"]
    assert sum(row["taken_back"] for row in found["history"]) >= 1
    rates = [row["learning_rate"] for row in found["history"]]
    assert rates[0] == RATE and rates[-1] < RATE  # the smaller rate is that of the next epoch

    path = run(tmp_path / "killed", "final_fraction = 1e-5")
    with interrupted_at_save(workflow):
        stabilize(path, sampler=MadeUp(gain=0.0))
    again = stabilize(path, resume=True, sampler=MadeUp(gain=0.0)).document
    assert again["history"] == found["history"]
