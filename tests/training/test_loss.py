"""What the trainer predicts of a batch, with the sign of the references; how its loss and weights grow."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from random_pet import SMALL

from ase_mlip.calculators.calculator import MLIPCalculator
from ase_mlip.configuration.run import LossConfig
from ase_mlip.data.batches import GraphDataset
from ase_mlip.data.references import Sample
from ase_mlip.model_file.model import export_model
from ase_mlip.networks.pet.hypers import PETHypers
from ase_mlip.networks.pet.pet import PET
from ase_mlip.networks.snnp.hypers import SNNPHypers
from ase_mlip.networks.snnp.snnp import SNNP
from ase_mlip.training.loss import Scales, energy_weight, loss, of_structures, predict, residuals

CUTOFF = 4.0


def network(name: str, **changes) -> torch.nn.Module:
    torch.manual_seed(0)
    if name == "pet":
        found = PET(PETHypers(species=[8, 14], cutoff=CUTOFF, **{**SMALL, **changes})).double()
    else:
        found = SNNP(SNNPHypers(species=[8, 14], cutoff=CUTOFF, hidden=[4], **changes)).double()
        for parameter in found.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return found.eval()


def structures() -> list[Atoms]:
    found = []
    for seed in (0, 1):
        atoms = bulk("Si", cubic=True, a=5.2 + 0.2 * seed)
        atoms.symbols[::3] = "O"
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.05 * np.eye(3, k=1)), scale_atoms=True)
        atoms.rattle(0.1, seed=seed)
        found.append(atoms)
    return found


def predicted(model: torch.nn.Module, frames: list[Atoms], derivatives: bool = True) -> dict[str, np.ndarray]:
    data = GraphDataset([Sample(atoms) for atoms in frames], CUTOFF)
    table = torch.zeros(119, dtype=torch.float64)
    table[8], table[14] = -2.0, -1.0
    found = predict(model, data.collate(range(len(frames))), table, derivatives)
    return {name: value.detach().numpy() for name, value in found.items()}


@pytest.mark.parametrize("name", ["pet", "snnp"])
def test_stresses_are_strain_derivatives_of_the_energy_over_the_volume(name):
    """Central differences over a strain of each frame, five-point: of the energies of the same function."""
    model, frames = network(name), structures()
    step = 2e-4
    expected = np.zeros((len(frames), 3, 3))
    for a in range(3):
        for b in range(3):
            strain = np.zeros((3, 3))
            strain[a, b] += 0.5
            strain[b, a] += 0.5
            energies = {}
            for k in (-2, -1, 1, 2):
                strained = [atoms.copy() for atoms in frames]
                for atoms in strained:
                    atoms.set_cell(atoms.cell.array @ (np.eye(3) + k * step * strain), scale_atoms=True)
                energies[k] = predicted(model, strained, False)["energies"]
            slope = (8 * (energies[1] - energies[-1]) - (energies[2] - energies[-2])) / (12 * step)
            expected[:, a, b] = slope / [atoms.get_volume() for atoms in frames]
    found = predicted(model, frames)["stresses"]
    assert np.abs(expected).max() > 1e-3  # eV/Å³: there is something to compare
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["pet", "snnp"])
def test_forces_are_derivatives_of_the_energy(name):
    model, (frame, other) = network(name), structures()
    step, found = 1e-4, predicted(model, [frame, other])["forces"][: len(frame)]
    for index, axis in ((0, 0), (3, 2), (7, 1)):
        energies = {}
        for k in (-2, -1, 1, 2):
            moved = frame.copy()
            moved.positions[index, axis] += k * step
            energies[k] = predicted(model, [moved, other], False)["energies"][0]
        slope = (8 * (energies[1] - energies[-1]) - (energies[2] - energies[-2])) / (12 * step)
        assert found[index, axis] == pytest.approx(-slope, abs=1e-6)


@pytest.mark.parametrize("forces", ["conservative", "direct"])
def test_predictions_are_those_of_the_exported_file_in_ase(forces, tmp_path):
    """The calculator is compared with finite differences elsewhere; heads have no derivative."""
    model, frames = network("pet", direct_forces=True, direct_stress=True), structures()
    layers, reach = model.hypers.message_passing_layers, model.hypers.interaction_range
    document = {"name": "a", "species": [8, 14], "cutoff": CUTOFF, "message_passing_layers": layers}
    document |= {"interaction_range": reach, "reference_energies": {"O": -2.0, "Si": -1.0}}
    found = predicted(model, frames)
    export_model(model, tmp_path / "a.pt", document)
    calculator = MLIPCalculator(tmp_path / "a.pt", device="cpu", dtype="float64", forces=forces)
    kind = "direct_" if forces == "direct" else ""
    for index, atoms in enumerate(frames):
        atoms.calc = calculator
        assert found["energies"][index] == pytest.approx(atoms.get_potential_energy(), abs=1e-8)
        stress = found[f"{kind}stresses"][index]
        np.testing.assert_allclose((stress + stress.T) / 2, atoms.get_stress(voigt=False), atol=1e-8)
        own = found[f"{kind}forces"][8 * index : 8 * index + 8]
        np.testing.assert_allclose(own, atoms.get_forces(), atol=1e-7)


def test_huber_loss_is_quadratic_then_linear():
    config = LossConfig(energy=2.0, energy_start=2.0, energy_delta=0.5, forces=0.0)
    scales = Scales(energy=1.0, forces=1.0, stress=1.0)

    def value(residual: float) -> float:
        return float(loss({"energy": torch.tensor([residual])}, config, scales, done=0.3))

    assert value(0.2) == pytest.approx(2.0 * 0.2**2 / 2 / 0.5)
    assert value(3.0) - value(2.0) == pytest.approx(2.0)


def test_energy_weight_grows_geometrically():
    config = LossConfig(energy=1.0, energy_start=0.01)
    assert [energy_weight(config, d) for d in (0.0, 0.5, 1.0)] == pytest.approx([0.01, 0.1, 1.0])


def test_residuals_of_a_batch_are_those_of_its_structures():
    """Structures of other sizes, each without one of its references or two."""
    frames = [*structures(), structures()[0] * (2, 1, 1), structures()[1]]
    has = [("energy", "forces", "stress"), ("forces",), ("energy", "stress"), ("energy", "forces")]
    generator, samples = np.random.default_rng(0), []
    for atoms, names in zip(frames, has, strict=True):
        values = {"energy": -9.0, "forces": generator.normal(size=(len(atoms), 3)), "stress": np.eye(3)}
        samples.append(Sample(atoms, **{name: values[name] for name in names}))
    model, table = network("pet", direct_forces=True), torch.zeros(119, dtype=torch.float64)
    data = GraphDataset(samples, CUTOFF)

    def found(indices):
        batch = data.collate(indices)
        return batch, residuals(predict(model, batch, table, True), batch)

    batch, together = found(range(4))
    parts = list(of_structures(together, batch))
    assert len(parts) == 4
    for k, part in enumerate(parts):
        alone = found([k])[1]
        assert part.keys() == alone.keys() >= {"energy", "forces", "direct_forces", "stress"}
        for name, error in alone.items():
            torch.testing.assert_close(part[name], error, rtol=1e-5, atol=1e-6)
