"""Weights out of the file itself, the weighted backward pass, and a model file of changed weights.

It also tests `converters.export_again`.
"""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from toy import PairNetwork, export_toy, silica

from ase_mlip import MLIPCalculator
from ase_mlip.converters.export_again import loaded_network, made_anew
from ase_mlip.data.references import Sample
from ase_mlip.errors import MLIPError
from ase_mlip.model_file.export import export_model
from ase_mlip.model_file.model import load_model
from ase_mlip.stability_training import gradients
from ase_mlip.stability_training import trainable as trainable_module
from ase_mlip.stability_training.trainable import open_trainable


def frames(n: int, seed: int = 0) -> list[Atoms]:
    found = []
    for k in range(n):
        atoms = bulk("Si", cubic=True)
        atoms.rattle(0.15, seed=seed + k)
        found.append(atoms)
    return found


def in_float64(trainable):
    trainable.network.double()
    return trainable


@pytest.mark.parametrize("name", ["snnp-si", "pet-si", "snnp-water"])
def test_the_network_of_a_shipped_file_is_rebuilt(name):
    trainable = open_trainable(name)
    assert trainable.rebuilt
    assert trainable.dtype == getattr(torch, trainable.info.dtype)
    file = load_model(name, dtype="float64")
    structure = file.info.self_test["structure"]
    atoms = Atoms(structure["numbers"], structure["positions"], cell=structure["cell"], pbc=True)
    expected = float(file(trainable.graph([atoms]), outputs=[])["energy"])
    references = float(trainable.table[atoms.numbers].sum())
    found = in_float64(trainable).potential_energies([atoms])[0] + references
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_a_network_that_is_rebuilt_otherwise_is_refused(monkeypatch):
    """One weight off by 1e-9 of itself is seen."""

    def otherwise(old):
        network = made_anew(old)
        with torch.no_grad():
            next(network.parameters()).mul_(1.0 + 1e-9)
        return network

    monkeypatch.setattr(trainable_module, "made_anew", otherwise)
    with pytest.raises(MLIPError, match=r"rebuilt network to give the energies of the file, got a relative"):
        open_trainable("snnp-si")


def test_the_weighted_pass_is_the_explicit_jacobian():
    trainable = in_float64(open_trainable("snnp-si"))
    samples = frames(4)
    parameters = [p for _, p in trainable.parameters()]
    coefficients = np.array([0.3, -1.2, 0.7, 0.0])
    jacobian = []
    for atoms in samples:
        energy = trainable.energies(trainable.graph([atoms])).sum()
        jacobian.append(torch.autograd.grad(energy, parameters, allow_unused=True))
    gradients.add_weighted_energies(trainable, samples, coefficients)
    for k, parameter in enumerate(parameters):
        rows = [row[k] for row in jacobian]
        if rows[0] is None:
            continue
        expected = sum(c * row for c, row in zip(coefficients, rows, strict=True))
        assert float((parameter.grad - expected).abs().max()) < 1e-10 * max(1.0, float(expected.abs().max()))


def test_weights_of_single_atoms_are_weights_of_their_energies():
    trainable = in_float64(open_trainable("snnp-si"))
    samples, rng = frames(2), np.random.default_rng(1)
    c = rng.normal(size=(2, 8))
    gradients.add_weighted_energies(trainable, samples, c)
    local = [p.grad.clone() for _, p in trainable.parameters() if p.grad is not None]
    for _, p in trainable.parameters():
        p.grad = None
    graph = trainable.graph(samples)
    (torch.from_numpy(c.flatten()) * trainable.energies(graph)).sum().backward()
    whole = [p.grad for _, p in trainable.parameters() if p.grad is not None]
    for one, other in zip(local, whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


def test_the_gradient_of_a_pressure_is_that_of_finite_differences():
    trainable = in_float64(open_trainable("snnp-si"))
    samples, factors = frames(2), np.array([0.7, -0.4])
    name, parameter = next((n, p) for n, p in trainable.parameters() if n.startswith("phi"))
    gradients.add_pressures(trainable, samples, factors)
    place = int(parameter.grad.abs().argmax())
    flat, h, ends = parameter.data.view(-1), 1e-4, []
    for sign in (1.0, -1.0):
        flat[place] += sign * h
        ends.append(factors @ gradients.pressures(trainable, samples))
        flat[place] -= sign * h
    assert float(parameter.grad.view(-1)[place]) == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-6)
    calculator = MLIPCalculator("snnp-si", dtype="float64")
    atoms = samples[0].copy()
    atoms.calc = calculator
    expected = -np.trace(atoms.get_stress(voigt=False)) / 3.0
    assert gradients.pressures(trainable, samples[:1])[0] == pytest.approx(expected, rel=1e-9)


