"""Selections against all selections of small pools, and the parts they are made of against plain
evaluation.

It also tests `additions`, `criteria`, `exchange.bounds`, `exchange.gains`, `exchange.swaps`, `greedy`,
`problem`, `sharp_additions`.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from ase_mlip.errors import MLIPError
from ase_mlip.optimal_design.algebra import select
from ase_mlip.optimal_design.algebra.additions import DeterminantAdditions
from ase_mlip.optimal_design.algebra.criteria import cholesky
from ase_mlip.optimal_design.algebra.exchange.bounds import swap_bounds
from ase_mlip.optimal_design.algebra.exchange.gains import TOLERANCE, SwapGains
from ase_mlip.optimal_design.algebra.greedy import additions_of, greedy
from ase_mlip.optimal_design.algebra.problem import prepare
from tests.optimal_design.algebra.design_cases import (
    CRITERIA,
    brute_force,
    criterion_of,
    fraction,
    information,
    random_pool,
)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_twelve_choose_five_is_the_best_of_all_and_the_certificate_never_claims_more(criterion):
    rng = np.random.default_rng(21)
    hits = 0
    for _ in range(100):
        blocks, target = random_pool(rng, 12, 4, spread=0.5), rng.normal(size=(10, 4))
        result = select(blocks, 5, criterion, target=target)
        best = brute_force(blocks, criterion, target, size=5)
        value = criterion_of(information(blocks, result.indices), criterion, target)
        assert result.value == pytest.approx(value, rel=1e-8)
        true = fraction(value, best, criterion, 4)
        assert 0.0 < result.efficiency <= true + 1e-9
        hits += true > 1.0 - 1e-5
    assert hits >= 95


@pytest.mark.parametrize("criterion", CRITERIA)
def test_with_costs_and_kept_candidates_the_certificate_never_claims_more(criterion):
    rng = np.random.default_rng(22)
    fractions = []
    for _ in range(20):
        blocks, target = random_pool(rng, 10, 3, spread=0.5), rng.normal(size=(6, 3))
        costs, keep = rng.uniform(0.5, 2.0, size=10), (7, 2)
        budget = costs[list(keep)].sum() + 4.0
        result = select(blocks, budget, criterion, costs=costs, target=target, keep=keep)
        best = brute_force(blocks, criterion, target, costs=costs, budget=budget, keep=keep)
        assert result.indices[:2].tolist() == [7, 2]
        assert len(set(result.indices.tolist())) == len(result.indices)
        assert result.cost == pytest.approx(costs[result.indices].sum())
        assert result.cost <= budget * (1.0 + 1e-9)
        fractions.append(fraction(result.value, best, criterion, 3))
        assert result.efficiency <= fractions[-1] + 1e-9
    assert np.median(fractions) > 0.99
    assert min(fractions) > 0.8


@pytest.mark.parametrize("criterion", CRITERIA)
def test_a_prior_counts(criterion):
    rng = np.random.default_rng(23)
    for _ in range(10):
        blocks, target = random_pool(rng, 9, 4, rows=1), rng.normal(size=(6, 4))
        half = rng.normal(size=(4, 4))
        prior = half @ half.T
        result = select(blocks, 3, criterion, prior=prior, target=target)
        best = brute_force(blocks, criterion, target, prior=prior, size=3)
        true = fraction(result.value, best, criterion, 4)
        assert result.efficiency <= true + 1e-9
        assert true > 0.95


@pytest.mark.parametrize("criterion", CRITERIA)
def test_a_selection_without_full_rank_is_never_the_best(criterion):
    """Many long rows along few directions beside short ones that determine the rest."""
    rng = np.random.default_rng(24)
    for _ in range(10):
        long = [100.0 * rng.normal(size=(1, 2)) @ np.eye(2, 5) for _ in range(10)]
        short = [0.01 * rng.normal(size=(1, 5)) for _ in range(4)]
        blocks = [*long, *short]
        result = select(blocks, 5, criterion)
        assert np.linalg.matrix_rank(information(blocks, result.indices)) == 5
        assert np.isfinite(result.value)
        assert result.efficiency > 0.0


@pytest.mark.parametrize("criterion", CRITERIA)
def test_too_few_candidates_for_full_rank_have_the_worst_value_and_no_efficiency(criterion):
    rng = np.random.default_rng(25)
    result = select([rng.normal(size=(1, 6)) for _ in range(20)], 4, criterion)
    assert len(result.indices) == 4
    assert result.value == {"d": -np.inf, "e": 0.0}.get(criterion, np.inf)
    assert (result.curve == result.value).all()
    assert result.efficiency == 0.0


@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_curve_is_the_criterion_after_each_candidate(criterion):
    rng = np.random.default_rng(26)
    blocks, target = random_pool(rng, 30, 4), rng.normal(size=(5, 4))
    result = select(blocks, 9, criterion, target=target)
    expected = [
        criterion_of(information(blocks, result.indices[: k + 1]), criterion, target) for k in range(9)
    ]
    np.testing.assert_allclose(result.curve, expected, rtol=1e-8)
    assert result.value == result.curve[-1]


@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_whole_pool_needs_no_choice(criterion):
    blocks = random_pool(np.random.default_rng(27), 8, 3)
    result = select(blocks, 8, criterion)
    assert sorted(result.indices) == list(range(8))
    assert result.efficiency == pytest.approx(1.0)
    kept = select(blocks, 4, criterion, keep=[3, 1, 0, 6])
    assert kept.efficiency == pytest.approx(1.0)
    assert sorted(kept.indices) == [0, 1, 3, 6]


def plain_greedy(blocks, size, criterion, target, prior):
    parts, chosen = np.stack([block.T @ block for block in blocks]), []
    for _ in range(size):
        values = criterion_of(information(blocks, chosen, prior) + parts, criterion, target)
        values = values if criterion in "de" else -values
        values[chosen] = -np.inf
        chosen.append(int(np.argmax(values)))
    return chosen


@pytest.mark.parametrize("criterion", CRITERIA)
def test_greedy_with_bounds_is_plain_greedy(criterion):
    rng = np.random.default_rng(28)
    blocks, target = random_pool(rng, 200, 5), rng.normal(size=(100, 5))
    prior = rng.uniform(0.5, 1.0, size=5)
    problem = prepare(blocks, criterion, prior, target, None)
    assert greedy(problem, [], 12.0) == plain_greedy(blocks, 12, criterion, target, prior)


def test_lazy_greedy_is_plain_greedy_and_computes_less():
    rng = np.random.default_rng(29)
    problem = prepare(random_pool(rng, 2000, 10), "d", np.full(10, 1e-3), None, None)
    picks, work = [], []
    for lazy in (True, False):
        additions = DeterminantAdditions(problem.pool, problem.goal, problem.prior, lazy=lazy)
        allowed = np.ones(2000, dtype=bool)
        picks.append([])
        for _ in range(40):
            index, _ = additions.best(allowed, problem.costs)
            additions.add(index)
            allowed[index] = False
            picks[-1].append(index)
        work.append(additions.evaluated)
    assert picks[0] == picks[1]
    assert work[0] < 0.5 * work[1]


@pytest.mark.parametrize("criterion", CRITERIA)
def test_gains_of_additions_are_differences_of_fresh_values(criterion):
    """After enough additions that gains have followed by updates."""
    rng = np.random.default_rng(30)
    problem = prepare(random_pool(rng, 60, 6), criterion, np.full(6, 0.1), rng.normal(size=(30, 6)), None)
    additions = additions_of(problem, problem.prior)
    allowed = np.ones(60, dtype=bool)
    chosen = []
    for _ in range(20):
        index, gain = additions.best(allowed, problem.costs)
        before = problem.goal.value(problem.goal.log_efficiency(problem.matrix(chosen)))
        chosen.append(index)
        after = problem.goal.value(problem.goal.log_efficiency(problem.matrix(chosen)))
        assert gain == pytest.approx(abs(after - before), rel=1e-7, abs=1e-12)
        additions.add(index)
        allowed[index] = False


@pytest.mark.parametrize("criterion", CRITERIA)
def test_swaps_gain_what_fresh_values_say_and_never_more_than_their_bound(criterion):
    rng = np.random.default_rng(31)
    blocks = random_pool(rng, 40, 5)
    problem = prepare(blocks, criterion, None, rng.normal(size=(300, 5)), None)
    selected, others = np.arange(12), np.arange(12, 40)
    matrix, goal, pool = problem.matrix(selected), problem.goal, problem.pool
    bounds = swap_bounds(goal, matrix, pool.subset(selected), pool.subset(others), TOLERANCE)
    pairs = np.array([(i, j) for i in selected for j in others])
    variances = goal.variances(matrix) if criterion == "g" else None
    gains = SwapGains(goal, matrix, variances)(pool.gather(pairs[:, 0]), pool.gather(pairs[:, 1]))
    before = goal.log_efficiency(matrix)
    for (i, j), gain in zip(pairs, gains, strict=True):
        true = goal.log_efficiency(problem.matrix([*(k for k in selected if k != i), j])) - before
        assert true <= bounds[i, j - 12] + 1e-9
        if gain > TOLERANCE or true > TOLERANCE:
            assert gain == pytest.approx(true, rel=1e-6, abs=1e-9)
        else:
            assert true <= gain + 1e-9


@pytest.mark.parametrize("criterion", CRITERIA)
def test_no_swap_of_the_result_gains(criterion):
    """A pool of more pairs than are computed without bounds."""
    rng = np.random.default_rng(32)
    blocks = random_pool(rng, 1500, 4, rows=2, spread=0.2)
    target = rng.normal(size=(20, 4))
    result = select(blocks, 15, criterion, target=target)
    parts = np.stack([block.T @ block for block in blocks])
    parts[result.indices] = 0.0
    for i in result.indices:
        rest = information(blocks, [k for k in result.indices if k != i])
        values = criterion_of(rest + parts, criterion, target)
        best = values.max() if criterion in "de" else values.min()
        assert fraction(best, result.value, criterion, 4) < 1.0 + 2.0 * TOLERANCE


def test_the_exchange_makes_a_greedy_selection_better():
    rng = np.random.default_rng(33)
    swaps = []
    for _ in range(10):
        blocks = random_pool(rng, 40, 6, rows=1)
        problem = prepare(blocks, "a", None, None, None)
        picks = greedy(problem, [], 8.0)
        result = select(blocks, 8, "a")
        assert result.value <= criterion_of(information(blocks, picks), "a", None) * (1.0 + 1e-9)
        swaps.append(result.swaps)
    assert max(swaps) > 0


def test_a_duplicate_is_not_taken_before_something_new():
    blocks = [np.eye(3)[[k]] for k in (0, 0, 0, 1, 2)]
    assert len({0, 1, 2} & set(select(blocks, 3, "d").indices.tolist())) == 1


def test_progress_tells_the_stages():
    seen = []
    select(random_pool(np.random.default_rng(34), 30, 3), 6, progress=lambda *step: seen.append(step))
    assert {stage for _, _, stage in seen} == {"selection", "bound", "exchange"}
    assert (6, 6, "selection") in seen


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"size": 7}, "`size`: expected at most 6 candidates, got 7"),
        ({"size": 2.5}, "`size`: expected a whole number"),
        ({"size": 0.5, "costs": np.ones(6)}, "`size`: expected at least 1, the cost of the cheapest"),
        ({"keep": [6]}, "`keep`: expected indices of 0 to 5, got 6"),
        ({"keep": [-1]}, "`keep`: expected indices of 0 to 5, got -1"),
        ({"keep": [1, 1]}, "`keep`: expected every index once"),
        ({"keep": [0.5]}, "`keep`: expected whole numbers"),
        ({"keep": [0, 1, 2, 3]}, "`keep`: expected blocks that cost at most the 3 of `size`, got 4"),
        ({"criterion": None}, "`criterion`: expected one of d, a, i, e, g, got None"),
    ],
)
def test_wrong_arguments_are_named(arguments, words):
    blocks = np.random.default_rng(35).normal(size=(6, 1, 2))
    with pytest.raises(MLIPError, match=words):
        select(**{"blocks": blocks, "size": 3, **arguments})


@pytest.mark.slow
@pytest.mark.parametrize("criterion", CRITERIA)
def test_ten_thousand_candidates_take_two_minutes_of_one_core_and_two_gigabytes(criterion):
    """In a process of its own, whose largest memory is its own; what else the machine does does not count."""
    code = (
        "import json, resource, sys, time\n"
        "import numpy as np\n"
        "from ase_mlip.optimal_design.algebra import Blocks, select\n"
        "rng = np.random.default_rng(0)\n"
        "blocks = Blocks(rng.normal(size=(160_000, 200)), np.full(10_000, 16))\n"
        "start = time.process_time()\n"
        "result = select(blocks, 200, sys.argv[1])\n"
        "seconds = time.process_time() - start\n"
        "memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2\n"
        "print(json.dumps([seconds, memory, result.efficiency]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, criterion],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    seconds, memory, efficiency = json.loads(done.stdout)
    assert seconds <= 120.0
    assert memory <= 2.0
    assert 0.5 < efficiency <= 1.0


def test_matrices_without_full_rank_are_known_whatever_rounding_leaves():
    """The rank is known by construction; columns of any scale. About 5 in 100 have positive pivots only."""
    rng = np.random.default_rng(28)
    for _ in range(4000):
        columns = rng.integers(2, 40)
        rows = rng.normal(size=(rng.integers(1, columns), columns)) * 10.0 ** rng.uniform(-4, 4, columns)
        assert cholesky(rows.T @ rows) is None
        more = rng.normal(size=(columns + 5, columns)) * 10.0 ** rng.uniform(-4, 4, columns)
        assert cholesky(more.T @ more) is not None
