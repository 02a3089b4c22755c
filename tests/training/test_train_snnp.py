"""An s-NNP from a TOML file to an exported model, and its filters drawn.

It also tests `cli.models.plot_filters`, `data.first_knot`, `pictures.filters`.
"""

import warnings

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from ase.neighborlist import neighbor_list
from click.testing import CliRunner
from snnp_training import SNNP, prepare
from toy_training import needs_muon

from ase_mlip.calculators.calculator import MLIPCalculator
from ase_mlip.cli.program import main
from ase_mlip.configuration.run import read_config
from ase_mlip.data.first_knot import Distances
from ase_mlip.errors import DataError
from ase_mlip.model_file.info import read_info
from ase_mlip.training.export import load_native
from ase_mlip.training.train import train


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("snnp")
    path, frames = prepare(folder, loss="curvature = 1e-4", optimizer="linear_start = 1e-6")
    with pytest.warns(RuntimeWarning, match=r"do not determine these coefficients .* phi Cu-Cu at 1\.\d\d"):
        return train(path, dynamics=0.0), frames


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


@needs_muon
def test_a_weight_of_the_curvature_makes_filters_smoother(tmp_path):
    """Nothing else differs: data, seeds and epochs are the same."""
    found, optimizer = [], 'kind = "muon"\nema_decay = 0.99\nlinear_start = 0.0'
    for weight in (0.0, 10.0):
        folder = tmp_path / str(weight)
        folder.mkdir()
        path, _ = prepare(folder, loss=f"curvature = {weight}", optimizer=optimizer, epochs=8)
        train(path, dynamics=0.0)
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
        calculator = MLIPCalculator(train(path, dynamics=0.0), device="cpu", dtype="float64")
    assert calculator.get_potential_energy(Atoms("Cu")) == pytest.approx(3.5, abs=1e-6)
    errors = [calculator.get_forces(atoms) - atoms.get_forces() for atoms in frames]
    forces = np.concatenate([atoms.get_forces() for atoms in frames])
    assert np.sqrt(np.mean(np.square(errors))) < 0.2 * np.sqrt(np.mean(np.square(forces)))


def test_energies_of_atoms_are_given_for_all_elements_or_none(tmp_path):
    path, _ = prepare(tmp_path, data="reference_energies = { Si = -1.0 }")
    with pytest.raises(DataError, match="expected an energy for every element .* got none for Cu"):
        train(path, dynamics=0.0)


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
        ({"architecture": "mace"}, r"expected one of \['pet', 'snnp'\], got 'mace'"),
        ({"model": "inner = 5.0"}, "`cutoff` must be longer than the first knot"),
        ({"model": "d_pet = 8"}, "unknown key `d_pet`"),
        (
            {"architecture": "pet", "model": "", "loss": "curvature = 1.0"},
            r"\[loss\] curvature: expected 0 for PET",
        ),
        (
            {"architecture": "pet", "model": "", "optimizer": "linear_start = 1.0"},
            r"\[optimizer\] linear_start: expected 0 for PET",
        ),
        (
            {"model": "skip = false", "optimizer": "linear_start = 1.0"},
            r"\[optimizer\] linear_start: expected 0 without `skip`",
        ),
        ({"epochs": 0}, r"\[optimizer\] epochs: expected at least 1, got 0"),
        ({"epochs": 0, "optimizer": "linear_start = 1.0"}, r"\(`linear_start`, hidden = \[\]\)"),
        (
            {"data": "reference_energies = { Silicium = -1.0 }"},
            "symbols of elements such as Si, got 'Silicium'",
        ),
        ({"loss": "curvature = -1.0"}, "expected a number of at least 0"),
    ],
)
def test_what_cannot_work_is_refused(tmp_path, change, message):
    path, _ = prepare(tmp_path, **change)
    with pytest.raises(DataError, match=message):
        read_config(path)


# ---- the first knot


