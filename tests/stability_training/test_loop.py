"""The sequence of phases, driven through every transition by scripted failures."""

import pytest
from ase import Atoms

from ase_mlip.dynamics.criteria import Failure
from ase_mlip.errors import MLIPError
from ase_mlip.stability_training.learning.learner import Learned
from ase_mlip.stability_training.loop import (
    BUDGET,
    EPOCHS,
    SLOWEST,
    STABLE,
    LoopState,
    Point,
    choose,
    run_epoch,
)
from ase_mlip.stability_training.samplers import Track
from ase_mlip.stability_training.settings import LearningConfig

REPLICAS = 4


class Script:
    """Failures and errors of each epoch, as written; replicas are numbered by their position."""

    def __init__(self, failures, forces=None, energies=None, survival=None, step=10, rates=None, blocked=()):
        self.failures, self.survival = failures, survival or {}
        self.forces, self.energies = forces or {}, energies or {}
        self.rates, self.blocked, self.limits = rates or {}, blocked, []
        self.step, self.epoch, self.learned = step, 0, []

    def first_walkers(self):
        return start().walkers

    def simulate(self, walkers, epoch):
        self.epoch = epoch
        failed = self.failures[min(epoch, len(self.failures)) - 1]
        tracks = []
        for n, start in enumerate(walkers):
            end = start.copy()
            end.positions += [1.0, 0.0, 0.0]
            failure = Failure(0.1, self.step, "broken bond", "as written") if n in failed else None
            tracks.append(Track(start, end, [end], 0.1 if failure else 1.0, failure))
        return tracks

    def learn(self, tracks, learning_rate, limits):
        self.learned.append((self.epoch, learning_rate))
        self.limits.append(limits)
        rate = self.rates.get(self.epoch, learning_rate)
        return Learned({"loss": 1.0, "steps": 1}, rate, self.epoch in self.blocked)

    def errors(self):
        return {"forces": self.forces.get(self.epoch, 0.1), "energy": self.energies.get(self.epoch, 0.01)}

    def judge(self, epoch):
        errors = self.errors()
        return point(epoch, errors["forces"], self.survival.get(epoch, 1.0), errors["energy"])


def point(epoch, force_error, survival, energy_error=0.01):
    return Point(epoch, force_error, energy_error, [survival] * 2, [True, False], survival)


def start(learning_rate=1e-3):
    walkers = [Atoms("H", [[10.0 * n, 0.0, 0.0]]) for n in range(REPLICAS)]
    return LoopState(walkers, learning_rate, points=[point(0, 0.1, 1.0)])


def run(script, every=100, **config):
    state, settings = start(), LearningConfig(**config)
    for _ in range(200):
        if state.ended:
            break
        run_epoch(state, script, settings, every)
    return state


def test_who_failed_begins_again_and_the_others_go_on():
    state, script = start(), Script([{1, 2}])
    row = run_epoch(state, script, LearningConfig(), 10)
    assert [atoms.positions[0, 0] for atoms in state.walkers] == [1.0, 10.0, 20.0, 31.0]
    assert row["unstable_fraction"] == 0.5
    assert script.learned == [(1, 1e-3)]
    assert row["mean_lived"] == pytest.approx((1.0 + 0.1 + 0.1 + 1.0) / 4)
    assert state.ended is None and state.history == [row]


def test_who_fails_twice_in_a_row_begins_where_the_run_began():
    state, script = start(), Script([set(), {1}, {1, 2}, {1}])
    places = []
    for _ in range(4):
        run_epoch(state, script, LearningConfig(stable_epochs=5), 10)
        places.append([atoms.positions[0, 0] for atoms in state.walkers[1:3]])
    assert places == [[11.0, 21.0], [11.0, 22.0], [10.0, 22.0], [10.0, 23.0]]


def test_it_ends_when_no_replica_failed_for_some_epochs_in_a_row():
    script = Script([{0}, set(), {0}, set(), set(), {0}])
    state = run(script, stable_epochs=2)
    assert state.ended == STABLE
    assert state.epoch == 5
    assert [epoch for epoch, _ in script.learned] == [1, 3]  # nothing to learn from where none failed


