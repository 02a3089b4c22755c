"""What a call did not ask for is neither computed nor returned."""

from collections import Counter

import pytest
import torch
from calls import call
from random_pet import random_network, silicon
from torch.utils._python_dispatch import TorchDispatchMode
from toy import AnisotropicNetwork, silica

from ase_mlip import MLIPCalculator, load_model
from ase_mlip.building import _ops
from ase_mlip.errors import MLIPError
from ase_mlip.graph.neighbors import build_graph
from ase_mlip.model_file.potential import Potential
from ase_mlip.rotations.schemes import find_averaging

ALWAYS = {"energies", "energy"}
OPERATORS = {"forces": "forces_from_gradients", "virial": "virial_from_gradients"}
OPERATORS["virials"] = "virials_from_gradients"
RESIDUAL = {"featurizer_type": "residual", "num_gnn_layers": 2}


class Recorder(TorchDispatchMode):
    """Counts torch's own operators that run."""

    def __init__(self):
        super().__init__()
        self.calls = Counter()

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        self.calls[function.name()] += 1
        return function(*arguments, **(options or {}))


@pytest.fixture(autouse=True)
def operators():
    _ops.load()


def read_outs(network) -> Counter:
    """Counts the evaluations of each read-out of a PET from now on, and those that gave features."""
    counts = Counter()

    def count(name):
        def hook(_module, arguments, result):
            counts[name] += 1
            counts["features"] += result[1].size(1) > 0

        return hook

    for name, module in network.named_modules():
        if name.startswith("readout_") and name.count(".") <= 1 and type(module).__name__ == "Readout":
            module.register_forward_hook(count(name.split("_")[1]))
    return counts


@pytest.mark.parametrize("hypers", [{}, RESIDUAL], ids=["feedforward", "residual"])
@pytest.mark.parametrize("derivatives", [(), ("forces",)], ids=["energies", "forces"])
def test_pet_reads_out_only_what_is_wanted(hypers, derivatives):
    network = random_network(direct_forces=True, direct_stress=True, **hypers).eval().requires_grad_(False)
    potential, graph = Potential(network, {}), build_graph(silicon(), network.cutoff)
    layers = 2 if hypers else 1
    everything = call(potential, graph, [*derivatives, "direct_forces", "direct_virials", "features"])
    counts = read_outs(network)
    for wanted, expected in {
        (): {"energy": layers},
        ("direct_forces",): {"energy": layers, "forces": layers},
        ("direct_virials",): {"energy": layers, "virial": layers},
        ("features",): {"energy": layers, "features": layers},
    }.items():
        counts.clear()
        found = call(potential, graph, [*derivatives, *wanted])
        assert {name: count for name, count in counts.items() if count} == expected
        assert found.keys() == ALWAYS | set(derivatives) | set(wanted)
        for name in found:
            torch.testing.assert_close(found[name], everything[name], atol=1e-13, rtol=0)


@pytest.mark.parametrize("averaging", ["none", "octahedral"])
def test_operators_run_only_for_what_is_wanted(averaging, monkeypatch):
    ran = set()
    for name, operator in OPERATORS.items():
        original = getattr(torch.ops.ase_mlip, operator)

        def counted(*arguments, name=name, original=original):
            ran.add(name)
            return original(*arguments)

        monkeypatch.setattr(torch.ops.ase_mlip, operator, counted)
    network = AnisotropicNetwork([8, 14], 4.0).double().requires_grad_(False)
    potential, graph = Potential(network, {}), build_graph(silica(), 4.0)
    chosen = find_averaging(averaging)
    for wanted in ((), ("forces",), ("virial",), ("virials",), ("gradients",), ("forces", "virials")):
        ran.clear()
        with Recorder() as recorder:
            found = call(potential, graph, wanted, chosen)
        assert ran == set(wanted) & OPERATORS.keys()
        assert found.keys() == ALWAYS | set(wanted)
        backward = any("backward" in name for name in recorder.calls)
        assert backward == bool(wanted)


def test_the_spread_is_that_of_what_is_wanted(random_path):
    model = load_model(random_path, device="cpu", dtype="float64")
    graph, octahedral = build_graph(silicon(), model.info.cutoff), find_averaging("octahedral")
    found = model(graph, ("forces", "virial", "spread"), octahedral)
    values = {"energies_by_rotation", "forces_by_rotation", "virial_by_rotation"}
    assert found.keys() == ALWAYS | {"forces", "virial"} | values
    assert found["virial_by_rotation"].shape == (1, 24, 3, 3)
    torch.testing.assert_close(found["virial_by_rotation"].mean(1), found["virial"], atol=1e-12, rtol=0)
    torch.testing.assert_close(found["forces_by_rotation"].mean(1), found["forces"], atol=1e-12, rtol=0)
    found = model(graph, ("direct_forces", "spread"), octahedral)
    values = {"energies_by_rotation", "direct_forces_by_rotation"}
    assert found.keys() == ALWAYS | {"direct_forces"} | values


def test_a_calculator_asks_for_what_ase_needs(random_path, monkeypatch):
    from calculator_cases import count_evaluations

    atoms = silicon()
    for forces, names in {
        "conservative": ["forces", "virial"],
        "direct": ["direct_forces", "direct_virials"],
    }.items():
        calculator = MLIPCalculator(random_path, device="cpu", forces=forces)
        calls = count_evaluations(calculator, monkeypatch)
        calculator.calculate(atoms, ["energy"])
        assert calls == [names]


def test_names_that_nobody_has_are_refused(random_path):
    model = load_model(random_path, device="cpu")
    graph = build_graph(silicon(), model.info.cutoff)
    with pytest.raises(MLIPError, match="has no `charges`; expected some of energies, energy, forces"):
        model(graph, ["charges"])
    with pytest.raises(MLIPError, match="`outputs` must be a list of names such as `forces`, got True"):
        model(graph, True)
