"""Threads that share one loaded model give the numbers of serial runs, whatever each of them asks for."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.mep import NEB
from equivariant import random_nequip
from random_pet import silicon
from threads import in_threads
from toy import silica

from ase_mlip import Ensemble, MLIPCalculator, export_model, load_model
from ase_mlip.graph.neighbors import build_graph
from ase_mlip.rotations.schemes import find_averaging

EXACT = {"rtol": 0, "atol": 1e-12}
SCHEMES = ("none", "octahedral", "random 3")
ROUNDS = 2


@pytest.fixture(autouse=True)
def one_thread_each():
    """More threads than cores would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def results_of(calculator: MLIPCalculator, structures: list[Atoms]) -> Callable[[], list[dict]]:
    def evaluate() -> list[dict]:
        found = []
        for atoms in structures:
            calculator.calculate(atoms)
            found.append({**calculator.results, **calculator.diagnostics})
        return found

    return evaluate


def same(found: list[dict], expected: list[dict]) -> None:
    for mine, other in zip(found, expected, strict=True):
        assert mine.keys() == other.keys()
        for name, value in other.items():
            np.testing.assert_allclose(mine[name], value, **EXACT, err_msg=name)


def frames(count: int, make=silicon) -> list[Atoms]:
    return [make(seed=seed) for seed in range(count)]


@pytest.fixture(scope="module")
def nequip_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("threads") / "nequip.pt"
    metadata = {
        "name": "random NequIP",
        "species": [8, 14],
        "cutoff": 4.0,
        "message_passing_layers": 2,
        "interaction_range": 8.0,
        "equivariant": True,
    }
    export_model(random_nequip([8, 14], 4.0), path, metadata)
    return path


@pytest.fixture
def model(request, random_path, nequip_path):
    paths = {"PET": random_path, "s-NNP": "snnp-si", "NequIP": nequip_path}
    return load_model(paths[request.param], device="cpu", dtype="float64")


@pytest.mark.parametrize("model", ["PET", "s-NNP", "NequIP"], indirect=True)
def test_averaging_schemes_do_not_meet(model):
    structures = frames(2)

    def calculators():
        return [MLIPCalculator(model, symmetrize=scheme, kernel="torch") for scheme in SCHEMES]

    expected = [results_of(calculator, structures)() for calculator in calculators()]
    assert np.ptp([found[0]["energy"] for found in expected]) > (1e-9 if model.info.name == "random" else -1)
    for _ in range(ROUNDS):
        found = in_threads([results_of(calculator, structures) for calculator in calculators()])
        for mine, other in zip(found, expected, strict=True):
            same(mine, other)


@pytest.mark.parametrize("model", ["PET"], indirect=True)
def test_wanted_outputs_do_not_meet(model):
    """Features and heads in one thread, derivatives in another, single rotations in a third."""
    graph, averaging = build_graph(silicon(), model.info.cutoff), find_averaging("octahedral")
    asked = [
        (("features", "direct_forces"), averaging),
        (("forces", "virials"), None),
        (("forces", "virial", "spread"), averaging),
        ((), averaging),
    ]
    calls = [lambda names=names, chosen=chosen: model(graph, names, chosen) for names, chosen in asked]
    expected = [call() for call in calls]
    for _ in range(ROUNDS):
        for mine, other in zip(in_threads(calls), expected, strict=True):
            same([mine], [other])


@pytest.mark.parametrize("symmetrize", ["none", "octahedral"])
def test_deep_copies_of_a_calculator(symmetrize):
    """s-NNP: natively without an average, by torch with one."""
    calculator = MLIPCalculator("snnp-si", device="cpu", dtype="float64", symmetrize=symmetrize)
    assert calculator.parameters["kernel"] == ("native" if symmetrize == "none" else "torch")
    parts = [frames(3)[k:] for k in range(3)]
    expected = [results_of(copy.deepcopy(calculator), part)() for part in parts]
    for _ in range(5):
        copies = [copy.deepcopy(calculator) for _ in parts]
        for mine, other in zip(
            in_threads([results_of(*pair) for pair in zip(copies, parts, strict=True)]), expected, strict=True
        ):
            same(mine, other)


def test_one_native_calculator_in_two_threads():
    """Not what ASE is made for, but it must end neither in a crash nor in wrong numbers."""
    calculator = MLIPCalculator("snnp-si", device="cpu", dtype="float64")
    native, structures = calculator._native, [bulk("Si", cubic=True) * (k, 1, 1) for k in (1, 2, 3)]
    stored = [calculator._new_neighbors().stored(atoms) for atoms in structures]

    def evaluate(k: int):
        return lambda: [native(stored[k], structures[k].positions, True)[0]["energies"] for _ in range(20)]

    expected = [evaluate(k)() for k in range(3)]
    for mine, other in zip(in_threads([evaluate(k) for k in range(3)]), expected, strict=True):
        np.testing.assert_allclose(mine, other, **EXACT)
    parts = [frames(2), frames(3)]
    serial = [calculator.evaluate(part, ("energy", "forces", "stress")) for part in parts]
    found = in_threads(
        [lambda part=part: calculator.evaluate(part, ("energy", "forces", "stress")) for part in parts]
    )
    for mine, other in zip(found, serial, strict=True):
        same(mine, other)


def test_committees_in_threads(pair_model_path, anisotropic_model_path):
    """A deep copy shares the members' loaded models."""
    paths = pair_model_path, anisotropic_model_path
    committee = Ensemble.from_files([load_model(path, device="cpu", dtype="float64") for path in paths])
    parts = [frames(3, silica)[k:] for k in range(2)]
    expected = [results_of(copy.deepcopy(committee), part)() for part in parts]
    copies = [copy.deepcopy(committee) for _ in parts]
    assert [member.model for member in copies[0].members] == [member.model for member in copies[1].members]
    found = in_threads([results_of(*pair) for pair in zip(copies, parts, strict=True)])
    for mine, other in zip(found, expected, strict=True):
        same(mine, other)


def vacancy_band(calculator: MLIPCalculator) -> list[Atoms]:
    """Five images of an atom of silicon that goes into the vacancy beside it."""
    first = bulk("Si", cubic=True)
    hole = first.positions[0].copy()
    del first[0]
    last = first.copy()
    last.positions[first.get_distances(0, range(7), mic=True).argmin()] = hole
    last.positions[0] = hole
    images = [first, *(first.copy() for _ in range(3)), last]
    band = NEB(images, method="improvedtangent")
    band.interpolate(mic=True)
    for image in images:
        image.rattle(0.02, seed=1)
        image.calc = copy.deepcopy(calculator)
    return images


@pytest.mark.parametrize("symmetrize", ["octahedral", "none"])
@pytest.mark.parametrize("name", ["snnp-si", "pet"])
def test_a_band_in_threads_is_the_band_in_series(name, symmetrize, random_path):
    calculator = MLIPCalculator(
        random_path if name == "pet" else name, device="cpu", dtype="float64", symmetrize=symmetrize
    )
    forces, energies = [], []
    for parallel in (False, True):
        images = vacancy_band(calculator)
        band = NEB(images, parallel=parallel, method="improvedtangent")
        forces.append(band.get_forces())
        energies.append(band.energies[1:-1].copy())
    assert np.abs(forces[0]).max() > 0.01
    np.testing.assert_allclose(forces[1], forces[0], **EXACT)
    np.testing.assert_allclose(energies[1], energies[0], **EXACT)
