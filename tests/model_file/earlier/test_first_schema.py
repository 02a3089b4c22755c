"""Files of schema 1 and networks of contract 1: the numbers of the version that wrote them, also in threads.

``data/schema_1_*.pt`` and their numbers were written by version 0.1.0 with the networks of ``toy.py`` and an
s-NNP with random weights.

It also tests `first_contract`.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from threads import in_threads
from torch import Tensor
from toy import AnisotropicNetwork, export_toy, silica

from ase_mlip import MLIPCalculator, SymmetrizedModel, export_model, load_model
from ase_mlip.cli.program import main
from ase_mlip.errors import MLIPError
from ase_mlip.graph.neighbors import build_graph
from ase_mlip.model_file.earlier.first_contract import unwrapped
from ase_mlip.model_file.earlier.first_schema import FirstSchema
from ase_mlip.model_file.info import find_model, read_info, shipped_models
from ase_mlip.rotations.averaging import PLAIN
from ase_mlip.rotations.schemes import find_averaging

DATA = Path(__file__).parents[2] / "files"
EXPECTED = json.loads((DATA / "schema_1.json").read_text())
AVERAGINGS = {"none": PLAIN, "octahedral": find_averaging("octahedral")}
SAME = {"rtol": 0, "atol": 1e-11}


@pytest.fixture(scope="module", params=["unconstrained", "snnp"])
def old(request):
    return load_model(DATA / f"schema_1_{request.param}.pt", device="cpu", dtype="float64")


def evaluate(model, averaging: str) -> dict:
    outputs = ["forces", "virial", "spread", *(name for name in model.info.outputs if name != "energies")]
    return model(build_graph(silica(), model.info.cutoff), outputs, AVERAGINGS[averaging])


def compare(found: dict, model, averaging: str) -> None:
    kind = "snnp" if model.info.equivariant else "unconstrained"
    expected = EXPECTED[f"{kind} {averaging}"]
    assert {"energies", "energy", "forces", "virial"} <= expected.keys() <= found.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name].numpy(), value, **SAME, err_msg=name)


@pytest.mark.parametrize("averaging", AVERAGINGS)
def test_a_file_of_schema_1_gives_the_numbers_of_its_time(old, averaging):
    assert old.info.schema_version == 1 and isinstance(old.potential, FirstSchema)
    compare(evaluate(old, averaging), old, averaging)


def test_threads_with_a_file_of_schema_1_wait_for_each_other(old):
    schemes = [*AVERAGINGS, *AVERAGINGS]
    for _ in range(3):
        found = in_threads([lambda scheme=scheme: evaluate(old, scheme) for scheme in schemes])
        for mine, scheme in zip(found, schemes, strict=True):
            compare(mine, old, scheme)


def test_only_what_is_wanted_comes_back(old):
    graph = build_graph(silica(), old.info.cutoff)
    assert old(graph, ()).keys() == {"energies", "energy"}
    assert old(graph, ["forces"]).keys() == {"energies", "energy", "forces"}
    with pytest.raises(MLIPError, match="has no `charges`; expected some of energies, energy, forces"):
        old(graph, ["charges"])


def test_the_exported_averaging_is_that_of_the_file():
    averaged = load_model(DATA / "schema_1_unconstrained.pt", device="cpu", dtype="float64")
    assert averaged.exported.name == "octahedral" and len(averaged.exported.rotations) == 24
    atoms = silica()
    native = load_model(DATA / "schema_1_snnp.pt", device="cpu", dtype="float64")
    atoms.calc = MLIPCalculator(native, device="cpu")
    assert atoms.calc.parameters["kernel"] == "native"
    np.testing.assert_allclose(atoms.get_forces(), EXPECTED["snnp none"]["forces"], **SAME)


# ---- written again ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["unconstrained", "snnp"])
def test_written_again_it_is_of_this_schema_with_the_same_numbers(tmp_path, name):
    from click.testing import CliRunner

    source, target = DATA / f"schema_1_{name}.pt", tmp_path / "new.pt"
    result = CliRunner().invoke(main, ["export", "--from", "model-file", str(source), "-o", str(target)])
    assert result.exit_code == 0, result.output
    assert result.output.endswith("schema 2\n")
    before, after = read_info(source), read_info(target)
    assert after.schema_version == 2
    for claim in ("name", "species", "outputs", "symmetrization", "reference_energies", "license", "dtype"):
        assert getattr(after, claim) == getattr(before, claim), claim
    model = load_model(target, device="cpu", dtype="float64")
    assert not isinstance(model.potential, FirstSchema)
    for averaging in AVERAGINGS:
        compare(evaluate(model, averaging), model, averaging)
    weights = load_model(source, device="cpu").module.state_dict()
    again = load_model(target, device="cpu").module.state_dict()
    stored = {key.removeprefix("network."): value for key, value in weights.items()}
    kept = {key.removeprefix("network.").replace("network.network", "network"): v for key, v in again.items()}
    assert {key.split(".")[-1] for key in stored} == {key.split(".")[-1] for key in kept}
    for key, value in stored.items():
        assert any(value.dtype == v.dtype and torch.equal(value, v) for v in kept.values()), key


def test_options_of_checkpoints_mean_nothing_for_a_model_file(tmp_path):
    from click.testing import CliRunner

    arguments = ["export", "--from", "model-file", "snnp-si", "-o", str(tmp_path / "a.pt"), "--head", "x"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2 and "`--head` means nothing for model-file" in result.output


def test_export_model_takes_a_loaded_file_of_schema_1(tmp_path, old):
    export_model(old.module, tmp_path / "new.pt", old.info)
    model = load_model(tmp_path / "new.pt", device="cpu", dtype="float64")
    assert model.info.schema_version == 2
    compare(evaluate(model, "octahedral"), model, "octahedral")
    if old.info.equivariant:
        assert MLIPCalculator(model).parameters["kernel"] == "native"


def test_shipped_files_are_of_this_schema_and_give_all_they_have():
    for name in shipped_models():
        info = read_info(find_model(name))
        assert info.schema_version == 2
        assert ("features" in info.outputs) == name.startswith("pet-")


# ---- networks of contract 1 ---------------------------------------------------------------------


class OfContract1(torch.nn.Module):
    """Five arguments, and all outputs at every call."""

    def __init__(self, network: AnisotropicNetwork):
        super().__init__()
        self.network, self.species, self.cutoff = network, network.species, network.cutoff
        self.direct = network.direct

    def forward(
        self,
        species: Tensor,
        edge_index: Tensor,
        edge_vectors: Tensor,
        reverse_edges: Tensor,
        inputs: dict[str, Tensor],
    ) -> dict[str, Tensor]:
        wanted = ["direct_forces", "direct_stresses"]
        return self.network(species, edge_index, edge_vectors, reverse_edges, inputs, wanted)


class OfContract1WithGradients(OfContract1):
    """The same with derivatives of its own, beside which it leaves its heads out."""

    def energies_and_gradients(
        self,
        species: Tensor,
        edge_index: Tensor,
        edge_vectors: Tensor,
        reverse_edges: Tensor,
        inputs: dict[str, Tensor],
        node_weights: Tensor,
    ) -> tuple[dict[str, Tensor], Tensor]:
        vectors = edge_vectors.detach().requires_grad_(True)
        found = self.network(species, edge_index, vectors, reverse_edges, inputs, [])
        gradient = torch.autograd.grad([(node_weights * found["energies"]).sum()], [vectors])[0]
        if gradient is None:
            gradient = torch.zeros_like(vectors)
        return {"energies": found["energies"].detach()}, gradient


@pytest.mark.parametrize("make", [OfContract1, OfContract1WithGradients])
def test_networks_of_contract_1_are_taken_and_give_the_same(tmp_path, make):
    network = AnisotropicNetwork([8, 14], 4.0, direct=True)
    export_toy(tmp_path / "new.pt", network)
    export_toy(tmp_path / "old.pt", make(network))
    assert unwrapped(SymmetrizedModel(make(network)).network).network is network
    models = [load_model(tmp_path / name, device="cpu", dtype="float64") for name in ("new.pt", "old.pt")]
    assert models[0].info.outputs == models[1].info.outputs
    for averaging in AVERAGINGS:
        expected, found = (evaluate(model, averaging) for model in models)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(found[name].numpy(), value.numpy(), rtol=0, atol=1e-12, err_msg=name)
