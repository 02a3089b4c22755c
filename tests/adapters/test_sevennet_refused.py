"""SevenNet checkpoints that are refused, each by its cause."""

import importlib.metadata
import warnings
from pathlib import Path

import pytest
import torch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of a library that only this test imports
    sevenn = pytest.importorskip("sevenn", reason="needs sevenn (0.13.0), the oracle")
    from sevenn import model_build, util

from ase_mlip.converters import AdapterError, adapt, common
from tests.adapters.sevennet_models import MODALITIES, write


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("sevennet") / "small.pth")


def refused(message: str, source, **options) -> None:
    with pytest.raises(AdapterError, match=message):
        adapt("sevennet", source, **{"allow_pickle": True, **options})


def test_a_pickle_needs_permission(small):
    refused("pass `allow_pickle=True`", small, allow_pickle=False)


def test_names(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))  # where sevenn keeps what it downloaded
    before = util.download_checkpoint
    refused("nothing is downloaded here; get it from https://", "7net-omni")
    refused("neither a file nor a name that sevenn knows; it knows 7net-0", "8net-0")
    assert util.download_checkpoint is before


@pytest.mark.parametrize("kept", [0.1, 0.9])
def test_a_damaged_checkpoint(small, tmp_path, kept):
    damaged = tmp_path / "damaged.pth"
    data = small.read_bytes()
    damaged.write_bytes(data[: int(kept * len(data))])
    refused("damaged.pth` cannot be read as a SevenNet checkpoint", damaged)


def test_another_family_is_told_whose_it_is(small):
    for path in (small, Path(util.pretrained_name_to_path("7net-0"))):
        with pytest.raises(
            AdapterError, match='is a checkpoint of sevennet, not of nequip; use `family="sevennet"`'
        ):
            adapt("nequip", path, allow_pickle=True)


def test_a_pickle_of_something_else(tmp_path):
    torch.save({"weights": torch.ones(3)}, tmp_path / "other.pth")
    refused("is no SevenNet checkpoint", tmp_path / "other.pth")


def test_modalities_that_do_not_fit(small, tmp_path):
    path = write(tmp_path / "fidelities.pth", **MODALITIES)
    refused("`modal` must be one of PBE, r2SCAN; none was chosen", path)
    refused("`modal` must be one of PBE, r2SCAN; got `LDA`", path, modal="LDA")
    refused("`modal` means nothing for a SevenNet model without modalities", small, modal="PBE")
    refused("`head` means nothing for SevenNet", small, head="default")


def test_other_versions(monkeypatch, small, tmp_path):
    refused("written by sevenn 0.99.0, which is newer", write(tmp_path / "new.pth", version="0.99.0"))
    for version in ("0.12.1", "0.14.0"):
        monkeypatch.setattr(importlib.metadata, "version", lambda package, version=version: version)
        refused(f"`sevenn` is {version}; expected at least 0.13", small)


def test_without_the_package(monkeypatch, small):
    monkeypatch.setattr(common.importlib.util, "find_spec", lambda name: None)
    refused("`sevenn` is not installed; install it with `pip install 'sevenn", small)


def test_an_activation_that_is_not_known(monkeypatch, small):
    from ase_mlip.converters.sevennet import weights as sevennet_weights

    monkeypatch.setattr(sevennet_weights, "ACTIVATIONS", ("tanh",))
    refused("the activation `silu` is not supported; supported are tanh", small)


def test_harmonics_that_are_not_known():
    import e3nn.o3

    from ase_mlip.converters.sevennet.weights import _harmonics

    class Edges:
        irreps_out = e3nn.o3.Irreps("0e+2e")

    with pytest.raises(AdapterError, match="harmonics are 1x0e.1x2e; expected each degree from 0 once"):
        _harmonics(Edges())


def test_a_basis_that_is_not_known(monkeypatch, small):
    class GaussianBasis(model_build.BesselBasis):
        pass

    monkeypatch.setattr(model_build, "BesselBasis", GaussianBasis)
    refused("the radial basis `GaussianBasis` with `PolynomialCutoff` is not supported", small)
