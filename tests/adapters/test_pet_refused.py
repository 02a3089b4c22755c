"""PET checkpoints that are refused, each by its cause, and those that metatrain wrote in earlier versions."""

import gzip
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.data import atomic_numbers
from calls import call

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of a library that only this test imports
    metatrain = pytest.importorskip("metatrain.pet", reason="needs metatrain (2026.4.1), the oracle")

from ase_mlip import MLIPCalculator
from ase_mlip.building import _ops
from ase_mlip.converters import AdapterError, adapt, common, export_adapted
from ase_mlip.converters.structures import parity_structures
from ase_mlip.graph.neighbors import build_graph
from ase_mlip.model_file.potential import Potential
from ase_mlip.voigt import PAIRS
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda hypers: hypers["long_range"].update(enable=True), "sets `long_range.enable`.*expected false"),
        (lambda hypers: hypers.update(magic=3), "`magic` = 3, unknown here; it is of a newer metatrain"),
    ],
    ids=["long-range features", "a setting of later versions"],
)
def test_a_setting_that_the_checkpoint_holds(checkpoint, tmp_path, change, message):
    """Of long-range features metatrain's own module needs a package that is not here: refused before."""
    path = tmp_path / "model.ckpt"
    altered(checkpoint, path, lambda content: change(content["model_data"]["model_hypers"]))
    refused(path, message)


def test_other_lengths(checkpoint, tmp_path):
    path = tmp_path / "model.ckpt"
    info = "dataset_info"
    altered(checkpoint, path, lambda c: setattr(c["model_data"][info], "length_unit", "nanometer"))
    refused(path, "lengths are in `nanometer`, expected Å")


def test_a_species_that_the_model_does_not_know(checkpoint, tmp_path):
    export_adapted(adapt("pet", checkpoint, allow_pickle=True), tmp_path / "model.pt")
    atoms = Atoms("Ge", calculator=MLIPCalculator(tmp_path / "model.pt"))
    with pytest.raises(ValueError, match="Ge"):
        atoms.get_potential_energy()


@pytest.mark.parametrize(
    ("package", "version", "range_"),
    [
        ("metatrain", "2025.13", "at least 2026.4 and below 2027"),
        ("metatrain", "2027.1", "at least 2026.4 and below 2027"),
        ("metatomic-torch", "0.1.16", "at least 0.1.17 and below 0.2"),
        ("metatomic-torch", "0.2.0", "at least 0.1.17 and below 0.2"),
    ],
)
def test_another_version_of_the_packages(checkpoint, monkeypatch, package, version, range_):
    """Named with the version that is there, the ones that are read, and pip's command."""
    installed = common.importlib.metadata.version
    monkeypatch.setattr(
        common.importlib.metadata, "version", lambda name: version if name == package else installed(name)
    )
    refused(checkpoint, f"`{package}` is {version}; expected {range_}: `pip install '{package}>=")


def test_without_metatrain(checkpoint, monkeypatch):
    monkeypatch.setattr(common.importlib.util, "find_spec", lambda name: None)
    refused(checkpoint, "`metatrain` is not installed.*pip install 'metatrain==2026.4.1' 'metatomic-torch==")


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
    refused(path, "`mtt::charge` have no place.*`head=.energy.` leaves them out")
    assert "mtt::charge" in adapt("pet", path, allow_pickle=True, head="energy").metadata["description"]
    refused(write(path, public_model({"mtt::charge": ""})), "no target `energy`")


def test_pickles_and_modals_are_refused(checkpoint):
    refused(checkpoint, "pass `allow_pickle=True`", allow_pickle=False)
    refused(checkpoint, "`modal` means nothing for PET", modal="pbe")


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


SHIPPED = Path(metatrain.__file__).parent / "tests" / "checkpoints"
CONDITIONING = "model-v15-conditioning_trainer-v13"
# From the newest to the first, which is residual and post-norm with a cosine cutoff.
PROVEN = ["v16_trainer-v15", "v12_trainer-v13", "v8_trainer-v7", "v1_trainer-v1"]
NAMES = sorted(path.name.removesuffix(".ckpt.gz") for path in SHIPPED.glob("*.ckpt.gz"))


def shipped_with_metatrain(name: str, folder: Path) -> Path:
    source = SHIPPED / f"{name}.ckpt.gz"
    if not source.is_file():
        pytest.skip(f"this metatrain ships no {source.name}")
    (folder / "old.ckpt").write_bytes(gzip.decompress(source.read_bytes()))
    return folder / "old.ckpt"


@pytest.mark.parametrize("name", PROVEN)
def test_checkpoints_of_earlier_versions(name, tmp_path):
    """Written by metatrain as it was then; the whole proof."""
    path = shipped_with_metatrain(f"model-{name}", tmp_path)
    adapted = adapt("pet", path, allow_pickle=True, head="energy")
    export_adapted(adapted, tmp_path / "old.pt")


def test_checkpoints_of_all_versions_are_tried():
    if not NAMES:
        pytest.skip("this metatrain ships no checkpoints")
    assert {int(name.split("_")[0].removeprefix("model-v").split("-")[0]) for name in NAMES} == {
        *range(1, 17)
    }


@pytest.mark.parametrize("name", [name for name in NAMES if name != CONDITIONING])
def test_every_checkpoint_that_metatrain_ships(name, tmp_path):
    """Energy, forces and stress of a crystal, in float64."""
    adapted = adapt("pet", shipped_with_metatrain(name, tmp_path), allow_pickle=True, head="energy")
    hypers = adapted.module.hypers
    atoms = parity_structures(hypers.species, hypers.cutoff)["triclinic crystal"]
    expected = adapted.reference(atoms)
    _ops.load()
    potential = Potential(adapted.module.to(torch.float64), numbered(adapted.metadata["reference_energies"]))
    graph = build_graph(atoms, hypers.cutoff)
    found = call(potential, graph)
    assert float(found["energy"]) == pytest.approx(expected.energy, rel=common.ENERGY)
    np.testing.assert_allclose(found["forces"].numpy(), expected.forces, atol=common.FORCES, rtol=0)
    stress = -found["virial"][0].numpy() / atoms.get_volume()
    stress = [0.5 * (stress + stress.T)[pair] for pair in PAIRS]
    np.testing.assert_allclose(stress, expected.stress, atol=common.STRESS, rtol=0)
    assert np.abs(expected.forces).max() > 1e-3


def numbered(energies: dict[str, float]) -> dict[int, float]:
    return {atomic_numbers[symbol]: energy for symbol, energy in energies.items()}


def test_a_trained_conditioning_is_refused(tmp_path):
    refused(shipped_with_metatrain(CONDITIONING, tmp_path), "`system_conditioning`")
