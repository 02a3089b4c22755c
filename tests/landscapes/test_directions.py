"""Directions: norms of filters, what two have in common, where they come from."""

import itertools

import numpy as np
import pytest
import torch

from ase_mlip.errors import MLIPError
from ase_mlip.landscapes.directions import direction, expected_cosine
from ase_mlip.landscapes.families import tables_of
from ase_mlip.landscapes.weights import Weights


@pytest.fixture(scope="module")
def weights() -> Weights:
    """Matrices whose rows have 64 elements and more, of very different norms, and vectors."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(64, 40), torch.nn.Linear(96, 30), torch.nn.LayerNorm(50))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += torch.randn_like(parameter)
            if parameter.dim() == 2:
                parameter *= torch.logspace(-2, 1, len(parameter))[:, None]
    return Weights(*tables_of(network))


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(a @ b / (a.norm() * b.norm()))


@pytest.mark.parametrize("kind", ["gaussian", "legacy"])
def test_every_filter_has_the_norm_of_the_models(weights, kind):
    found = direction(weights, kind, 3, 0)
    assert float(found.norm()) == pytest.approx(float(weights.start.norm()), rel=1e-12)
    for entry in weights.filters:
        part = slice(entry.start, entry.stop)
        assert float(found[part].norm()) == pytest.approx(float(weights.start[part].norm()), rel=1e-12)


def test_gaussian_directions_have_no_more_in_common_than_chance(weights):
    lines = [direction(weights, "gaussian", 0, k) for k in range(24)]
    cosines = [cosine(a, b) for a, b in itertools.combinations(lines, 2)]
    bound = expected_cosine(weights)
    assert np.abs(cosines).max() < 4.0 * bound
    assert np.sqrt(np.mean(np.square(cosines))) == pytest.approx(bound, rel=0.15)
    assert abs(np.mean(cosines)) < 4.0 * bound / np.sqrt(len(cosines))


def test_legacy_directions_have_the_cosine_of_positive_numbers():
    """(1/2)²/(1/3) = 0.750 for rows with 64 elements or more: they are not random directions."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(64, 300, bias=False), torch.nn.Linear(128, 300, bias=False))
    weights = Weights(*tables_of(network))
    lines = [direction(weights, "legacy", 0, k) for k in range(6)]
    cosines = [cosine(a, b) for a, b in itertools.combinations(lines, 2)]
    assert np.mean(cosines) == pytest.approx(0.750, abs=0.005)
    assert all(float(line.min()) >= 0.0 for line in lines)


def test_legacy_directions_of_vectors_are_their_sizes(weights):
    found = [direction(weights, "legacy", 0, k) for k in range(2)]
    vectors = [entry for entry in weights.filters if entry.kind == "vector"]
    assert len(vectors) == 4
    for entry in vectors:
        part = slice(entry.start, entry.stop)
        assert torch.equal(found[0][part], weights.start[part].abs())
        assert torch.equal(found[1][part], found[0][part])


def test_a_direction_follows_from_its_seed_and_number(weights):
    again = direction(weights, "gaussian", 5, 7)
    assert torch.equal(direction(weights, "gaussian", 5, 7), again)
    assert not torch.equal(direction(weights, "gaussian", 5, 6), again)
    assert not torch.equal(direction(weights, "gaussian", 6, 7), again)


def test_a_filter_of_zeros_does_not_move():
    network = torch.nn.Linear(4, 2)
    torch.nn.init.zeros_(network.bias)
    weights = Weights(*tables_of(network))
    assert direction(weights, "gaussian", 0, 0)[-2:].tolist() == [0.0, 0.0]


def test_an_unknown_kind_is_refused(weights):
    with pytest.raises(MLIPError, match="`directions`: expected `gaussian` or `legacy`, got 'uniform'"):
        direction(weights, "uniform", 0, 0)
