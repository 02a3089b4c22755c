"""Cubic splines against scipy's, with the same knots and end conditions."""

import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid
from scipy.interpolate import BSpline, CubicSpline

from ase_mlip.networks.snnp.splines import SplineBank, coefficients_from_knots

ENDS = {
    "clamped": ((1, -3.2), (1, 0.7)),
    "natural": ((2, 0.0), (2, 0.0)),
    "mixed": ((1, 1.5), (2, -4.0)),
}


def derivatives(bank: SplineBank, x: np.ndarray, case: int = 0) -> np.ndarray:
    """Value, slope and curvature of channel 0 at ``x``."""
    where = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    value = bank(where, torch.full((len(x),), case, dtype=torch.int64))[:, 0]
    (slope,) = torch.autograd.grad(value.sum(), where, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), where)
    return np.stack([t.detach().numpy() for t in (value, slope, curvature)])


@pytest.mark.parametrize("ends", ENDS)
@pytest.mark.parametrize("n", [1, 2, 9])
def test_value_and_two_derivatives_are_scipys(n, ends):
    generator = np.random.default_rng(n)
    knots = np.linspace(1.5, 5.0, n + 1)
    values = generator.normal(size=n + 1)
    bank = SplineBank([1.5], [3.5 / n], [n], 1, vanishing=False).double()
    bank.set_from_knots(0, 0, torch.tensor(values), *ENDS[ends])
    oracle = CubicSpline(knots, values, bc_type=ENDS[ends])
    x = np.concatenate([knots[1:-1], generator.uniform(1.5, 5.0, 200)])
    expected = np.stack([oracle(x, order) for order in range(3)])
    scale = np.maximum(np.abs(expected).max(axis=1, keepdims=True), 1.0)
    assert np.abs((derivatives(bank, x) - expected) / scale).max() < 1e-12


def test_bsplines_are_scipys():
    n, step, origin = 7, 0.4, -1.0
    bank = SplineBank([origin], [step], [n], 1, vanishing=False).double()
    torch.nn.init.normal_(bank.coefficients, generator=torch.Generator().manual_seed(0))
    knots = origin + step * np.arange(-3, n + 4)
    oracle = BSpline(knots, bank.coefficients[0, 0].detach().numpy(), 3)
    x = np.random.default_rng(0).uniform(origin, origin + n * step, 100)
    expected = np.stack([oracle(x, order) for order in range(3)])
    np.testing.assert_allclose(derivatives(bank, x), expected, atol=1e-12)


def test_straight_lines_outside_the_knots():
    bank = SplineBank([1.0], [0.5], [4], 1, vanishing=False).double()
    bank.set_from_knots(0, 0, torch.tensor([1.0, 0.2, 0.4, -0.3, 0.5]), (1, -2.0), (1, 0.25))
    value, slope, curvature = derivatives(bank, np.array([-3.0, 0.9, 3.1, 8.0]))
    np.testing.assert_allclose(value, [1.0 + 2.0 * 4.0, 1.0 + 0.2, 0.5 + 0.025, 0.5 + 0.25 * 5.0], atol=1e-12)
    np.testing.assert_allclose(slope, [-2.0, -2.0, 0.25, 0.25], atol=1e-12)
    assert not curvature.any()


def test_a_vanishing_spline_ends_with_two_derivatives_zero():
    bank = SplineBank([1.5], [0.5], [6], 2, vanishing=True).double()
    torch.nn.init.normal_(bank.coefficients, generator=torch.Generator().manual_seed(1))
    end = bank.end(0)
    assert end == 4.5
    assert np.abs(derivatives(bank, np.array([end - 1e-9, end, end + 1e-9, end + 3.0]))).max() < 1e-7
    assert np.abs(derivatives(bank, np.array([end - 0.5]))).min() > 1e-3


def test_cases_of_different_lengths():
    bank = SplineBank([1.0, 2.0], [0.5, 0.25], [3, 6], 1, vanishing=False).double()
    knots_of = [[1.0, 2.0, 0.5, 0.1], [0.3, 0.2, 0.8, 0.1, 0.4, 0.9, 0.0]]
    values = [torch.tensor(y, dtype=torch.float64) for y in knots_of]
    for case, y in enumerate(values):
        bank.set_from_knots(case, 0, y, (2, 0.0), (1, 0.5))
        knots = bank.grid[case, 0].item() + bank.grid[case, 1].item() * np.arange(len(y))
        oracle = CubicSpline(knots, y.numpy(), bc_type=((2, 0.0), (1, 0.5)))
        np.testing.assert_allclose(
            derivatives(bank, knots[:-1] + 0.1, case)[0], oracle(knots[:-1] + 0.1), atol=1e-12
        )
        beyond = oracle(knots[-1]) + 0.5 * 2.0
        np.testing.assert_allclose(derivatives(bank, knots[-1:] + 2.0, case)[0], beyond, atol=1e-12)


def test_roughness_is_the_integral_of_the_squared_curvature():
    bank = SplineBank([1.0], [0.5], [5], 1, vanishing=True).double()
    torch.nn.init.normal_(bank.coefficients, generator=torch.Generator().manual_seed(2))
    x = np.linspace(1.0, 3.5, 20001)
    curvature = derivatives(bank, x)[2] * 0.5**2  # in units of the knots' distance
    integral = trapezoid(curvature**2, x) / 0.5
    assert abs(bank.roughness().item() - integral) < 1e-6 * integral


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: coefficients_from_knots(torch.zeros(1), 1.0, (1, 0.0), (1, 0.0)), "at least two knots"),
        (lambda: coefficients_from_knots(torch.zeros(3), 0.0, (1, 0.0), (1, 0.0)), "must be positive"),
        (lambda: coefficients_from_knots(torch.zeros(3), 1.0, (3, 0.0), (1, 0.0)), "order 1 or 2"),
        (lambda: SplineBank([0.0], [1.0], [0], 1, vanishing=False), "at least two knots"),
        (lambda: SplineBank([0.0], [-1.0], [2], 1, vanishing=False), "must be positive"),
        (
            lambda: SplineBank([0.0], [1.0], [2], 1, vanishing=False).set_from_knots(
                0, 0, torch.zeros(2), (1, 0.0), (1, 0.0)
            ),
            "expected 3 knots, got 2",
        ),
        (
            lambda: SplineBank([0.0], [1.0], [2], 1, vanishing=True).set_from_knots(
                0, 0, torch.ones(3), (1, 0.0), (1, 0.0)
            ),
            "vanish at the last knot",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
