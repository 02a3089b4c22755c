"""An s-NNP from a TOML file to an exported model, and its filters drawn."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from click.testing import CliRunner

from ase_mlip.calculator import MLIPCalculator
from ase_mlip.cli import main
from ase_mlip.errors import DataError
from ase_mlip.model_info import read_info
from ase_mlip.train import train
from ase_mlip.train_config import read_config
from ase_mlip.train_export import load_native

RUN = """
name = "toy"
output = "out"
threads = 1
[data]
train = "train.xyz"
validation_fraction = 0.2
{data}
[model]
architecture = "{architecture}"
cutoff = 4.5
{model}
[loss]
{loss}
[optimizer]
epochs = {epochs}
batch_size = 2
learning_rate = 5e-3
{optimizer}
"""
SNNP = "radial_filters = 2\nangular_filters = 2\nradial_intervals = 6\nangular_intervals = 5\nhidden = [6]"


def prepare(folder, architecture="snnp", model=SNNP, loss="", optimizer="", epochs=6, data=""):
    frames = []
    for seed in range(10):
        atoms = bulk("Cu", cubic=True, a=3.5 + 0.03 * seed)
        atoms.rattle(0.1, seed=seed)
        atoms.calc = EMT()
        results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
        atoms.calc = SinglePointCalculator(atoms, **results, stress=atoms.get_stress())
        frames.append(atoms)
    write(folder / "train.xyz", frames)
    parts = {"architecture": architecture, "model": model, "loss": loss, "optimizer": optimizer, "data": data}
    path = folder / "run.toml"
    path.write_text(RUN.format(**parts, epochs=epochs))
    return path, frames


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("snnp")
    path, frames = prepare(folder, loss="curvature = 1e-4", optimizer="linear_start = 1e-6")
    with pytest.warns(RuntimeWarning, match=r"do not determine these coefficients .* phi Cu-Cu at 1\.\d\d"):
        return train(path, progress=False), frames


def test_it_learns_and_is_exported(trained):
    path, frames = trained
    calculator = MLIPCalculator(path, device="cpu")
    errors = []
    for atoms in frames:
        copy = atoms.copy()
        copy.calc = calculator
        errors.append(copy.get_forces() - atoms.get_forces())
    forces = np.concatenate([atoms.get_forces() for atoms in frames])
    assert np.sqrt(np.mean(np.square(errors))) < 0.2 * np.sqrt(np.mean(np.square(forces)))
    info = read_info(path)
    assert info.equivariant and info.conservative
    assert info.architecture["name"] == "snnp" and info.architecture["cutoff"] == 4.5
    assert info.interaction_range == 4.5 and info.operators == {"ase_mlip": 4}


def test_a_weight_of_the_curvature_makes_filters_smoother(tmp_path):
    """Nothing else differs: data, seeds and epochs are the same."""
    found = []
    for weight in (0.0, 10.0):
        folder = tmp_path / str(weight)
        folder.mkdir()
        path, _ = prepare(folder, loss=f"curvature = {weight}", epochs=8)
        train(path, progress=False)
        found.append(float(load_native(folder / "out" / "best.safetensors")[0].roughness().detach()))
    assert found[1] < 0.7 * found[0]


def test_native_weights_are_read_again(trained):
    network, _ = load_native(trained[0].parent / "best.safetensors")
    assert network.hypers.hidden == [6] and float(network.f.coefficients.detach().abs().max()) > 0


def test_the_least_squares_fit_is_a_potential_of_its_own(tmp_path):
    """Without a single epoch; and the energy of an atom alone is the given one."""
    model = SNNP.replace("[6]", "[]")
    settings = {"model": model, "optimizer": "linear_start = 1e-6", "epochs": 0}
    path, frames = prepare(tmp_path, **settings, data="reference_energies = { Cu = 3.5 }")
    with pytest.warns(RuntimeWarning, match="do not determine"):
        calculator = MLIPCalculator(train(path, progress=False), device="cpu", dtype="float64")
    assert calculator.get_potential_energy(Atoms("Cu")) == pytest.approx(3.5, abs=1e-6)
    errors = [calculator.get_forces(atoms) - atoms.get_forces() for atoms in frames]
    forces = np.concatenate([atoms.get_forces() for atoms in frames])
    assert np.sqrt(np.mean(np.square(errors))) < 0.2 * np.sqrt(np.mean(np.square(forces)))


def test_energies_of_atoms_are_given_for_all_elements_or_none(tmp_path):
    path, _ = prepare(tmp_path, data="reference_energies = { Si = -1.0 }")
    with pytest.raises(DataError, match="expected an energy for every element .* got none for Cu"):
        train(path, progress=False)


def test_filters_are_drawn(trained, tmp_path):
    path = tmp_path / "filters.png"
    result = CliRunner().invoke(main, ["plot-filters", str(trained[0]), "-o", str(path)])
    assert result.exit_code == 0, result.output
    assert result.output.startswith("1 phi, 2 rho, 2 f, 2 g: ")
    assert path.read_bytes()[:4] == b"\x89PNG"


def test_only_an_snnp_has_filters(tmp_path):
    result = CliRunner().invoke(main, ["plot-filters", "pet-si", "-o", str(tmp_path / "filters.png")])
    assert result.exit_code != 0
    assert "only an s-NNP has filters" in str(result.output) + str(result.exception)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"architecture": "mace"}, r"must be one of \['pet', 'snnp'\], got 'mace'"),
        ({"model": "inner = 5.0"}, "`cutoff` must be longer than the first knot"),
        ({"model": "d_pet = 8"}, "unknown key `d_pet`"),
        ({"architecture": "pet", "model": "", "loss": "curvature = 1.0"}, "`loss.curvature` must be 0"),
        ({"architecture": "pet", "model": "", "optimizer": "linear_start = 1.0"}, "`optimizer.linear_start`"),
        (
            {"model": "skip = false", "optimizer": "linear_start = 1.0"},
            "linear_start` must be 0 without skip",
        ),
        ({"epochs": 0}, "`optimizer.epochs` must be at least 1, or 0 for the least-squares fit"),
        ({"epochs": 0, "optimizer": "linear_start = 1.0"}, r"\(`linear_start`, hidden = \[\]\), got 0"),
        (
            {"data": "reference_energies = { Silicium = -1.0 }"},
            "symbols of elements such as Si, got 'Silicium'",
        ),
        ({"loss": "curvature = -1.0"}, "zero or positive"),
    ],
)
def test_what_cannot_work_is_refused(tmp_path, change, message):
    path, _ = prepare(tmp_path, **change)
    with pytest.raises(DataError, match=message):
        read_config(path)
