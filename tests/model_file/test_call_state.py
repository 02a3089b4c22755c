"""What a program has switched on or off around loading, calling or exporting a model changes no bit of it."""

import contextlib

import numpy as np
import pytest
import torch
from random_pet import silicon

from ase_mlip import MLIPCalculator, export_model, load_model
from ase_mlip.graph.neighbors import build_graph
from ase_mlip.rotations.schemes import find_averaging


@contextlib.contextmanager
def gradients_off():
    before = torch.is_grad_enabled()
    torch.set_grad_enabled(False)
    yield
    torch.set_grad_enabled(before)


@contextlib.contextmanager
def default_dtype():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@contextlib.contextmanager
def deterministic():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


STATES = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "set_grad_enabled(False)": gradients_off,
    "autocast to bfloat16": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "set_default_dtype(float64)": default_dtype,
    "another default device": lambda: torch.device("meta"),
    "deterministic algorithms": deterministic,
    "all at once": None,
}


@contextlib.contextmanager
def state(name: str):
    with contextlib.ExitStack() as stack:
        for key, enter in STATES.items():
            if enter is not None and name in (key, "all at once"):
                stack.enter_context(enter())
        yield


def compute(path: str, kind: str, loaded_before=None) -> dict[str, np.ndarray]:
    """A calculator's results, and all outputs of the model."""
    options = {"symmetrize": "octahedral"} if kind == "averaged" else {"kernel": kind}
    model = load_model(path, device="cpu", dtype="float32") if loaded_before is None else loaded_before
    calculator = MLIPCalculator(model, **options)
    moved = silicon()
    results = {}
    for step in range(2):  # the second takes the neighbour list of the first
        moved.positions[0] += 0.01
        calculator.calculate(moved)
        results.update({f"{name} {step}": np.array(value) for name, value in calculator.results.items()})
    graph = build_graph(moved, model.info.cutoff)
    outputs = ("forces", "virial", "virials", "gradients", *model.info.outputs)
    found = model(graph, outputs, find_averaging("octahedral") if kind == "averaged" else None)
    return {**results, **{name: value.cpu().numpy() for name, value in found.items()}}


CASES = {
    "PET": ("random", "torch"),
    "PET, averaged": ("random", "averaged"),
    "s-NNP by torch": ("snnp-si", "torch"),
    "s-NNP natively": ("snnp-si", "native"),
}


@pytest.fixture(scope="module", params=CASES)
def case(request, random_path):
    name, kind = CASES[request.param]
    path = str(random_path) if name == "random" else name
    return path, kind, compute(path, kind)


def identical(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert np.array_equal(found[name], value), name


@pytest.mark.parametrize("name", STATES)
def test_loading_and_calling_in_any_state_is_bit_identical(case, name):
    path, kind, expected = case
    with state(name):
        found = compute(path, kind)
    identical(found, expected)


@pytest.mark.parametrize("name", ["inference_mode", "all at once"])
def test_a_model_loaded_before_or_in_it_serves_outside_and_inside(case, name):
    path, kind, expected = case
    with state(name):
        inside = load_model(path, device="cpu", dtype="float32")
        found = compute(path, kind, load_model(path, device="cpu", dtype="float32"))
    identical(found, expected)
    identical(compute(path, kind, inside), expected)


@pytest.mark.parametrize("name", ["inference_mode", "all at once"])
def test_exporting_in_any_state_gives_the_same_file(tmp_path, name):
    from random_pet import METADATA, random_network

    network = random_network(direct_forces=True)
    export_model(network, tmp_path / "plain.pt", METADATA)
    with state(name):
        export_model(network, tmp_path / "other.pt", METADATA)
    plain, other = (load_model(tmp_path / f"{which}.pt", device="cpu").info for which in ("plain", "other"))
    assert other.self_test == plain.self_test
    assert other.members == plain.members


@pytest.mark.parametrize("name", ["no_grad", "inference_mode", "autocast to bfloat16", "all at once"])
def test_a_calculator_that_goes_in_and_out_of_it(name):
    """Neighbour lists made inside are used outside, and the other way round."""
    for kernel in ("torch", "native"):
        calculator = MLIPCalculator("snnp-si", device="cpu", kernel=kernel)
        reference = MLIPCalculator("snnp-si", device="cpu", kernel=kernel)
        atoms = silicon()
        for step in range(4):
            atoms.positions[0] += 0.02
            with state(name) if step % 2 == 0 else contextlib.nullcontext():
                calculator.calculate(atoms)
            reference.calculate(atoms)
            identical(calculator.results, reference.results)
