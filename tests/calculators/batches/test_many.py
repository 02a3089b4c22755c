"""Many structures in one call: the results of single ones, batches of any size.

It also tests `batch_limit`.
"""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from calculator_cases import ALL, count_evaluations, rattled_silica

from ase_mlip.calculators.calculator import MLIPCalculator
from ase_mlip.errors import StructureError
from ase_mlip.model_file.model import load_model

LIMIT = "ase_mlip.calculators.batches.batch_limit.BatchLimit"


@pytest.fixture(params=["pair", "anisotropic"])
def model(request):
    return request.getfixturevalue(request.param)


def mixed_structures() -> list[Atoms]:
    return [
        rattled_silica(1),
        Atoms("Si"),
        bulk("Si"),
        molecule("Si2H6")[[0, 1]],
        rattled_silica(2) * (2, 1, 1),
    ]


def assert_equal_to_single(results: list[dict], model, structures: list[Atoms]) -> None:
    assert len(results) == len(structures)
    for result, atoms in zip(results, structures, strict=True):
        single = MLIPCalculator(model)
        single.calculate(atoms)
        assert set(result) == set(single.results)
        for name, value in single.results.items():
            np.testing.assert_allclose(result[name], value, atol=1e-11, err_msg=name)


def test_many_structures_give_the_results_of_single_ones(model):
    structures = mixed_structures()
    assert_equal_to_single(MLIPCalculator(model).evaluate(structures, ALL), model, structures)


@pytest.mark.parametrize("edges", [1, 200, 10**9])
def test_batches_of_any_size_give_the_results_of_single_structures(model, edges, monkeypatch):
    monkeypatch.setattr(f"{LIMIT}.__init__", lambda limit, device: None)
    monkeypatch.setattr(f"{LIMIT}._on_gpu", False, raising=False)
    monkeypatch.setattr(f"{LIMIT}.edges", edges, raising=False)
    structures = mixed_structures()
    calculator = MLIPCalculator(model)
    calls = count_evaluations(calculator, monkeypatch)
    assert_equal_to_single(calculator.evaluate(structures, ALL), model, structures)
    assert {1: 5, 200: 4, 10**9: 1}[edges] >= len(calls)


def test_a_batch_that_does_not_fit_is_halved(pair, monkeypatch):
    structures = mixed_structures()
    calculator = MLIPCalculator(pair)
    original = calculator._evaluate_graph
    sizes = []

    def limited(graph, properties):
        sizes.append(graph.n_structures)
        if graph.n_structures > 2:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return original(graph, properties)

    monkeypatch.setattr(calculator, "_evaluate_graph", limited)
    monkeypatch.setattr(f"{LIMIT}.__init__", lambda limit, device: None)
    monkeypatch.setattr(f"{LIMIT}._on_gpu", False, raising=False)
    monkeypatch.setattr(f"{LIMIT}.edges", 10**9, raising=False)
    assert_equal_to_single(calculator.evaluate(structures, ALL), pair, structures)
    assert sizes == [5, 2, 3, 1, 2]


def test_evaluating_many_structures_returns_what_was_asked_for(pair, monkeypatch, capsys):
    calculator = MLIPCalculator(pair)
    calls = count_evaluations(calculator, monkeypatch)
    structures = mixed_structures()
    before = [atoms.copy() for atoms in structures]
    assert all(set(result) == {"energy"} for result in calculator.evaluate(structures, ["energy"]))
    assert calls == [[]] * 5  # no forces, no virial
    assert structures == before
    assert calculator.atoms is None and calculator.results == {}
    assert all(set(result) == {"energy", "forces"} for result in calculator.evaluate(iter(structures)))
    assert calculator.evaluate([]) == []
    assert capsys.readouterr().err == ""
    seen = []
    calculator.evaluate(structures, progress=lambda *row: seen.append(row))
    assert seen[-1] == (5, 5, "") and [done for done, *_ in seen] == sorted(done for done, *_ in seen)
    with pytest.raises(PropertyNotImplementedError, match="`dipole`"):
        calculator.evaluate(structures, ["dipole"])


def test_a_bad_structure_among_many_is_named_by_its_position(pair):
    structures = mixed_structures()
    structures[3].positions[0] = np.nan
    with pytest.raises(StructureError, match="structure 3 of the list: `atoms.positions`"):
        MLIPCalculator(pair).evaluate(structures)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_numbers_of_the_cpu(pair_model_path):
    on_gpu = MLIPCalculator(pair_model_path, device="cuda", dtype="float64")
    on_cpu = load_model(pair_model_path, device="cpu", dtype="float64")
    structures = mixed_structures() * 30
    assert_equal_to_single(on_gpu.evaluate(structures, ALL), on_cpu, structures)
    for atoms in structures[:5]:
        atoms.calc = on_gpu
        expected = MLIPCalculator(on_cpu).get_property("forces", atoms)
        np.testing.assert_allclose(atoms.get_forces(), expected, atol=1e-11)
