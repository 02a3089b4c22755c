"""An s-NNP in the calculator without a graph: the same numbers as by the general way of a model."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from visited_cases import CUTOFF, crystals, export, hypers

from ase_mlip.calculators import native_snnp
from ase_mlip.calculators.calculator import MLIPCalculator
from ase_mlip.errors import MLIPError, ModelFileError, StructureError
from ase_mlip.model_file.model import load_model

EXACT = {"float64": 1e-10, "float32": 2e-4}
PROPERTIES = ("energy", "energies", "forces", "stress", "stresses", "extrapolating")


def skewed() -> Atoms:
    atoms = crystals("Si4O4")[0]
    atoms.set_cell(
        atoms.cell + np.array([[0.0, 0.3, 0.1], [-0.2, 0.1, 0.0], [0.4, 0.0, -0.1]]), scale_atoms=True
    )
    atoms.positions += [30.0, -17.0, 4.0]  # outside the cell
    return atoms


def surface() -> Atoms:
    atoms = fcc111("Si", (2, 2, 3), a=3.9, vacuum=5.0)
    atoms.numbers[::3] = 8
    atoms.rattle(0.05, seed=3)
    return atoms


def water() -> Atoms:
    atoms = molecule("H2O")
    atoms.numbers[:] = [8, 14, 14]
    atoms.positions *= 2.0
    return atoms


STRUCTURES = {
    "skewed": skewed,
    "surface": surface,
    "molecule": water,
    "one atom": lambda: bulk("Si", "sc", a=2.1),
    "alone": lambda: Atoms("O", positions=[[1.0, 2.0, 3.0]]),
    "wire": lambda: Atoms(
        "Si2O", positions=[[0, 0, 0], [0, 0.4, 2.2], [0, 0, 4.1]], cell=[0, 0, 6], pbc=[0, 0, 1]
    ),
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return export(tmp_path_factory.mktemp("native"), hypers((8, 14)), crystals("Si4O4"))


@pytest.fixture(autouse=True)
def quiet():
    """Most structures here are unlike the training data."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *args, **kwargs: None)
        yield


def results_of(path, atoms: Atoms, **options) -> dict:
    calculator = MLIPCalculator(path, device="cpu", **options)
    calculator.calculate(atoms)
    return calculator.results | calculator.diagnostics


def compare(one: dict, other: dict, dtype: str) -> None:
    assert one.keys() == other.keys()
    for name in PROPERTIES:
        if name not in one:
            continue
        a, b = np.asarray(one[name]), np.asarray(other[name])
        assert a.shape == b.shape and a.dtype == b.dtype
        assert np.abs(a - b).max() <= EXACT[dtype] * max(1.0, np.abs(b).max()), name


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", STRUCTURES)
def test_both_kernels(path, name, dtype):
    atoms = STRUCTURES[name]()
    native, general = (results_of(path, atoms, dtype=dtype, kernel=kernel) for kernel in ("native", "torch"))
    assert ("stress" in native) == (name not in ("molecule", "alone", "wire"))
    compare(native, general, dtype)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads(path, threads):
    atoms = skewed() * 2
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        native = results_of(path, atoms, dtype="float64")
    finally:
        torch.set_num_threads(before)
    compare(native, results_of(path, atoms, dtype="float64", kernel="torch"), "float64")


def test_a_list_that_is_kept(path):
    """Atoms and cell move within the skin; then far beyond it; then there are other atoms."""
    atoms = skewed() * 2
    native, general = (
        MLIPCalculator(path, device="cpu", dtype="float64", kernel=k) for k in ("native", "torch")
    )
    for step in range(6):
        atoms.rattle(0.02, seed=step)
        atoms.set_cell(atoms.cell * (1 + 1e-3 * step), scale_atoms=True)
        if step == 4:
            atoms.positions[3] += [0.0, 0.0, 1.5]
        if step == 5:
            del atoms[2]
        for calculator in (native, general):
            calculator.calculate(atoms)
        compare(native.results, general.results, "float64")
        compare(native.diagnostics, general.diagnostics, "float64")
    assert 2 < native._neighbors.rebuilds < 6


