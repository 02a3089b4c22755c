"""Losses along lines: an exact quadratic, symmetries, weights that come back, runs that go on.

It also tests `losses`.
"""

import json
import shutil

import numpy as np
import pytest
import torch
from landscape_cases import export, labelled, linear_snnp, pet, silicon
from random_pet import random_network

from ase_mlip import landscape, provenance
from ase_mlip.checks.evaluate import evaluate
from ase_mlip.data.references import ReferenceKeys, sample_from_atoms
from ase_mlip.errors import DataError, MLIPError
from ase_mlip.landscapes import entropy
from ase_mlip.landscapes import landscape as module
from ase_mlip.landscapes.curves import Plan, compute, of_lines, positions
from ase_mlip.landscapes.directions import direction
from ase_mlip.landscapes.families import tables_of
from ase_mlip.landscapes.losses import FrameLosses
from ase_mlip.landscapes.weights import Weights, model_weights
from ase_mlip.optimal_design.rows.linear_basis import LinearBasis, linear_rows
from ase_mlip.provenance import Parts

SPLINES = ("phi.coefficients", "g.coefficients")


def samples(frames):
    return [sample_from_atoms(atoms, ReferenceKeys()) for atoms in frames]


def curve(model, weights, frames, plan):
    computed = Parts()
    compute(weights, FrameLosses(model, samples(frames)), plan, computed)
    return of_lines(computed, plan)


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    """An s-NNP of which only φ and g move; the matrices of its least-squares fit, energies and forces."""
    network = linear_snnp()
    model = export(network, tmp_path_factory.mktemp("linear") / "linear.pt")
    family, tables = tables_of(model.module.network.network)
    weights = Weights(family, [table for table in tables if table.name in SPLINES])
    frames = silicon(4, repeat=2)
    basis = LinearBasis(network, constants=False)
    places = {}
    for name, bank in (("phi.coefficients", basis.network.phi), ("g.coefficients", basis.network.g)):
        stored = next(tensor for tensor in weights.tensors if tensor.name == name)
        places[id(bank)] = stored.start, bank.coefficients.shape
    columns = []
    for bank, *place in basis.unknowns:
        start, shape = places[id(bank)]
        columns.append(start + int(np.ravel_multi_index(place, tuple(shape))))
    rows = list(linear_rows(basis, frames, labels=("energy", "forces")))
    energy, forces = (
        np.zeros((sum(len(getattr(r, k)) for r in rows), weights.size)) for k in ("energy", "forces")
    )
    energy[:, columns] = np.concatenate([r.energy for r in rows])
    forces[:, columns] = np.concatenate([r.forces for r in rows])
    return model, weights, frames, energy, forces


def test_the_loss_of_a_linear_model_is_the_quadratic_form_of_its_least_squares_fit(linear):
    model, weights, frames, energy, forces = linear
    plan = Plan("gaussian", 3, 3, positions(9, 0.6))
    found = curve(model, weights, frames, plan)
    sizes = np.array([len(atoms) for atoms in frames])
    references = (
        np.array([atoms.get_potential_energy() for atoms in frames]) / sizes,
        np.concatenate([atoms.get_forces().ravel() for atoms in frames]),
    )
    start = weights.start.numpy()
    for line in range(plan.lines):
        d = direction(weights, "gaussian", 3, line).numpy()
        for rows, reference, losses in zip((energy, forces), references, found, strict=True):
            expected = [np.mean((rows @ (start + x * d) - reference) ** 2) for x in plan.x]
            assert losses[line] ** 2 == pytest.approx(expected, rel=1e-9)
            coefficients = np.polynomial.polynomial.polyfit(plan.x, losses[line] ** 2, 2)
            assert coefficients[2] == pytest.approx(np.mean((rows @ d) ** 2), rel=1e-9)


