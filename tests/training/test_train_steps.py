"""What docs/training.md says of a training, step by step: rates, scales, averages, the best epoch."""

import dataclasses

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.emt import EMT

from ase_mlip.configuration.run import LossConfig, OptimizerConfig, RunConfig
from ase_mlip.data.references import Sample
from ase_mlip.data.training_data import DataConfig, DataSplit
from ase_mlip.networks.pet.hypers import PETHypers
from ase_mlip.training.export import _parts
from ase_mlip.training.loss import Scales, loss, scales_of
from ase_mlip.training.train import Run, _learning_rate

SMALL = {"d_pet": 16, "d_node": 24, "d_head": 16, "d_feedforward": 32, "num_heads": 2, "num_gnn_layers": 1}


def samples(n: int) -> list[Sample]:
    found = []
    for seed in range(n):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.1, seed=seed)
        atoms.calc = EMT()
        results = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress(voigt=False)
        bare = atoms.copy()
        found.append(Sample(bare, *results))
    return found


def make_run(loss_config=None, **optimizer) -> Run:
    every = samples(6)
    data = DataSplit(every[:4], every[4:], [], {"references": ["energy", "forces", "stress"]})
    model = PETHypers(cutoff=3.2, **SMALL, direct_forces=True)
    settings = {"kind": "adamw", "epochs": 4, "batch_size": 2, "learning_rate": 5e-3, **optimizer}
    config = RunConfig(
        "toy", "out", DataConfig("a.xyz"), model, loss_config or LossConfig(), OptimizerConfig(**settings)
    )
    return Run(config, data, torch.device("cpu"))


def test_the_rate_rises_linearly_and_falls_as_a_cosine():
    config = OptimizerConfig(epochs=10, learning_rate=2.0, warmup_fraction=0.1, final_fraction=0.05)
    rates = [_learning_rate(config, step, steps_per_epoch=20) for step in range(201)]
    assert rates[:20] == pytest.approx([0.1 * (k + 1) for k in range(20)])
    fall = np.arange(181) / 180
    assert rates[20:] == pytest.approx(0.1 + 1.9 * 0.5 * (1 + np.cos(np.pi * fall)))
    assert rates[-1] == pytest.approx(0.05 * 2.0) and max(rates) == pytest.approx(2.0)


def test_the_rate_of_a_step_is_that_of_the_optimizer_and_of_the_metrics():
    run = make_run()
    row = run.epoch()
    assert row["learning_rate"] == pytest.approx(_learning_rate(run.config.optimizer, 1, 2))


def test_scales_are_root_mean_squares_of_the_training_set():
    """By hand: energies of 2 and -1 eV/atom above a baseline of 3; the floor is 0.1 Å times the forces'."""
    forces = np.zeros((4, 3))
    forces[0] = [3.0, 0.0, 0.0]
    atoms = bulk("Cu", cubic=True)
    pair = [Sample(atoms, 4 * (3.0 + e), forces, s * np.eye(3)) for e, s in ((2.0, 0.1), (-1.0, 0.3))]
    found = scales_of(pair, {29: 3.0})
    assert found.energy == pytest.approx(np.sqrt((4 + 1) / 2)) and found.forces == pytest.approx(
        np.sqrt(9 / 12)
    )
    assert found.stress == pytest.approx(np.sqrt((0.01 + 0.09) / 2 / 3))
    quiet = [dataclasses.replace(sample, energy=12.0) for sample in pair]
    assert scales_of(quiet, {29: 3.0}).energy == pytest.approx(0.1 * np.sqrt(9 / 12))


def test_mean_squares_and_weights_of_zero():
    config = LossConfig(kind="mse", energy=0.0, energy_start=0.0, forces=2.0, stress=0.0)
    errors = {
        "energy": torch.tensor([7.0]),
        "forces": torch.tensor([1.0, 3.0]),
        "stress": torch.tensor([9.0]),
    }
    assert float(loss(errors, config, Scales(1.0, 2.0, 1.0), done=1.0)) == pytest.approx(
        2.0 * (1 + 9) / 2 / 4
    )