def test_the_first_knot_comes_from_the_data_and_is_printed(tmp_path, capsys):
    """Oracle: the shortest distance of the training frames by ASE's neighbour list, 96 % of it."""
    path, frames = prepare(tmp_path, model="radial_filters = 1\nangular_filters = 1\nhidden = [2]", epochs=1)
    seen = []
    train(path, progress=lambda *row: seen.append(row), dynamics=0.0)
    printed = capsys.readouterr().err
    network, _ = load_native(tmp_path / "out" / "best.safetensors")
    inner = network.hypers.inner
    nearest = [neighbor_list("d", atoms, 4.5).min() for atoms in frames]
    below = 0.96 * np.sort(nearest)  # one in five frames validates
    assert any(0 <= shortest - inner < 0.05 for shortest in below[:3]) and inner * 20 == pytest.approx(
        round(inner * 20)
    )
    assert (
        f"first knot `inner` = {inner:g} Å: 0 of" in printed
        and "pairs (0 %) are closer; the shortest, Cu-Cu" in printed
    )
    assert read_info(tmp_path / "out" / "toy.pt").architecture["inner"] == inner


def test_a_first_knot_above_distances_is_warned_of_with_the_share(tmp_path):
    """Oracle: the pairs closer than it, counted by ASE's neighbour list in one kind of frame."""
    model = "inner = 2.6\nradial_filters = 1\nangular_filters = 1"
    path, _ = prepare(tmp_path, model=model, optimizer="linear_start = 0.0", epochs=1)
    frame = bulk("Cu", cubic=True, a=3.6)
    frame.positions[1] += 0.1
    frame.calc = SinglePointCalculator(frame, energy=0.0, forces=np.zeros((4, 3)))
    rattled = [frame.copy() for _ in range(5)]
    for k, atoms in enumerate(rattled):
        atoms.positions[0] += 1e-5 * k
        atoms.calc = SinglePointCalculator(atoms, energy=0.01 * k, forces=frame.get_forces())
    write(tmp_path / "train.xyz", rattled)
    distances = neighbor_list("d", frame, 4.5)
    below, total = 4 * np.sum(distances < 2.6) // 2, 4 * len(distances) // 2
    share = rf"{below} of {total} pairs \({100 * below / total:.2g} %\) are closer"
    message = rf"{share}; .* `inner` = \"auto\" or 2\.\d"
    with pytest.warns(RuntimeWarning, match=message):
        train(path, dynamics=0.0)


def test_a_bond_shorter_than_the_former_default_is_learned(tmp_path):
    """H2 at 0.6 to 1 Å from a Morse curve, all below 1.5 Å: a line cannot follow it, splines do."""
    lengths = np.linspace(0.6, 1.0, 21)
    frames = []
    for r in lengths:
        decay = np.exp(-2.0 * (r - 0.74))
        atoms = Atoms("H2", positions=[[0, 0, 0], [0, 0, r]])
        slope = 4.5 * 2 * 2.0 * (1 - decay) * decay
        forces = [[0, 0, slope], [0, 0, -slope]]
        atoms.calc = SinglePointCalculator(atoms, energy=4.5 * (1 - decay) ** 2 - 4.5, forces=forces)
        frames.append(atoms)
    errors = []
    for inner in ('"auto"', "1.5"):
        folder = tmp_path / inner.strip('"')
        folder.mkdir()
        model = f"inner = {inner}\nangular_filters = 0\nhidden = []\nradial_intervals = 14"
        path, _ = prepare(folder, model=model, epochs=0, data="reference_energies = { H = 0.0 }")
        write(folder / "train.xyz", frames)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            calculator = MLIPCalculator(train(path, dynamics=0.0), device="cpu")
        found = [calculator.get_forces(atoms)[1, 2] - atoms.get_forces()[1, 2] for atoms in frames]
        errors.append(np.sqrt(np.mean(np.square(found))))
    assert errors[0] < 0.1 * errors[1]


def test_distances_of_no_pairs_leave_a_fallback():
    assert Distances.of([]).automatic() == 1.5 and Distances.of([]).below(9.0) == 0


def test_forces_alone_give_the_energies_up_to_a_constant(tmp_path):
    """Oracle: EMT's energies, which the training never sees; both fits differ in nothing but their key."""
    spread = {}
    for key in ("", "energy"):
        folder = tmp_path / (key or "none")
        folder.mkdir()
        path, frames = prepare(folder, epochs=10, data=f'energy_key = "{key}"')
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # few data: coefficients that they leave open
            calculator = MLIPCalculator(train(path, dynamics=0.0), device="cpu", dtype="float64")
        off = [calculator.get_potential_energy(atoms) - atoms.get_potential_energy() for atoms in frames]
        spread[key] = np.std(off)
    reference = np.std([atoms.get_potential_energy() for atoms in frames])
    assert spread[""] < 0.1 * reference and spread["energy"] < 0.1 * reference
    assert calculator.model.info.training["data"]["keys"]["energy"] == "energy"
