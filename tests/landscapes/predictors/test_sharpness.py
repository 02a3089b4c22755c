"""Sharpness: the matrix of a least-squares fit, float32 beside float64, and what has no gradient."""

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from random_allegro import random_allegro
from random_nequip import random_nequip
from random_pet import random_network

from ase_mlip import export_model, load_model
from ase_mlip.converters.converted_pet import ConvertedPET
from ase_mlip.data.references import ReferenceKeys, sample_from_atoms
from ase_mlip.errors import MLIPError
from ase_mlip.landscapes.losses import FrameLosses
from ase_mlip.landscapes.predictors.sharpness import LossGradient, filter_scales, sharpness
from ase_mlip.landscapes.weights import model_weights
from ase_mlip.networks.snnp.hypers import SNNPHypers
from ase_mlip.networks.snnp.snnp import SNNP


def samples(n=3):
    generator, found = np.random.default_rng(1), []
    for k in range(n):
        atoms = bulk("Si", "diamond", 5.4, cubic=True)
        atoms.rattle(0.1, seed=k)
        forces = generator.normal(size=(len(atoms), 3))
        atoms.calc = SinglePointCalculator(
            atoms, energy=float(-40.0 + k), forces=forces - forces.mean(axis=0)
        )
        found.append(sample_from_atoms(atoms, ReferenceKeys(), f"frame {k}"))
    return found


def exported(network, path, cutoff=4.0, layers=1, dtype="float64"):
    claims = {"name": "toy", "species": [14], "cutoff": cutoff, "message_passing_layers": layers}
    export_model(network, path, {**claims, "interaction_range": cutoff * layers})
    return load_model(path, dtype=dtype)


def snnp(hidden, **more):
    torch.manual_seed(3)
    hypers = {"species": [14], "cutoff": 4.0, "inner": 1.8, "hidden": hidden, "radial_intervals": 6, **more}
    network = SNNP(SNNPHypers(**hypers))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network


def pairs():
    return snnp([], radial_filters=0, angular_filters=0)


def matrices(losses, weights):
    """d(forces)/dθ [3 N, size] and d(energy per atom)/dθ [frames, size] of a model that is linear in θ."""
    of_energy, of_forces = [], []
    with weights.kept():
        weights.move(torch.zeros(weights.size, dtype=torch.float64))
        energy0, forces0 = losses.results()
        for unit in torch.eye(weights.size, dtype=torch.float64):
            weights.move(unit)
            energy, forces = losses.results()
            of_energy.append((energy - energy0).numpy() / 8.0)
            of_forces.append((forces - forces0).numpy().ravel())
    return np.array(of_energy).T, np.array(of_forces).T


@pytest.mark.parametrize("quantity", ["forces", "energy"])
def test_linear_model_has_the_matrix_of_its_least_squares_fit(quantity, tmp_path):
    model = exported(pairs(), tmp_path / "linear.pt")
    losses, weights = FrameLosses(model, samples()), model_weights(model)
    of_energy, of_forces = matrices(losses, weights)
    rows = of_forces if quantity == "forces" else of_energy
    scales = filter_scales(weights).numpy()
    hessian = 2.0 * rows.T @ rows / len(rows) * np.outer(scales, scales)
    found = sharpness(losses, weights, quantity, probes=40)
    assert found.largest == pytest.approx(np.linalg.eigvalsh(hessian)[-1], rel=1e-7)
    assert abs(found.trace - np.trace(hessian)) < 4.0 * found.trace_error + 1e-9 * found.trace
    assert found.trace_error < 0.3 * found.trace
    assert (found.converged, found.probes) == (True, 40)


def test_lanczos_finds_the_largest_of_many(tmp_path, monkeypatch):
    monkeypatch.setattr("ase_mlip.landscapes.predictors.sharpness.DENSE", 0)
    model = exported(
        snnp([], radial_filters=0, angular_filters=0, radial_intervals=30), tmp_path / "linear.pt"
    )
    losses, weights = FrameLosses(model, samples()), model_weights(model)
    assert weights.size > 24
    _, rows = matrices(losses, weights)
    scales = filter_scales(weights).numpy()
    hessian = 2.0 * rows.T @ rows / len(rows) * np.outer(scales, scales)
    assert sharpness(losses, weights, probes=2).largest == pytest.approx(
        np.linalg.eigvalsh(hessian)[-1], rel=1e-3
    )


NETWORKS = {
    "s-NNP": lambda: snnp([5], radial_filters=2, angular_filters=2),
    "PET": random_network,
    "converted PET": lambda: ConvertedPET(random_network(), 0.7, torch.ones(119, dtype=torch.float64), 1.0),
    "NequIP": lambda: random_nequip(2, [14], 4.0),
    "Allegro": lambda: random_allegro([14], 4.0),
}