def test_the_learning_rate_falls_on_a_plateau_of_the_unstable_fraction_and_ends_at_its_floor():
    script = Script([{0, 1, 2}, {0, 1}, {0, 1}, {0, 1, 2}, {0, 1}])
    state = run(script, patience=2, factor=0.5, final_fraction=0.2)
    rates = [row["learning_rate"] for row in state.history]
    # the fraction was smallest in epoch 2; epochs 4, 6, 8 complete two without a smaller one
    assert rates == pytest.approx([1e-3] * 4 + [5e-4] * 2 + [2.5e-4] * 2)
    assert state.ended == SLOWEST
    assert state.learning_rate == pytest.approx(1.25e-4)


def test_it_ends_at_the_budget_of_the_force_error():
    state = run(Script([{0}], forces={1: 0.11, 2: 0.114, 3: 0.116}), max_force_error_increase=0.15)
    assert state.ended == BUDGET
    assert state.epoch == 3


def test_it_ends_at_the_budget_of_the_energy_error():
    script = Script([{0}], energies={1: 0.0149, 2: 0.0151})
    state = run(script)  # half as much again is the default
    assert state.ended == BUDGET
    assert state.epoch == 2
    script = Script([{0}], energies={1: 0.0149, 2: 0.0151, 3: 0.021})
    assert run(script, max_energy_error_increase=1.0).epoch == 3


def test_a_rate_that_was_reduced_on_the_way_is_that_of_the_next_epochs():
    script = Script([{0}], rates={2: 2.5e-4})
    state = run(script, epochs=4)
    assert [rate for _, rate in script.learned] == [1e-3, 1e-3, 2.5e-4, 2.5e-4]
    first = {"forces": 0.115, "energy": 0.015}  # the first errors and 15 %, half as much again
    assert script.limits == [pytest.approx(first)] * 4
    assert state.ended == EPOCHS


def test_it_ends_at_the_budget_when_no_step_within_it_is_left():
    state = run(Script([{0}], rates={3: 1e-6}, blocked={3}))
    assert state.ended == BUDGET
    assert state.epoch == 3


def test_it_ends_after_its_epochs_and_is_judged_at_the_end_and_in_between():
    state = run(Script([{0}]), every=3, epochs=7)
    assert state.ended == EPOCHS
    assert [point.epoch for point in state.points] == [0, 3, 6, 7]
    assert [row.get("validation_survival") for row in state.history] == [
        None,
        None,
        1.0,
        None,
        None,
        1.0,
        1.0,
    ]


def test_a_model_that_fails_where_it_starts_is_an_error():
    with pytest.raises(MLIPError, match=r"`starts`: .*every replica fails at step 0 \(broken bond"):
        run(Script([{0, 1, 2, 3}], step=0))


def test_the_longest_survival_within_the_budget_is_chosen():
    state, settings = start(), LearningConfig(max_force_error_increase=0.15)
    state.points += [point(5, 0.105, 2.0), point(10, 0.115, 3.0), point(15, 0.116, 9.0), point(20, 0.11, 3.0)]
    assert choose(state, settings).epoch == 20  # as long as epoch 10, with a smaller error
    assert choose(state, LearningConfig(max_force_error_increase=0.2)).epoch == 15


def test_what_leaves_the_energy_budget_is_not_chosen():
    state = start()
    state.points += [point(5, 0.1, 9.0, 0.0151), point(10, 0.1, 2.0, 0.0149)]
    assert choose(state, LearningConfig()).epoch == 10
    assert choose(state, LearningConfig(max_energy_error_increase=0.6)).epoch == 5
    assert choose(state, LearningConfig(max_energy_error_increase=0.4)) is None


def test_data_without_energies_have_no_energy_budget():
    """Their error is 0, and stays so."""
    state = start()
    state.points = [point(0, 0.1, 1.0, 0.0), point(5, 0.1, 2.0, 0.0)]
    assert choose(state, LearningConfig()).epoch == 5


def test_nothing_is_chosen_where_nothing_is_better():
    state = start()
    state.points += [point(5, 0.1, 1.0), point(10, 0.2, 5.0)]
    assert choose(state, LearningConfig()) is None
