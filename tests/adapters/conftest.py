"""Fixtures of the adapters' tests: LAMMPS with the plugin, and a checkpoint of metatrain."""

from pathlib import Path

import pytest

from tests.adapters.pet_checkpoints import train
from tests.lammps.conftest import lammps, parallel

__all__ = ["lammps", "parallel", "trained"]

FITTED, FIXED = {}, {"energy": {29: -0.4, 79: -0.9}}


@pytest.fixture(scope="session", params=[FITTED, FIXED], ids=["fitted baseline", "fixed baseline"])
def trained(request, tmp_path_factory) -> Path:
    """A checkpoint of `mtt train`: three epochs on copper and gold as EMT has them."""
    return train(tmp_path_factory.mktemp("trained"), request.param)
