"""Random numbers of the tests are the same in every run, whatever runs before."""

import ast
import random
from pathlib import Path

import numpy as np
import pytest
import torch

FILES = sorted(Path(__file__).parent.rglob("*.py"))


def test_no_generator_is_made_without_a_seed():
    """`np.random.default_rng()`, `Random()` and their like start from the operating system's entropy."""
    made = ("default_rng", "SeedSequence", "Random", "SystemRandom", "PCG64", "RandomState")
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and not node.args and not node.keywords:
                name = (
                    node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                )
                assert name not in made, f"{path.name}:{node.lineno}: {ast.unparse(node)} has no seed"


SEEN = []


@pytest.mark.parametrize("run", range(2))
def test_the_shared_generators_start_anew_with_every_test(run):
    SEEN.append((random.random(), np.random.rand(), float(torch.rand(()))))  # noqa: NPY002
    assert SEEN[0] == SEEN[-1] and len(SEEN) == run + 1
