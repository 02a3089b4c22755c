"""The bump function and the adaptive radius against their definitions."""

import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from ase_mlip.networks.pet.cutoff import adaptive_radii, adaptive_radii_on_grid, log_bump, log_cosine


def bump(distance: float, cutoff: float, width: float) -> float:
    """½(1 + tanh(cot πs)) as it is written in the paper."""
    s = (distance - cutoff + width) / width
    if s <= 0:
        return 1.0
    if s >= 1:
        return 0.0
    return 0.5 * (1.0 + np.tanh(1.0 / np.tan(np.pi * s)))


def test_bump_is_the_published_function():
    distances = torch.linspace(0.5, 6.0, 400, dtype=torch.float64)
    mine = log_bump(distances, torch.full_like(distances, 5.0), 0.5).exp()
    expected = [bump(float(d), 5.0, 0.5) for d in distances]
    np.testing.assert_allclose(mine.numpy(), expected, atol=1e-15)


def test_cosine_is_half_a_period_of_the_cosine():
    distances = torch.linspace(0.5, 6.0, 400, dtype=torch.float64)
    mine = log_cosine(distances, torch.full_like(distances, 5.0), 0.5).exp()
    expected = 0.5 * (1.0 + np.cos(np.pi * np.clip((distances.numpy() - 4.5) / 0.5, 0.0, 1.0)))
    np.testing.assert_allclose(mine.numpy(), expected, atol=2e-15)


@pytest.mark.parametrize("logarithm", [log_bump, log_cosine])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_two_derivatives_are_finite_everywhere(dtype, logarithm):
    distances = torch.linspace(4.49, 5.01, 2000, dtype=dtype, requires_grad=True)
    weights = logarithm(distances, torch.full_like(distances, 5.0), 0.5).exp()
    (first,) = torch.autograd.grad(weights.sum(), distances, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), distances)
    assert torch.isfinite(first).all() and torch.isfinite(second).all()
    assert first[-1] == 0 and first[0] == 0


def random_neighbourhoods(n: int, per_node: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    distances = 1.5 + 3.5 * torch.rand(n * per_node, generator=generator, dtype=torch.float64)
    return distances, torch.arange(n).repeat_interleave(per_node)


def test_radius_meets_the_target():
    """Oracle: scipy's root of n(r) = Σ bump(d; r) + target·(r/cutoff)³ - target."""
    distances, centres = random_neighbourhoods(6, 40)
    radii = adaptive_radii(distances, centres, 6, target=12.0, cutoff=5.0, width=1.0)
    for i, radius in enumerate(radii):
        own = distances[centres == i].numpy()

        def excess(r, own=own):
            return sum(bump(d, r, 1.0) for d in own) + 12.0 * (r / 5.0) ** 3 - 12.0

        assert float(radius) == pytest.approx(brentq(excess, 0.1, 5.0, xtol=1e-13), abs=1e-9)


def test_radius_on_a_grid_is_the_mean_of_its_definition():
    """Oracle: the definition with numpy, one atom and one trial radius at a time."""
    distances, centres = random_neighbourhoods(6, 40)
    radii = adaptive_radii_on_grid(distances, centres, 6, target=12.0, cutoff=5.0, width=0.5)
    trial = np.arange(0.5, 5.0, 0.125)
    for i, radius in enumerate(radii):
        own = distances[centres == i].numpy()
        excess = np.array([sum(bump(d, r, 0.5) for d in own) for r in trial]) - 12.0
        excess += 12.0 * np.linspace(0.0, 1.0, len(trial)) ** 3
        weights = np.exp(-0.5 * (excess / np.gradient(excess)) ** 2)
        assert float(radius) == pytest.approx(weights @ trial / weights.sum(), abs=1e-10)


@pytest.mark.parametrize("method", [adaptive_radii, adaptive_radii_on_grid])
def test_radius_is_differentiable(method):
    distances, centres = random_neighbourhoods(3, 25)
    distances.requires_grad_(True)
    assert torch.autograd.gradcheck(
        lambda d: method(d, centres, 3, target=8.0, cutoff=5.0, width=1.0), distances
    )


@pytest.mark.parametrize("width", [0.1, 1.0, 30.0])
def test_radius_on_a_grid_is_finite_in_float32(width):
    """Also without neighbours, with one trial radius only, and where neighbours lie on top of each other."""
    distances = torch.cat([torch.full((50,), 1.0), torch.linspace(0.6, 5.0, 40)]).requires_grad_(True)
    centres = torch.cat([torch.zeros(50, dtype=torch.int64), torch.full((40,), 2)])
    radii = adaptive_radii_on_grid(distances, centres, 4, target=8.0, cutoff=5.0, width=width)
    (slope,) = torch.autograd.grad(radii.sum(), distances)
    assert torch.isfinite(radii).all() and torch.isfinite(slope).all()
    assert bool(((radii >= 0.4999) & (radii <= 5.0)).all())


def test_lonely_atoms_get_the_largest_radius():
    radii = adaptive_radii(torch.zeros(0), torch.zeros(0, dtype=torch.int64), 2, 8.0, 5.0, 1.0)
    np.testing.assert_allclose(radii.numpy(), 5.0, rtol=1e-6)
