"""Training from given weights: they are there at the start, and what does not fit is refused.

It also tests `configuration.hypers`.
"""

import shutil

import pytest
import torch
from ase.io import read, write
from snnp_training import prepare

from ase_mlip.configuration.run import read_config
from ase_mlip.errors import ConfigurationError, DataError
from ase_mlip.training.export import load_native
from ase_mlip.training.start import read_start
from ase_mlip.training.train import train


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A short training of an s-NNP on copper."""
    folder = tmp_path_factory.mktemp("first")
    path, _ = prepare(folder, optimizer="linear_start = 0.0", epochs=2)
    return train(path, dynamics=0.0)


def further(first, folder, init_from, lines="", epochs=1, rate=1e-9):
    text = (first.parent.parent / "run.toml").read_text()
    head, data = text.split("[data]")
    data = data.split("[model]")[0]
    write(folder / "train.xyz", read(first.parent.parent / "train.xyz", ":"))
    path = folder / "run.toml"
    path.write_text(
        f'{head}init_from = "{init_from}"\n[data]{data}{lines}\n'
        f"[optimizer]\nepochs = {epochs}\nbatch_size = 4\nlearning_rate = {rate}\nema_decay = 0.0\n"
    )
    return path


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_the_weights_and_reference_energies_are_those_given(kind, first, tmp_path):
    start = first if kind == "file" else first.parent
    path = further(first, tmp_path, start)
    exported = train(path, dynamics=0.0)
    before, references = load_native(first.parent / "best.safetensors")
    after, same = load_native(exported.parent / "best.safetensors")
    for one, other in zip(before.state_dict().values(), after.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)
    assert same == pytest.approx(references)
    found = read_start(str(start), tmp_path)
    assert found.reference_energies == pytest.approx(references)


def test_a_run_does_not_go_on_as_one_from_other_weights(first, tmp_path):
    """Known by their content, under whatever name."""
    for name in ("start.pt", "moved.pt"):
        shutil.copy(first, tmp_path / name)
        train(further(first, tmp_path, name), dynamics=0.0)
    text = (first.parent.parent / "run.toml").read_text()
    path = first.parent.parent / "longer.toml"
    path.write_text(text.replace("epochs = 2", "epochs = 3").replace('output = "', 'output = "longer-'))
    shutil.copy(train(path, dynamics=0.0), tmp_path / "start.pt")
    with pytest.raises(DataError, match="`init_from` was .* and is .*`overwrite=True`"):
        train(further(first, tmp_path, "start.pt"), dynamics=0.0)


def test_the_network_is_that_of_the_file(first, tmp_path):
    config = read_config(further(first, tmp_path, first))
    assert config.model.radial_filters == 2 and config.model.species == [29]
    assert config.optimizer.linear_start == 0.0


def test_what_does_not_fit_is_refused(first, tmp_path):
    with pytest.raises(ConfigurationError, match="init_from: expected a model file"):
        read_config(further(first, tmp_path, "absent.pt"))
    with pytest.raises(ConfigurationError, match=r"\[model\]: expected no such table beside `init_from`"):
        read_config(further(first, tmp_path, first, '[model]\narchitecture = "snnp"'))
    path = further(first, tmp_path, first)
    path.write_text(path.read_text() + "linear_start = 1e-6\n")
    with pytest.raises(ConfigurationError, match="linear_start: expected 0 with `init_from`"):
        read_config(path)
    path = further(first, tmp_path, first)
    frames = read(tmp_path / "train.xyz", ":")
    for atoms in frames:
        atoms.numbers[0] = 28
    write(tmp_path / "train.xyz", frames)
    with pytest.raises(
        DataError, match="expected weights for all elements of the training data, got none for Ni"
    ):
        train(path, dynamics=0.0)


def test_networks_of_other_families_are_refused(pair_model_path, first, tmp_path):
    with pytest.raises(ConfigurationError, match="expected a network of this package"):
        read_config(further(first, tmp_path, pair_model_path))