@pytest.mark.parametrize("family", NETWORKS)
@pytest.mark.parametrize("quantity", ["forces", "energy"])
def test_gradient_is_that_of_differences_of_the_loss(family, quantity, tmp_path):
    model = exported(NETWORKS[family](), tmp_path / "model.pt", layers=1 if family == "s-NNP" else 2)
    losses, weights = FrameLosses(model, samples(2)), model_weights(model)
    gradient = LossGradient(losses, weights, quantity)
    stored = [tensor.tensors[0].clone() for tensor in weights.tensors]
    with gradient.ready():
        found = gradient.at(weights.start)
        generator = torch.Generator().manual_seed(0)
        for _ in range(3):
            step = 1e-5 * torch.randn(weights.size, generator=generator, dtype=torch.float64)
            difference = gradient.value(weights.start + step) - gradient.value(weights.start - step)
            assert float(found @ step) == pytest.approx(0.5 * difference, rel=1e-5, abs=1e-12)
    assert all(torch.equal(a, t.tensors[0]) for a, t in zip(stored, weights.tensors, strict=True))
    assert not any(tensor.tensors[0].requires_grad for tensor in weights.tensors)


def test_float32_gives_the_same_to_its_precision(tmp_path):
    network = snnp([5], radial_filters=2, angular_filters=2)
    found = []
    for dtype in ("float64", "float32"):
        model = exported(network, tmp_path / f"{dtype}.pt", dtype=dtype)
        found.append(sharpness(FrameLosses(model, samples(2)), model_weights(model), probes=4))
    assert found[1].trace == pytest.approx(found[0].trace, rel=0.01)
    assert found[1].largest == pytest.approx(found[0].largest, rel=0.01)


def test_trace_is_the_mean_curvature_of_lines(tmp_path):
    """Σ_f |θ_f|²/n_f tr H_ff: Gaussian directions with the norms of the filters, on a quadratic loss."""
    model = exported(pairs(), tmp_path / "linear.pt")
    losses, weights = FrameLosses(model, samples()), model_weights(model)
    generator, curvatures = torch.Generator().manual_seed(5), []
    with weights.kept():
        weights.move(weights.start)
        middle = losses()[1] ** 2
        for _ in range(200):
            d = torch.randn(weights.size, generator=generator, dtype=torch.float64)
            for f in weights.filters:
                own = slice(f.start, f.stop)
                d[own] *= weights.start[own].norm() / d[own].norm()
            total = 0.0
            for sign in (-0.1, 0.1):
                weights.move(weights.start + sign * d)
                total += losses()[1] ** 2
            curvatures.append((total - 2.0 * middle) / 0.01)
    found = sharpness(losses, weights, probes=100)
    error = np.hypot(np.std(curvatures) / np.sqrt(200), found.trace_error)
    assert abs(np.mean(curvatures) - found.trace) < 3.0 * error


class Deaf(torch.nn.Module):
    """A pair potential whose depth is used where no gradient is recorded."""

    def __init__(self):
        super().__init__()
        self.depth = torch.nn.Parameter(torch.tensor([2.0], dtype=torch.float64))

    def forward(
        self,
        species: torch.Tensor,
        edge_index: torch.Tensor,
        edge_vectors: torch.Tensor,
        reverse_edges: torch.Tensor,
        inputs: dict[str, torch.Tensor],
        outputs: list[str],
    ) -> dict[str, torch.Tensor]:
        r2 = (edge_vectors * edge_vectors).sum(dim=1)
        terms = self.depth.detach() * torch.clamp(1.0 - r2 / 16.0, min=0.0) ** 3
        zeros = torch.zeros(species.size(0), dtype=edge_vectors.dtype, device=edge_vectors.device)
        return {"energies": zeros.index_add(0, edge_index[0], terms)}


def test_weights_without_gradients_are_an_error_not_a_zero(tmp_path):
    model = exported(Deaf(), tmp_path / "deaf.pt")
    losses, weights = FrameLosses(model, samples(2)), model_weights(model)
    with pytest.raises(MLIPError, match="deaf.pt`: the sharpness of this Deaf network cannot be computed"):
        sharpness(losses, weights)
    assert float(model.module.network.network.depth) == 2.0


def test_wrong_arguments_are_named(tmp_path):
    model = exported(pairs(), tmp_path / "linear.pt")
    losses, weights = FrameLosses(model, samples(2)), model_weights(model)
    with pytest.raises(MLIPError, match="`quantity`: expected one of forces, energy, got 'stress'"):
        sharpness(losses, weights, "stress")
    with pytest.raises(MLIPError, match="`probes`: expected at least 2, got 1"):
        sharpness(losses, weights, probes=1)