def test_shorter_cutoffs_of_pairs(path):
    model = load_model(path, device="cpu", dtype="float64", self_test=False)
    model.info = replace(model.info, pair_cutoffs={"O-Si": 2.5})
    native, general = (results_of(model, skewed(), kernel=kernel) for kernel in ("native", "torch"))
    compare(native, general, "float64")
    assert abs(native["energy"] - results_of(path, skewed(), dtype="float64")["energy"]) > 1e-3


def test_stresses_of_atoms_on_demand(path):
    calculator = MLIPCalculator(path, device="cpu", dtype="float64")
    atoms = skewed()
    atoms.calc = calculator
    atoms.get_forces()
    assert "stress" in calculator.results and "stresses" not in calculator.results
    stress = atoms.get_stress()
    assert np.allclose(atoms.get_stresses().sum(axis=0), stress, atol=1e-14)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_tables_that_give_other_numbers_are_refused(path, dtype, monkeypatch):
    """The file's own code is not what is evaluated afterwards."""
    exact = native_snnp._double
    monkeypatch.setattr(native_snnp, "_double", lambda x: exact(x) * (1.01 if x.dim() == 3 else 1))
    with pytest.raises(ModelFileError, match=f"its self-test in {dtype} on `cpu` with the native kernel"):
        MLIPCalculator(path, device="cpu", dtype=dtype)
    MLIPCalculator(path, device="cpu", dtype=dtype, kernel="torch")
    MLIPCalculator(load_model(path, device="cpu", dtype=dtype, self_test=False))


def test_copies_have_their_own(path):
    calculator = MLIPCalculator(path, device="cpu", dtype="float64")
    calculator.calculate(skewed())
    for other in (copy.deepcopy(calculator), pickle.loads(pickle.dumps(calculator))):
        assert other._native is not None and other._native is not calculator._native
        other.calculate(skewed())
        compare(other.results, calculator.results, "float64")
        compare(other.diagnostics, calculator.diagnostics, "float64")


def test_which_kernel(path):
    def kernel(model, **options):
        return MLIPCalculator(model, device="cpu", **options).parameters["kernel"]

    assert kernel(path) == "native" and kernel(path, kernel="torch") == "torch"
    assert kernel(path, symmetrize="octahedral") == kernel(path, symmetrize="auto") == "torch"
    assert kernel(path, symmetrize="random 1") == kernel("pet-si") == "torch"
    with pytest.raises(MLIPError, match="kernel='native'` evaluates one s-NNP on the processor"):
        kernel("pet-si", kernel="native")
    with pytest.raises(MLIPError, match=r'`kernel`: expected "native", "torch" or None, got .fast'):
        kernel(path, kernel="fast")


def test_atoms_at_one_place_and_positions_that_are_none(path):
    atoms = skewed()
    atoms.positions[1] = atoms.positions[0] + 1e-5
    with pytest.raises(
        StructureError, match="expected distances of at least 0.001 Å.* between atoms 0 and 1"
    ):
        results_of(path, atoms)
    atoms.positions[1] = np.nan
    with pytest.raises(StructureError, match=r"`atoms.positions`: expected finite numbers"):
        results_of(path, atoms)


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        (1, torch.tensor([0, 7], dtype=torch.int32), r"`kinds` must lie in \[0, 2\), got 7"),
        (
            4,
            torch.tensor([0, 2, 1], dtype=torch.int32),
            "`starts` must rise from 0 to the number of pairs, 2",
        ),
        (5, torch.tensor([1, 2], dtype=torch.int32), r"`neighbours` must lie in \[0, 2\), got 2"),
        (0, torch.zeros(2, 3), r"`positions` must be contiguous with shape \[2, 3\] and dtype Double"),
    ],
)
def test_wrong_lists_are_refused(path, argument, value, message):
    native = MLIPCalculator(path, device="cpu")._native
    arguments = [
        torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, CUTOFF / 2]], dtype=torch.float64),
        torch.zeros(2, dtype=torch.int32),
        torch.zeros(0, dtype=torch.int32),
        torch.zeros(0, 3, dtype=torch.float64),
        torch.tensor([0, 1, 2], dtype=torch.int32),
        torch.tensor([1, 0], dtype=torch.int32),
        False,
    ]
    native._compiled.evaluate(*arguments)
    arguments[argument] = value
    with pytest.raises(RuntimeError, match=message):
        native._compiled.evaluate(*arguments)
