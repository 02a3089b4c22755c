"""PET checkpoints that are refused, each by its cause, and those that metatrain wrote in earlier versions."""

import gzip
import warnings
import zipfile
from pathlib import Path

import pytest
import torch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of a library that only this test imports
    metatrain = pytest.importorskip("metatrain.pet", reason="needs metatrain (2026.4.1), the oracle")

from ase_mlip.adapters import AdapterError, adapt, export_adapted
from tests.adapters.pet_checkpoints import public_model, write


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("small") / "model.ckpt", public_model(num_gnn_layers=1))


def altered(checkpoint: Path, path: Path, change) -> Path:
    content = torch.load(checkpoint, weights_only=False)
    change(content)
    torch.save(content, path)
    return path


def refused(path, message: str, **options) -> None:
    with pytest.raises(AdapterError, match=message):
        adapt("pet", path, **{"allow_pickle": True, **options})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"zbl": True}, "`zbl`"),
        ({"system_conditioning": True}, "`system_conditioning`"),
    ],
)
def test_a_setting_that_cannot_be_carried_over_is_named(changes, message, tmp_path):
    refused(write(tmp_path / "model.ckpt", public_model(**changes)), message)


def test_long_range_features_are_refused(checkpoint, tmp_path):
    """Their module needs a package that is not here; the adapter is shown what a model with them says."""
    from ase_mlip.adapters.pet import _hypers

    model = public_model()
    model.hypers["long_range"]["enable"] = True
    with pytest.raises(AdapterError, match="`long_range.enable`"):
        _hypers(model, {"energy": "energy"})
    with pytest.raises(AdapterError, match="`magic` = 3, unknown here"):
        model.hypers["long_range"]["enable"] = False
        model.hypers["magic"] = 3
        _hypers(model, {"energy": "energy"})


def test_lora_is_refused(tmp_path):
    from metatrain.pet.modules.finetuning import apply_finetuning_strategy

    model = public_model()
    strategy = {"method": "lora", "config": {"rank": 2, "alpha": 4}, "inherit_heads": {}, "read_from": None}
    model = apply_finetuning_strategy(model, strategy)
    content = model.get_checkpoint()
    content["best_model_state_dict"] = content["model_state_dict"]
    torch.save(content, tmp_path / "model.ckpt")
    refused(tmp_path / "model.ckpt", "`lora`")


def test_other_targets_are_named_and_left_out_on_request(tmp_path):
    model = public_model({"energy": "eV", "mtt::charge": ""})
    path = write(tmp_path / "model.ckpt", model)
    refused(path, "`mtt::charge` have no place.*`--head energy` leaves them out")
    assert "mtt::charge" in adapt("pet", path, allow_pickle=True, head="energy").metadata["description"]
    refused(write(path, public_model({"mtt::charge": ""})), "no target `energy`")


def test_pickles_and_modals_are_refused(checkpoint):
    refused(checkpoint, "--allow-pickle", allow_pickle=False)
    refused(checkpoint, "`--modal` means nothing for PET", modal="pbe")


@pytest.mark.parametrize(
    ("version", "message"), [(0, "version 0.*too old"), (99, "version 99.*upgrade metatrain")]
)
def test_a_checkpoint_of_another_version(checkpoint, tmp_path, version, message):
    """99: of a later metatrain. 0: of none."""
    path = tmp_path / "model.ckpt"
    refused(altered(checkpoint, path, lambda c: c.update(model_ckpt_version=version)), message)


def test_another_architecture_is_named(checkpoint, tmp_path):
    path = tmp_path / "model.ckpt"
    refused(altered(checkpoint, path, lambda c: c.update(architecture_name="soap_bpnn")), "`soap_bpnn`")
    torch.save({"architecture_name": "llpr", "model_ckpt_version": 1, "wrapped_model_checkpoint": None}, path)
    refused(path, "has no `architecture_name`")


def test_a_damaged_file(checkpoint, tmp_path):
    path = tmp_path / "model.ckpt"
    data = checkpoint.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    refused(path, "cannot be read")
    path.write_bytes(b"")
    refused(path, "cannot be read")
    path.write_bytes(b"architecture: pet\n")
    refused(path, "cannot be read")
    with zipfile.ZipFile(checkpoint) as whole, zipfile.ZipFile(path, "w") as archive:
        for member in whole.namelist():  # every byte of the pickle's middle is another
            content = whole.read(member)
            if member.endswith("data.pkl"):
                middle = len(content) // 2
                content = content[:middle] + bytes(255 - b for b in content[middle:])
            archive.writestr(member, content)
    refused(path, "cannot be read")
    refused(tmp_path / "missing.ckpt", "no such file")
    refused(
        altered(checkpoint, path, lambda c: c["best_model_state_dict"].popitem()), "cannot build the model"
    )


def test_an_exported_model_is_not_a_checkpoint(trained):
    refused(trained.with_name("model.pt"), "exported model of metatomic|cannot be read")


def shipped_with_metatrain(name: str, folder: Path) -> Path:
    source = Path(metatrain.__file__).parent / "tests" / "checkpoints" / f"{name}.ckpt.gz"
    if not source.is_file():
        pytest.skip(f"this metatrain ships no {source.name}")
    (folder / "old.ckpt").write_bytes(gzip.decompress(source.read_bytes()))
    return folder / "old.ckpt"


@pytest.mark.parametrize("name", ["v16_trainer-v15", "v12_trainer-v13", "v8_trainer-v7", "v1_trainer-v1"])
def test_checkpoints_of_earlier_versions(name, tmp_path):
    """Written by metatrain as it was then, the first ones residual and post-norm with a cosine cutoff."""
    path = shipped_with_metatrain(f"model-{name}", tmp_path)
    adapted = adapt("pet", path, allow_pickle=True, head="energy")
    export_adapted(adapted, tmp_path / "old.pt")


def test_a_trained_conditioning_is_refused(tmp_path):
    refused(shipped_with_metatrain("model-v15-conditioning_trainer-v13", tmp_path), "`system_conditioning`")