def test_the_mean_curvature_is_the_trace_of_the_hessian_filter_by_filter(linear):
    """E[d dᵀ] = |θ_f|²/n_f in each filter, so that the mean of dᵀHd is Σ_f |θ_f|²/n_f · tr H_ff."""
    model, weights, frames, energy, forces = linear
    plan = Plan("gaussian", 0, 150, positions(5, 0.01))
    found = curve(model, weights, frames, plan)
    for rows, losses in zip((energy, forces), found, strict=True):
        hessian = 2.0 * np.sum(rows**2, axis=0) / len(rows)  # its diagonal
        expected = sum(
            float(weights.start[f.start : f.stop].square().sum()) / f.size * hessian[f.start : f.stop].sum()
            for f in weights.filters
        )
        curvatures = entropy.curvature(losses, plan.x)
        error = curvatures.std(ddof=1) / np.sqrt(len(curvatures))
        assert abs(curvatures.mean() - expected) < 3.0 * error
        assert error < 0.25 * expected


def test_gaussian_lines_are_alike_on_both_sides(tmp_path):
    model = pet(tmp_path / "pet.pt")
    plan = Plan("gaussian", 0, 24, positions(5, 0.4))
    for losses in curve(model, model_weights(model), labelled(model, silicon(2)), plan):
        difference = losses[:, ::-1] - losses
        error = difference.std(axis=0, ddof=1) / np.sqrt(len(losses))
        assert (np.abs(difference.mean(axis=0)) <= 4.0 * error).all()


def test_rescaling_two_layers_against_each_other_changes_nothing(tmp_path):
    """Rows of the attention's values times c, the next matrix over c: the same function and the same S."""
    network = random_network()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("attention.project.bias"):
                parameter.zero_()  # one filter with the biases of queries and keys
    plain = export(network, tmp_path / "plain.pt", 2)
    frames = labelled(plain, silicon(3))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            third = len(parameter) // 3
            if name.endswith("attention.project.weight"):
                parameter[2 * third :] *= 8.3
            if name.endswith("attention.leave.weight"):
                parameter /= 8.3
    scaled = export(network, tmp_path / "scaled.pt", 2)
    plan = Plan("gaussian", 1, 3, positions(7, 0.2))
    found = []
    for model in (plain, scaled):
        energy, forces = curve(model, model_weights(model), frames, plan)
        found.append(entropy.entropies(energy, forces, plan.x))
    assert found[1] == pytest.approx(found[0], abs=1e-6)
    start = [model_weights(model).start for model in (plain, scaled)]
    assert float((start[0] - start[1]).norm()) > 1.0


def test_losses_are_those_of_evaluate(tmp_path):
    model = pet(tmp_path / "pet.pt")
    frames = labelled(model, silicon(5))
    expected = evaluate(model, frames)
    found = FrameLosses(model, samples(frames))()
    assert found == pytest.approx((expected.energy_rmse, expected.forces_rmse), rel=1e-9)


def test_points_are_those_of_models_with_these_weights(tmp_path):
    """Computed from the stored weights: what was done before leaves nothing behind."""
    model = pet(tmp_path / "pet.pt")
    weights = model_weights(model)
    frames = labelled(model, silicon(2))
    plan = Plan("gaussian", 0, 2, positions(5, 0.3))
    energy, forces = curve(model, weights, frames, plan)
    losses = FrameLosses(model, samples(frames))
    for line, point in ((1, 3), (0, 0), (0, 4)):
        with weights.kept():
            weights.move(weights.start + plan.x[point] * direction(weights, "gaussian", 0, line))
            assert (energy[line, point], forces[line, point]) == losses()
    assert (energy[0, 2], forces[0, 2]) == losses()


def test_a_network_that_overflows_has_an_infinite_loss(tmp_path):
    model = pet(tmp_path / "pet.pt")
    weights = model_weights(model)
    losses = FrameLosses(model, samples(labelled(model, silicon(2))))
    with weights.kept():
        weights.move(weights.start * 1e300)
        assert losses() == (np.inf, np.inf)


# ---- what is left behind -----------------------------------------------------------------------------------

SHORT = {"lines": 2, "points": 5, "span": 0.2}


class Ended(Exception):
    pass


