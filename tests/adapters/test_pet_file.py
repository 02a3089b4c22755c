"""What a model file says of the PET checkpoint that it comes from, and what exporting leaves behind."""

import os
import pickle
import random
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import bulk

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of a library that only this test imports
    pytest.importorskip("metatrain.pet", reason="needs metatrain (2026.4.1), the oracle")

from ase_mlip.converters import AdapterError, adapt, export_adapted
from ase_mlip.model_file.info import read_info
from tests.adapters.pet_checkpoints import public_model, write

NOT_STATED = "weights: as their authors state (the checkpoint records none); no foreign code inside"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("small") / "model.ckpt", public_model(num_gnn_layers=1))


def test_name_authors_licence_and_citation(tmp_path):
    """As the checkpoint states them; references of model, architecture and implementation, each once."""
    from metatomic.torch import ModelMetadata

    model = public_model(num_gnn_layers=1)
    references = {"model": ["doi:10.1/a", "doi:10.1/b"], "architecture": ["doi:10.1/a"]}
    texts = {"name": "silica", "description": "Of glass.", "authors": ["A. Smith", "B. Jones"]}
    model.metadata = ModelMetadata(references=references, **texts)
    path = tmp_path / "model.pt"
    export_adapted(adapt("pet", write(tmp_path / "model.ckpt", model), allow_pickle=True), path)
    info = read_info(path)
    assert (info.name, info.description) == ("silica", "Of glass.")
    assert info.training["authors"] == ["A. Smith", "B. Jones"]
    assert info.license == NOT_STATED
    citations = info.citation.split("; ")
    assert len(set(citations)) == len(citations) and {"doi:10.1/a", "doi:10.1/b"} < set(citations)


def test_a_checkpoint_that_states_nothing(checkpoint, tmp_path):
    """metatrain's own references stay; the name is the file's."""
    export_adapted(adapt("pet", checkpoint, allow_pickle=True), tmp_path / "model.pt")
    info = read_info(tmp_path / "model.pt")
    assert info.name == "model" and info.license == NOT_STATED
    assert "PET" in info.description and "model.ckpt" in info.description
    assert "arxiv.org" in info.citation.lower() or "doi.org" in info.citation.lower()
    assert len(info.training["checkpoint_sha256"]) == 64
    assert not info.equivariant and info.conservative


def test_the_process_is_left_as_it_was(checkpoint, tmp_path):
    """Warnings, torch's defaults and what torch.load refuses, after success and after a refusal."""

    def state():
        return (
            list(warnings.filters),
            dict(os.environ),
            torch.get_default_dtype(),
            torch.get_default_device(),
            torch.is_grad_enabled(),
            torch.get_num_threads(),
            torch.random.get_rng_state().tolist(),
            np.random.get_state()[1].tolist(),  # noqa: NPY002  (what metatrain would seed)
            random.getstate(),
            list(torch.serialization.get_safe_globals()),
            torch.load,
        )

    before = state()
    adapted = adapt("pet", checkpoint, allow_pickle=True)
    export_adapted(adapted, tmp_path / "model.pt")
    adapted.reference(bulk("Si"))
    assert state() == before
    with pytest.raises(AdapterError):
        adapt("pet", checkpoint, allow_pickle=True, head="other")
    assert state() == before
    with pytest.raises(pickle.UnpicklingError):
        torch.load(checkpoint)
