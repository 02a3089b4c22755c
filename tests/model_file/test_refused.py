"""Model files that must be refused, exports that must be refused, and writing that fails."""

import os
import resource
import subprocess
import sys

import numpy as np
import pytest
import torch
from model_files import REFUSED, bad_file, rewrite
from torch import Tensor
from toy import PairNetwork, export_toy

from ase_mlip.errors import MLIPError, ModelFileError
from ase_mlip.model_file.info import find_model, shipped_models
from ase_mlip.model_file.model import load_model


@pytest.mark.parametrize("kind", REFUSED)
def test_bad_file_is_refused_with_its_name_and_cause(pair_model_path, tmp_path, kind):
    path = bad_file(kind, pair_model_path, tmp_path)
    with pytest.raises(ModelFileError, match=REFUSED[kind]) as caught:
        load_model(path, device="cpu")
    assert str(path) in str(caught.value)


def test_each_kind_of_bad_file_has_a_message_of_its_own():
    assert len(set(REFUSED.values())) == len(REFUSED)


def test_every_single_byte_of_the_weights_is_guarded(pair_model_path, tmp_path):
    data = pair_model_path.read_bytes()
    path = tmp_path / "flipped.pt"
    for position in np.random.default_rng(0).integers(0, len(data), 40):
        flipped = bytearray(data)
        flipped[position] ^= 0x10
        path.write_bytes(flipped)
        try:
            model = load_model(path, device="cpu")
        except MLIPError:
            continue
        # a flip in the padding between members or in a date changes nothing that is loaded
        original = load_model(pair_model_path, device="cpu")
        assert model.info == original.info
        states = model.module.state_dict(), original.module.state_dict()
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])


def test_missing_file_lists_the_shipped_potentials(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"`no-such-potential` not found.*shipped potential"):
        load_model("no-such-potential")
    with pytest.raises(FileNotFoundError, match="it is a folder"):
        find_model(tmp_path)
    for name in shipped_models():
        assert find_model(name).stem == name


@pytest.mark.parametrize("dtype", ["bfloat16", torch.float16, "double"])
def test_unsupported_dtype_is_named(pair_model_path, dtype):
    with pytest.raises(MLIPError, match="unsupported `dtype`.*float32 or float64"):
        load_model(pair_model_path, dtype=dtype)


@pytest.mark.parametrize("device", ["gpu", "meta", "cuda:77"])
def test_unsupported_device_is_named(pair_model_path, device):
    with pytest.raises(MLIPError, match="`device`"):
        load_model(pair_model_path, device=device)


def test_old_schema_has_its_upgrade_path(pair_model_path, tmp_path):
    path = rewrite(pair_model_path, tmp_path / "old.pt", document={"schema_version": 0})
    with pytest.raises(ModelFileError, match="schema version 0 never existed"):
        load_model(path, device="cpu")


# ---- exports that must be refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ({"cutoff": 0.0}, "`cutoff` must be a positive length"),
        ({"cutoff": float("nan")}, "`cutoff` must be a finite float"),
        ({"species": []}, "`species` must be sorted"),
        ({"species": [8, 8, 14]}, "`species` must be sorted"),
        ({"species": [14, 200]}, "`species` must be sorted"),
        ({"interaction_range": 1.0}, "`interaction_range` must be at least the cutoff"),
        ({"pair_cutoffs": {"Si-O": 9.0}}, r"`pair_cutoffs\[Si-O\]` must be between"),
        ({"pair_cutoffs": {"Si": 2.0}}, "`pair_cutoffs` must have keys such as"),
        ({"outputs": ["energies", "direct_forces"]}, "but the network returns"),
        ({"outputs": ["energies", "charges"]}, "unknown output `charges`"),
        ({"inputs": ["cell"]}, "needs the input `cell`"),
        ({"reference_energies": {"Au": -1.0}}, "`reference_energies` name .*Au"),
        ({"units": {"length": "nm", "energy": "eV"}}, "`units` must be"),
        ({"colour": "red"}, "unknown field `colour`"),
        ({"training": {"loss": float("nan")}}, "must be finite JSON values"),
        ({"training": {"network": object()}}, "must be finite JSON values"),
    ],
)  # fmt: skip
def test_untrue_or_unknown_claims_are_refused(tmp_path, claims, message):
    with pytest.raises(ModelFileError, match=message):
        export_toy(tmp_path / "a.pt", **claims)
    assert not list(tmp_path.iterdir())


class Wrong(torch.nn.Module):
    """Energies of a wrong shape, or not finite, or with an output nobody knows."""

    def __init__(self, how: str):
        super().__init__()
        self.how = how
        self.species = [14]
        self.cutoff = 4.0
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, species: Tensor, edge_index: Tensor, edge_vectors: Tensor, reverse_edges: Tensor,
                inputs: dict[str, Tensor]) -> dict[str, Tensor]:  # fmt: skip
        energies = self.weight * torch.ones(species.size(0), dtype=edge_vectors.dtype)
        energies = energies + 0.0 * edge_vectors.sum()
        if self.how == "shape":
            return {"energies": energies[:1]}
        if self.how == "nan":
            return {"energies": energies / 0.0}
        return {"energies": energies, "charges": energies}


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("shape", r"`energies` must have shape \[4\]"),
        ("nan", "is not finite"),
        ("name", "unknown output `charges`"),
    ],
)
def test_network_that_breaks_the_contract_is_not_exported(tmp_path, how, message):
    with pytest.raises(MLIPError, match=message):
        export_toy(tmp_path / "a.pt", Wrong(how), reference_energies={})
    assert not list(tmp_path.iterdir())


def test_weights_that_are_not_finite_are_not_exported(tmp_path):
    network = PairNetwork([8, 14], 4.0)
    with torch.no_grad():
        network.strength[3] = float("inf")
    with pytest.raises(MLIPError, match="weight `network.strength` is not finite"):
        export_toy(tmp_path / "a.pt", network)


def test_half_precision_weights_are_not_exported(tmp_path):
    with pytest.raises(MLIPError, match=r"all be float32 or all float64.*bfloat16"):
        export_toy(tmp_path / "a.pt", PairNetwork([8, 14], 4.0).to(torch.bfloat16))


def test_missing_metadata_is_named(tmp_path):
    from ase_mlip.model_file.model import export_model

    with pytest.raises(ModelFileError, match="`metadata` needs `cutoff`"):
        export_model(PairNetwork([14], 4.0), tmp_path / "a.pt", {"name": "x", "species": [14]})


# ---- writing -----------------------------------------------------------------------------------------------


def test_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.pt"
    export_toy(path)
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        export_toy(path, PairNetwork([8, 14], 4.5))
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.pt"]


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"cannot write `.*nowhere/a.pt`: there is no folder"):
        export_toy(tmp_path / "nowhere" / "a.pt")


def test_file_size_limit_leaves_the_old_file(tmp_path):
    """A real failure of write(), in the middle of the file."""
    path = tmp_path / "a.pt"
    path.write_bytes(b"old")
    code = (
        "import resource, signal, sys; from ase_mlip.provenance import write_atomically\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "write_atomically(sys.argv[1], b'x' * 100_000)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert done.returncode == 1
    assert f"File too large: '{path}'" in done.stderr
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.pt"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 4096
