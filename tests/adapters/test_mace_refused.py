"""MACE checkpoints that are refused, each by its cause."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

if importlib.util.find_spec("mace") is None:
    pytest.skip("mace-torch is not installed", allow_module_level=True)

from ase_mlip.converters import AdapterError, adapt, common
from ase_mlip.converters.mace.mace import mace_packages
from tests.adapters.mace_models import GOOD, write


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("mace") / "two-layers.model"
    write(path)
    return path


def refused(message: str, source, **options) -> None:
    with pytest.raises(AdapterError, match=message):
        adapt("mace", source, **{"allow_pickle": True, **options})


def renamed(part: str, name: str):
    """The model with the class of one of its parts under another name."""

    def change(model: torch.nn.Module) -> None:
        import mace.modules.blocks as blocks

        module = model.get_submodule(part) if part else model
        kind = type(name, (type(module),), {"__module__": blocks.__name__})
        setattr(blocks, name, kind)
        module.__class__ = kind

    return change


def with_embedding(model: torch.nn.Module) -> None:
    model.joint_embedding = torch.nn.Identity()
    model.embedding_specs = {"total_charge": {}, "total_spin": {}}


BAD = {
    "`MACELES` .long-range": renamed("", "MACELES"),
    "`PolarMACE` .its charges": renamed("", "PolarMACE"),
    "`AtomicDipolesMACE` .it predicts dipoles": renamed("", "AtomicDipolesMACE"),
    "`AtomicDielectricMACE` .it predicts polarizabilities": renamed("", "AtomicDielectricMACE"),
    "`EnergyDipolesMACE`": renamed("", "EnergyDipolesMACE"),
    "`MyMACE` .unknown here.; supported: MACE, ScaleShiftMACE": renamed("", "MyMACE"),
    "`interactions` is `MyInteraction`": renamed("interactions.1", "MyInteraction"),
    "`pair_repulsion_fn` is `MyRepulsion`": renamed("pair_repulsion_fn", "MyRepulsion"),
    "`readouts` is `MyReadout`": renamed("readouts.0", "MyReadout"),
    "`LoRAO3Linear`; merge": renamed("node_embedding.linear", "LoRAO3Linear"),
    "embeds total_charge, total_spin": with_embedding,
}


@pytest.mark.parametrize("message", BAD)
def test_unsupported_models_are_refused_by_name(tmp_path, message):
    write(tmp_path / "bad.model", BAD[message], zbl=True)
    refused(message, tmp_path / "bad.model")


@pytest.mark.parametrize("interaction", ["Att", "NonLinear"])
def test_interactions_that_are_not_carried_over(tmp_path, interaction):
    first = f"RealAgnosticResidual{interaction}InteractionBlock"
    name = first if interaction == "NonLinear" else "RealAgnosticAttResidualInteractionBlock"
    write(tmp_path / "bad.model", later=name, edge_irreps=None)
    refused(f"`interactions` is `{name}`, not supported", tmp_path / "bad.model")


def test_a_higher_correlation(tmp_path):
    write(tmp_path / "bad.model", correlation=4, max_ell=1, features="4x0e")
    refused("correlation 4; supported: 1 to 3", tmp_path / "bad.model")


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("cuequivariance_torch", "mace_cueq_to_e3nn"), ("openequivariance", "convert_oeq_e3nn")],
)
def test_a_converted_model(tmp_path, name, remedy):
    """Modules of packages that are not installed here."""

    def change(model: torch.nn.Module) -> None:
        package = type(sys)(name)
        package.Linear = type("Linear", (torch.nn.Identity,), {"__module__": name})
        sys.modules[name] = package
        model.interactions[0].linear = package.Linear()

    path = tmp_path / "bad.model"
    write(path, change)
    refused(f"holds `Linear` of {name}; convert it to e3nn first.*{remedy}", path)
    del sys.modules[name]
    refused(f"needs the package `{name}`.*{remedy}", path)


def test_reading_needs_permission(checkpoint):
    refused("pass `allow_pickle=True`", checkpoint, allow_pickle=False)


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.9])
def test_a_damaged_file(checkpoint, tmp_path, kept):
    data = checkpoint.read_bytes()
    damaged = tmp_path / "damaged.model"
    damaged.write_bytes(data[: int(kept * len(data))])
    refused("could not be read as a checkpoint of MACE", damaged)


def test_another_family_is_told_whose_it_is(checkpoint):
    with pytest.raises(AdapterError, match="is a checkpoint of mace, not of sevennet; use `family=.mace.`"):
        adapt("sevennet", checkpoint, allow_pickle=True)


def test_files_of_a_training_run(checkpoint, tmp_path):
    with mace_packages():
        model = torch.load(checkpoint, weights_only=False)
        torch.save({"model": model.state_dict()}, tmp_path / "run.pt")
    refused("holds a dict, expected a whole model.*ends in `.model`", tmp_path / "run.pt")


def test_a_file_that_is_not_there(tmp_path):
    refused("neither a file nor a foundation model: small, medium", tmp_path / "nothing.model")


@pytest.mark.parametrize("head", [None, "Default"])
def test_heads(tmp_path, head):
    write(tmp_path / "heads.model", **GOOD["heads"])
    refused("`head` must be one of pbe, r2scan", tmp_path / "heads.model", head=head)
    refused("`modal` means nothing", tmp_path / "heads.model", modal="pbe")


@pytest.mark.parametrize("version", ["0.3.6", "0.4.0"])
def test_another_version_of_mace(checkpoint, monkeypatch, version):
    monkeypatch.setattr(common.importlib.metadata, "version", lambda package: version)
    refused(f"`mace-torch` is {version}; expected at least", checkpoint)


def test_without_mace(checkpoint, monkeypatch):
    monkeypatch.setattr(common.importlib.util, "find_spec", lambda name: None)
    refused("pip install 'mace-torch", checkpoint)
