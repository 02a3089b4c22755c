"""The loss entropy: published values, an analytic integral, sums made by hand."""

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy import integrate, special

from ase_mlip.errors import MLIPError
from ase_mlip.landscapes import combined_entropy, entropy, loss_entropy

PUBLISHED = Path(__file__).resolve().parents[3] / "shared" / "data" / "loss_landscapes"


def read(name: str) -> list[dict[str, str]]:
    path = PUBLISHED / name
    if not path.is_file():
        pytest.skip("the published curves are not there")
    with path.open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_published_curves_have_their_published_entropies():
    curves, table = read("nequip_losslands.csv"), read("nequip_entropy.csv")
    assert len(table) >= 8
    for row in table:
        name = row[""]
        points = sorted((p for p in curves if p["model"] == name), key=lambda p: float(p["x"]))
        energy, forces = ([float(p[key]) for p in points] for key in ("e", "f"))
        assert len(points) == 81
        assert loss_entropy(energy, 0.004) == pytest.approx(float(row["Se"]), abs=1e-6)
        assert loss_entropy(forces, 0.04) == pytest.approx(float(row["Sf"]), abs=1e-6)
        assert combined_entropy(energy, forces) == pytest.approx(float(row["S"]), abs=1e-6)


def test_a_sum_made_by_hand():
    """Losses kT·(ln 2, ln 3, ln 6): exp(-L/kT) = 1/2 + 1/3 + 1/6 = 1."""
    losses = np.log([2.0, 3.0, 6.0])
    assert loss_entropy(0.04 * losses, 0.04) == pytest.approx(0.0, abs=1e-14)
    assert loss_entropy(0.004 * losses + 0.004, 0.004) == pytest.approx(-1.0, abs=1e-14)
    both = combined_entropy(0.004 * losses + 0.004, 0.04 * losses + 0.08)
    assert both == pytest.approx(0.2 * -1.0 + 0.8 * -2.0, abs=1e-14)


@pytest.mark.parametrize(("at_zero", "slope"), [(0.0, 1.0), (0.05, 1.5), (0.2, 0.7)])
def test_a_hyperbola_has_the_entropy_of_its_bessel_function(at_zero, slope):
    """∫ exp(-√(L₀²+a²x²)/kT) dx = 2 L₀/a K₁(L₀/kT) (Gradshteyn and Ryzhik 3.461.6); 2 kT/a for L₀ = 0."""
    kT = 0.04
    x, step = np.linspace(-4.0, 4.0, 400001, retstep=True)
    found = loss_entropy(np.hypot(at_zero, slope * x), kT) + np.log(step)
    if at_zero:
        integral = 2.0 * at_zero / slope * special.k1(at_zero / kT)
    else:
        integral = 2.0 * kT / slope
    assert found == pytest.approx(np.log(integral), abs=1e-6)
    numeric = integrate.quad(lambda t: np.exp(-np.hypot(at_zero, slope * t) / kT), 0.0, 4.0)[0]
    assert integral == pytest.approx(2.0 * numeric, rel=1e-6)


def test_losses_are_averaged_over_lines_first():
    lines = np.array([[0.1, 0.0, 0.1], [0.3, 0.02, 0.5]])
    assert loss_entropy(lines, 0.04) == pytest.approx(loss_entropy([0.2, 0.01, 0.3], 0.04), abs=1e-14)
    assert loss_entropy(lines, 0.04) != pytest.approx(
        np.mean([loss_entropy(k, 0.04) for k in lines]), abs=1e-3
    )


def test_large_and_infinite_losses_neither_under_nor_overflow():
    assert loss_entropy([400.0, 400.0], 0.04) == pytest.approx(-1e4 + np.log(2.0), rel=1e-14)
    assert loss_entropy([0.0, np.inf, 1e308], 0.04) == pytest.approx(0.0, abs=1e-15)
    assert loss_entropy([np.inf, np.inf], 0.04) == -np.inf
    assert combined_entropy([np.inf], [0.0], force_weight=1.0) == 0.0
    assert loss_entropy(np.float32([0.0, 0.04]), 0.04) == pytest.approx(np.log1p(np.exp(-1.0)), abs=1e-7)


@pytest.mark.parametrize("kT", [0.0, -0.04, np.nan, np.inf, None, "warm", True])
def test_a_wrong_kT_is_an_error(kT):
    with pytest.raises(MLIPError, match="`kT`: expected a positive number"):
        loss_entropy([0.1, 0.2], kT)
    with pytest.raises(MLIPError, match="`kT_energy`"):
        combined_entropy([0.1], [0.2], kT_energy=kT)


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ([0.1, np.nan], "got nan at point 1 of line 0"),
        ([[0.1, 0.2], [np.nan, np.nan]], "point 0 of line 1 and at 1 more"),
        ([0.1, -np.inf], "got -inf"),
        ([], "at least one"),
        (0.1, "shape"),
        (np.zeros((2, 2, 2)), "shape"),
        ([[0.1, 0.2], [0.1]], "different lengths"),
        (["a"], "expected numbers"),
    ],
)
def test_wrong_losses_are_named(losses, message):
    with pytest.raises(MLIPError, match=f"`losses`.*{message}"):
        loss_entropy(losses, 0.04)


