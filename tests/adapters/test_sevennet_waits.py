"""The host does not wait for a GPU at every layer of SevenNet."""

import importlib.util
import warnings

import pytest

if importlib.util.find_spec("sevenn") is None:
    pytest.skip("sevenn is not installed", allow_module_level=True)

import torch
from waits import waits

from ase_mlip.building import _ops
from ase_mlip.converters import adapt
from tests.adapters.sevennet_models import write


def network(path, layers: int, connection: str) -> torch.nn.Module:
    write(path, num_convolution_layer=layers, self_connection_type=connection)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sevenn
        return adapt("sevennet", path, allow_pickle=True).module


@pytest.mark.parametrize("connection", ["linear", "nequip"])  # the latter has matrices for each species
@pytest.mark.parametrize("owned", [None, 2])
def test_sevennet_waits_as_often_with_two_layers_as_with_four(owned, connection, tmp_path):
    _ops.load()
    few, many = (waits(network(tmp_path / f"{n}.pth", n, connection), False, owned) for n in (2, 4))
    assert few == many, many - few
    assert 0 < many.total() < 10, many