def test_another_familys_network_is_trained_as_it_is_scripted(tmp_path):
    export_toy(tmp_path / "toy.pt", PairNetwork(species=[8, 14], cutoff=4.0))
    trainable = open_trainable(tmp_path / "toy.pt")
    assert not trainable.rebuilt
    gradients.add_weighted_energies(trainable, [silica()], np.ones(1))
    assert float(trainable.parameters()[0][1].grad.abs().max()) > 0.0
    with torch.no_grad():
        trainable.parameters()[0][1].mul_(2.0)  # energies are quadratic in the strengths
    before = MLIPCalculator(tmp_path / "toy.pt").evaluate([silica()], ["energy"])[0]["energy"]
    trainable.export(tmp_path / "new.pt", {}, "new")  # as it has gradients
    for model in (trainable.model(), tmp_path / "new.pt"):
        after = MLIPCalculator(model).evaluate([silica()], ["energy"])[0]["energy"]
        references = float(trainable.table[silica().numbers].sum())
        assert after - references == pytest.approx(4.0 * (before - references), rel=1e-5)


class Frozen(PairNetwork):
    """Its energy does not tell how it depends on the weights."""

    def forward(
        self,
        species: torch.Tensor,
        edge_index: torch.Tensor,
        edge_vectors: torch.Tensor,
        reverse_edges: torch.Tensor,
        inputs: dict[str, torch.Tensor],
        outputs: list[str],
    ) -> dict[str, torch.Tensor]:
        """Energies [N] in eV from edge_vectors [E, 3] in Å."""
        distances = torch.linalg.vector_norm(edge_vectors, dim=1)
        phi = torch.clamp(1.0 - distances / self.cutoff, min=0.0) ** 3
        pair = self.strength.detach()[species[edge_index[0]]] * self.strength[species[edge_index[1]]]
        energies = torch.zeros(species.size(0), dtype=edge_vectors.dtype, device=edge_vectors.device)
        return {"energies": energies.index_add(0, edge_index[0], 0.5 * pair * phi)}


def test_a_network_whose_derivative_is_wrong_is_refused_by_name(tmp_path):
    path = tmp_path / "frozen.pt"
    facts = {"species": [8, 14], "cutoff": 4.0, "message_passing_layers": 1, "interaction_range": 4.0}
    export_model(
        Frozen(species=[8, 14], cutoff=4.0), path, {"name": "f", **facts, "architecture": {"name": "frozen"}}
    )
    with pytest.raises(MLIPError, match=r"holds frozen: expected the derivative.*finite differences"):
        open_trainable(path)


def test_changed_weights_reach_calculators_and_a_file(tmp_path):
    trainable = open_trainable("snnp-si")
    atoms = frames(1)[0]
    before = MLIPCalculator(trainable.model()).evaluate([atoms], ["energy"])[0]["energy"]
    atoms.calc = MLIPCalculator("snnp-si")
    assert before == pytest.approx(atoms.get_potential_energy(), abs=1e-4)
    kept = trainable.weights()
    with torch.no_grad():
        trainable.parameters()[0][1].mul_(1.1)
    after = MLIPCalculator(trainable.model()).evaluate([atoms], ["energy"])[0]["energy"]
    assert abs(after - before) > 1e-3
    trainable.export(tmp_path / "new.pt", {"stability_training": {"lambda": 1.0}}, "new")
    atoms.calc = MLIPCalculator(tmp_path / "new.pt")
    assert atoms.get_potential_energy() == pytest.approx(after, abs=1e-4)
    info = load_model(tmp_path / "new.pt").info
    assert info.name == "new"
    assert info.training["stability_training"] == {"lambda": 1.0}
    trainable.set_weights(kept)
    again = MLIPCalculator(trainable.model()).evaluate([atoms], ["energy"])[0]["energy"]
    assert again == before


def test_mean_absolute_errors_are_those_of_evaluate():
    from ase_mlip.checks.evaluate import evaluate

    samples, rng = [], np.random.default_rng(2)
    for atoms in frames(2):
        samples.append(Sample(atoms, energy=-40.0, forces=rng.normal(size=(8, 3))))
    trainable = open_trainable("snnp-si")
    found = gradients.force_error(trainable, trainable.dataset(samples))
    expected = evaluate("snnp-si", [sample.to_atoms() for sample in samples])
    assert found["forces"] == pytest.approx(expected.forces_mae, rel=1e-5)
    assert found["energy"] == pytest.approx(expected.energy_mae, rel=1e-4)


def test_a_loaded_model_is_written_on_only_when_the_weights_have_changed():
    """Another thread may be computing with it: autograd refuses weights that were written on meanwhile."""
    trainable = open_trainable("pet-si")
    live = list(loaded_network(trainable.model()).parameters())
    before = [p._version for p in live]
    trainable.model()
    assert [p._version for p in live] == before
    name, weight = trainable.parameters()[0]
    with torch.no_grad():
        weight.mul_(1.5)
    trainable.model()
    changed = [p._version != version for p, version in zip(live, before, strict=True)]
    assert sum(changed) == 1
    assert torch.equal(live[changed.index(True)], weight), name