def test_curves_of_different_shapes_are_not_combined():
    with pytest.raises(MLIPError, match="`force_losses`: expected the shape of `energy_losses`"):
        combined_entropy([0.1, 0.2], [0.1])
    with pytest.raises(MLIPError, match="`force_weight`"):
        combined_entropy([0.1], [0.1], force_weight=1.2)


def test_the_excess_entropy_does_not_know_the_training_error():
    x = np.linspace(-0.25, 0.25, 81)
    curve = np.stack([0.3 * x**2, 0.2 * x**2])
    near = entropy.entropies(0.1 * curve, curve, x)
    far = entropy.entropies(0.1 * curve + 0.01, curve + 0.1, x)
    assert far["S_F"] == pytest.approx(near["S_F"] - 0.1 / 0.04, abs=1e-12)
    for name in ("S_E_plus", "S_F_plus", "S_plus"):
        assert far[name] == pytest.approx(near[name], abs=1e-12)
    with pytest.raises(MLIPError, match="`x`: expected the point 0"):
        entropy.entropies(curve, curve, x + 0.001)
    with pytest.raises(MLIPError, match="finite loss at `x` = 0"):
        entropy.excess([1.0, np.inf, 1.0], [-1.0, 0.0, 1.0])


def test_scans_hold_the_published_choice():
    energy, forces = [0.01, 0.002, 0.01], [0.1, 0.03, 0.2]
    found = entropy.scan(energy, forces)
    standard = entropy.entropies(energy, forces)
    assert [e for e in found["kT"] if e["factor"] == 1.0] == [{"factor": 1.0, **standard}]
    assert [e for e in found["force_weight"] if e["force_weight"] == 0.8] == [
        {"force_weight": 0.8, **standard}
    ]
    assert found["kT"][0]["S_F"] == pytest.approx(loss_entropy(forces, 0.01))
    assert found["force_weight"][0]["S"] == standard["S_E"]


def test_bootstrap_intervals_cover_the_mean_of_many_lines():
    """The mean of 20 lines has the deviation 0.2·√(1/20); the interval is ±1.96 of it."""
    lines = 1.0 + 0.2 * np.random.default_rng(1).standard_normal((20, 1))
    found = entropy.bootstrap(lambda e, f: {"mean": float(f.mean())}, lines, lines)
    low, high = found["mean"]
    assert low < lines.mean() < high
    assert (high - low) / 2 == pytest.approx(1.96 * lines.std() / np.sqrt(20), rel=0.1)
    assert found == entropy.bootstrap(lambda e, f: {"mean": float(f.mean())}, lines, lines)
    one = entropy.bootstrap(lambda e, f: {"mean": 1.0}, lines[:1], lines[:1])
    assert np.isnan(one["mean"]).all()
    endless = np.where(np.arange(20)[:, None] < 5, np.inf, lines)
    assert entropy.bootstrap(entropy.entropies, endless, endless)["S"][0] == -np.inf


def test_curvature_is_that_of_the_squared_loss():
    x = np.linspace(-0.25, 0.25, 81)
    lines = np.stack([np.hypot(0.1, 2.0 * x), np.hypot(0.0, 3.0 * x)])
    assert entropy.curvature(lines, x) == pytest.approx([8.0, 18.0], rel=1e-10)
    quartic = np.sqrt(0.01 + 4.0 * x**2 + x**3 + 50.0 * x**4)
    assert entropy.curvature(quartic, x) == pytest.approx([8.0], rel=1e-9)
    assert entropy.curvature([0.2, 0.1, 0.2], [-1.0, 0.0, 1.0]) == pytest.approx([0.06])
    assert entropy.curvature([np.inf, 0.1, 0.2], [-1.0, 0.0, 1.0]) == np.inf
    with pytest.raises(MLIPError, match="evenly spaced"):
        entropy.curvature([0.1, 0.1, 0.2], [-1.0, 0.0, 2.0])


def test_the_largest_rise_is_within_the_radius():
    x = np.linspace(-0.5, 0.5, 11)
    lines = np.stack([0.1 + x**2, 0.2 + np.abs(x) ** 3])
    assert entropy.largest_rise(lines, x, 0.3) == pytest.approx(0.09)
    assert entropy.largest_rise(lines, x, 0.5) == pytest.approx(0.25)
    with pytest.raises(MLIPError, match="`radius`: expected at least the distance of the next point, 0.1"):
        entropy.largest_rise(lines, x, 0.05)


def test_numbers_of_lines_are_those_of_the_single_functions():
    x = np.linspace(-0.25, 0.25, 21)
    slopes = np.random.default_rng(0).uniform(1.0, 3.0, (2, 5, 1))
    energy, forces = 0.01 * np.hypot(0.2, slopes[0] * x), np.hypot(0.02, slopes[1] * x)
    found = entropy.LineNumbers(energy, forces, x, 0.05)(energy, forces)
    expected = entropy.entropies(energy, forces, x)
    expected["curvature_energy"] = entropy.curvature(energy, x).mean()
    expected["curvature_forces"] = entropy.curvature(forces, x).mean()
    expected["rise_energy"] = entropy.largest_rise(energy, x, 0.05)
    expected["rise_forces"] = entropy.largest_rise(forces, x, 0.05)
    assert found == pytest.approx(expected, rel=1e-12)
    with pytest.raises(MLIPError, match="`radius`"):
        entropy.LineNumbers(energy, forces, x, 0.01)