def test_direct_forces_are_compared_without_their_net_force():
    run = make_run()
    from ase_mlip.training.loss import predict

    batch = run.train_set.collate([0, 1], None, torch.float32)
    direct = predict(run.network, batch, run.table, False)["direct_forces"].detach()
    assert float(direct.abs().max()) > 1e-3
    for structure in range(2):
        assert float(direct[batch.structure == structure].sum(dim=0).abs().max()) < 1e-5


def test_a_gradient_is_clipped_to_the_norm_and_zero_switches_it_off(monkeypatch):
    norms = {}
    for clip in (0.5, 0.0):
        run = make_run(gradient_clip=clip)
        seen = []
        step = run.state.optimizers[0].step

        def spy(step=step, run=run, seen=seen):
            grads = [p.grad for p in run.network.parameters() if p.grad is not None]
            seen.append(float(torch.stack([g.norm() for g in grads]).norm()))
            return step()

        monkeypatch.setattr(run.state.optimizers[0], "step", spy)
        run.epoch()
        norms[clip] = seen
    assert max(norms[0.5]) <= 0.5 + 1e-5 < max(norms[0.0])


def test_the_average_follows_the_weights_and_is_what_validates():
    """The average after each step by hand, with its decay shortened while it is young."""
    run = make_run(ema_decay=0.6)
    expected = [p.detach().clone() for p in run.network.parameters()]
    real = run._step

    def step(*arguments):
        value = real(*arguments)
        decay = min(0.6, (1 + run.state.step) / (10 + run.state.step))
        for mine, parameter in zip(expected, run.network.parameters(), strict=True):
            mine.mul_(decay).add_(parameter.detach(), alpha=1 - decay)
        return value

    run._step = step
    row = run.epoch()
    for mine, average in zip(expected, run.state.average, strict=True):
        torch.testing.assert_close(average, mine, atol=1e-6, rtol=1e-5)
    raw = [p.detach().clone() for p in run.network.parameters()]
    with run.averaged_weights():
        errors, value = run._validate(True)
    assert value == pytest.approx(row["validation_loss"], rel=1e-6)
    assert errors["forces"] == row["validation_forces_rmse"]
    assert run._validate(True)[1] != pytest.approx(value, rel=1e-6)  # of the weights themselves
    assert all(torch.equal(p, r) for p, r in zip(run.network.parameters(), raw, strict=True))


def test_the_best_epoch_has_the_lowest_validation_loss_of_averages():
    run = make_run(epochs=6, ema_decay=0.3, learning_rate=5e-2)  # large steps: the loss goes up and down
    kept = []
    for _ in range(6):
        run.epoch()
        kept.append([average.clone() for average in run.state.average])
    losses = [row["validation_loss"] for row in run.state.history]
    best = int(np.argmin(losses))
    assert losses != sorted(losses, reverse=True), "the last epoch must not be the best by itself"
    assert run.state.best_loss == losses[best]
    for mine, stored in zip(kept[best], run.state.best.values(), strict=True):
        assert torch.equal(mine, stored)


def test_epochs_before_derivatives_are_trained_cannot_be_the_best():
    run = make_run(LossConfig(direct_forces=1.0), conservative_from=2)
    run.epoch(), run.epoch()
    assert run.state.best_loss == float("inf")
    run.epoch()
    assert run.state.best_loss == run.state.history[2]["validation_loss"]


def test_rotations_are_new_in_every_step_and_off_if_switched_off(monkeypatch):
    for rotate in (True, False):
        run, seen = make_run(rotate=rotate), []
        real = run.train_set.collate

        def spy(indices, rotations, *rest, real=real, seen=seen):
            seen.append(rotations)
            return real(indices, rotations, *rest)

        monkeypatch.setattr(run.train_set, "collate", spy)
        run.epoch(), run.epoch()
        if rotate:
            flat = torch.cat(seen).reshape(-1, 9)
            assert len(flat) == 8 and float(torch.pdist(flat).min()) > 1e-3
            assert {round(float(torch.det(r.view(3, 3)))) for r in flat} == {-1, 1}
        else:
            assert seen == [None] * 4


def test_training_errors_are_of_200_frames_at_most():
    parts = _parts(DataSplit(list(range(250)), [1], [], {}))
    assert len(parts["training"]) == 200 and parts["validation"] == [1]
