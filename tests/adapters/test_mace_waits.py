"""The host does not wait for a GPU at every layer of MACE."""

import importlib.util

import pytest

if importlib.util.find_spec("mace") is None:
    pytest.skip("mace-torch is not installed", allow_module_level=True)

from waits import waits

from ase_mlip.building import _ops
from ase_mlip.converters.mace.mace import mace_packages
from ase_mlip.converters.mace.weights import make_network
from tests.adapters.mace_models import make


@pytest.mark.parametrize("owned", [None, 2])
def test_mace_waits_as_often_with_two_layers_as_with_four(owned):
    _ops.load()
    with mace_packages():
        few, many = (waits(make_network(make(layers=n), 0), False, owned) for n in (2, 4))
    assert few == many, many - few
    assert 0 < many.total() < 10, many