@pytest.mark.parametrize("error", [Ended, KeyboardInterrupt])
def test_weights_are_back_and_a_run_that_was_ended_goes_on(error, tmp_path, monkeypatch):
    model = export(linear_snnp(), tmp_path / "snnp.pt")
    frames = labelled(model, silicon(2))
    before = {name: tensor.clone() for name, tensor in model.module.state_dict().items()}
    whole = landscape(model, frames, output=tmp_path / "whole", **SHORT)

    def end(done, total, stage):
        if done == 4:
            raise error

    with pytest.raises(error):
        landscape(model, frames, output=tmp_path / "ended", progress=end, **SHORT)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.module.state_dict().items())
    assert not (tmp_path / "ended" / module.RESULT).exists()
    rest = landscape(model, frames, output=tmp_path / "ended", **SHORT)
    assert rest.cost["evaluations"] == whole.cost["evaluations"] - 4 == 5
    assert np.array_equal(rest.energy_losses, whole.energy_losses)
    assert np.array_equal(rest.force_losses, whole.force_losses)
    assert rest.numbers == whole.numbers and rest.intervals == whole.intervals
    assert sorted(path.name for path in (tmp_path / "ended").iterdir()) == [module.RESULT]


def test_what_a_killed_run_has_written_is_taken_over(tmp_path, monkeypatch):
    """The folder as it is at some moment, which is what is left when the process is killed then."""
    monkeypatch.setattr(provenance, "PARTS_SECONDS", 0.0)
    model = export(linear_snnp(), tmp_path / "snnp.pt")
    frames = labelled(model, silicon(2))

    def copy(done, total, stage):
        if done == 5:
            shutil.copytree(tmp_path / "whole", tmp_path / "killed")

    whole = landscape(model, frames, output=tmp_path / "whole", progress=copy, **SHORT)
    assert (tmp_path / "killed" / module.PARTIAL).exists()
    rest = landscape(model, frames, output=tmp_path / "killed", **SHORT)
    assert 0 < rest.cost["evaluations"] < whole.cost["evaluations"]
    assert rest.numbers == whole.numbers


def test_a_finished_landscape_is_not_computed_again_and_another_is_refused_or_overwritten(tmp_path):
    model = export(linear_snnp(), tmp_path / "snnp.pt")
    frames = labelled(model, silicon(2))
    first = landscape(model, frames, output=tmp_path / "out", **SHORT)
    again = landscape(model, frames, output=tmp_path / "out", **SHORT)
    assert again.numbers == first.numbers
    assert again.cost["cpu_seconds"] == pytest.approx(first.cost["cpu_seconds"])
    with pytest.raises(DataError, match="those of other settings: `seed=0`, now `seed=1`;"):
        landscape(model, frames, output=tmp_path / "out", seed=1, **SHORT)
    (tmp_path / "partial").mkdir()
    with Parts(tmp_path / "partial" / module.PARTIAL) as others:
        others.keep("start", [1.0, 1.0])
    with pytest.raises(
        DataError, match="landscape-points.json` exists; .*those of other settings: another `model`;"
    ):
        landscape(model, frames, output=tmp_path / "partial", **SHORT)
    for folder in ("out", "partial"):
        other = landscape(model, frames, output=tmp_path / folder, overwrite=True, seed=1, **SHORT)
        assert other.numbers != first.numbers and other.cost["evaluations"] > 0
        assert json.loads((tmp_path / folder / module.RESULT).read_text())["settings"]["seed"] == 1


@pytest.mark.parametrize("span", [0.0, -0.5, np.nan, np.inf, "wide", True])
def test_a_wrong_span_is_refused(span):
    with pytest.raises(MLIPError, match="`span`: expected a positive number"):
        positions(5, span)


@pytest.mark.parametrize("points", [1, 4, 0, 5.0])
def test_the_model_itself_is_one_of_the_points(points):
    with pytest.raises(MLIPError, match="`points`: expected an odd number"):
        positions(points, 0.5)


def test_positions_are_symmetric():
    x = positions(81, 0.5)
    assert x[40] == 0.0 and x[-1] == 0.25 and np.array_equal(x, -x[::-1])
