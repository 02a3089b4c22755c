"""SevenNet checkpoints in our network: parity with sevenn's own model and calculator.

It also tests `converters.sevennet.blocks`, `converters.sevennet.convolution`,
`converters.sevennet.network`, `converters.sevennet.parts`, `converters.sevennet.sevennet`,
`converters.sevennet.weights`.
"""

import hashlib
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of a library that only this test imports
    sevenn = pytest.importorskip("sevenn", reason="needs sevenn (0.13.0), the oracle")
    from sevenn import util
    from sevenn.calculator import SevenNetCalculator

from ase_mlip import MLIPCalculator
from ase_mlip.checks.check import check, passed
from ase_mlip.converters import adapt, export_adapted
from ase_mlip.converters.common import ENERGY, FORCES, STRESS
from ase_mlip.converters.structures import parity_structures
from ase_mlip.graph.neighbors import build_graph
from ase_mlip.model_file.info import read_info
from tests.adapters.sevennet_models import MODALITIES, write

XPLOR = {"cutoff_function_name": "XPLOR", "cutoff_on": 3.5}
VARIANTS = {
    "defaults, small": {},
    "3 layers, l = 2": {"num_convolution_layer": 3, "lmax": 2},
    "1 layer": {"num_convolution_layer": 1},
    "no parity, linear self-connection": {"is_parity": False, "self_connection_type": "linear", "lmax": 2},
    "l = 3 on edges, 1 on nodes": {"lmax": 1, "lmax_edge": 3, "lmax_node": 1},
    "XPLOR": {"cutoff_function": XPLOR},
    "harmonics of plain vectors": {"_normalize_sph": False, "is_parity": False},
    "bias, mixed self-connections": {
        "use_bias_in_linear": True,
        "self_connection_type": ["linear", "nequip"],
    },
    "other activations": {
        "act_radial": "ssp",
        "act_scalar": {"e": "ssp", "o": "abs"},
        "act_gate": {"e": "ssp", "o": "abs"},
    },
    "perceptron readout": {
        "readout_as_fcn": True,
        "readout_fcn_hidden_neurons": [6, 5],
        "readout_fcn_activation": "tanh",
    },
    "irreps by hand, a denominator per layer": {
        "is_parity": False,
        "self_connection_type": "linear",
        "irreps_manual": ["8x0e", "8x0e+4x1e+2x2e", "6x0e"],
        "lmax": 2,
        "conv_denominator": [3.0, 30.0],
    },
    "shift and scale per species": {"shift": [-1.5, -2.5, -7.0], "scale": [0.4, 0.5, 0.6]},
}


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("sevennet") / "small.pth")


@pytest.fixture(scope="module")
def seven_net_0(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("sevennet") / "7net-0.pt"
    assert_proven(export_adapted(adapt("sevennet", "7net-0"), path))
    return path


def assert_proven(found) -> None:
    assert [parity.dtype for parity in found] == ["float64", "float32"]
    assert found[0].energy < ENERGY and found[0].forces < FORCES and found[0].stress < STRESS
    assert found[1].energy < 3e-6 and found[1].forces < 3e-4 and found[1].stress < 3e-5


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS.keys())
def test_parity_with_sevenn(tmp_path, changes):
    adapted = adapt("sevennet", write(tmp_path / "random.pth", **changes), allow_pickle=True)
    assert_proven(export_adapted(adapted, tmp_path / "model.pt"))


@pytest.mark.parametrize(
    "backend", [{"cuequivariance_config": {"use": True}}, {"use_flash_tp": True}, {"use_oeq": True}]
)
def test_a_network_trained_with_an_accelerator(tmp_path, small, backend, capsys):
    atoms = bulk("Si")
    theirs = adapt("sevennet", write(tmp_path / "model.pth", **backend), allow_pickle=True)
    plain = adapt("sevennet", small, allow_pickle=True)
    assert theirs.reference(atoms).energy == plain.reference(atoms).energy
    pairs = zip(theirs.module.parameters(), plain.module.parameters(), strict=True)
    assert all(torch.equal(mine, other) for mine, other in pairs)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("modal", "constant"), [("PBE", -1.0), ("r2SCAN", -2.0)])
def test_a_modality(tmp_path, modal, constant):
    path = write(tmp_path / "fidelities.pth", **MODALITIES)
    adapted = adapt("sevennet", path, allow_pickle=True, modal=modal)
    assert_proven(export_adapted(adapted, tmp_path / "model.pt"))
    info = read_info(tmp_path / "model.pt")
    assert info.reference_energies["O"] == constant
    assert info.name == f"fidelities-{modal}" and f"modality {modal} of PBE, r2SCAN" in info.description


def test_an_installed_model_of_higher_degree(tmp_path):
    assert_proven(export_adapted(adapt("sevennet", "7net-l3i5"), tmp_path / "7net-l3i5.pt"))


@pytest.mark.parametrize("modal", ["PBE", "R2SCAN"])
def test_the_installed_model_of_several_fidelities_is_proven(tmp_path, modal):
    path = tmp_path / "7net-mf-0.pt"
    assert_proven(export_adapted(adapt("sevennet", "7net-mf-0", modal=modal), path))
    info = read_info(path)
    assert info.name == f"7net-mf-0-{modal}" and "multi-fidelity" in info.citation


def test_the_installed_model_of_several_fidelities():
    energies = []
    atoms = bulk("MgO", "rocksalt", a=4.2)
    for modal in ("PBE", "R2SCAN"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = SevenNetCalculator("7net-mf-0", modal=modal, device="cpu")
        adapted = adapt("sevennet", "7net-mf-0", modal=modal)
        energies.append(theirs.get_potential_energy(atoms))
        assert adapted.reference(atoms).energy == pytest.approx(energies[-1], rel=1e-6)
        assert modal.lower() in adapted.metadata["training"]["functional"].lower()
    assert abs(energies[0] - energies[1]) > 1.0


@pytest.mark.parametrize(
    "changes", [{}, {"is_parity": False, "use_bias_in_linear": True}], ids=["O(3)", "SO(3)"]
)
def test_every_check(tmp_path, changes):
    adapted = adapt("sevennet", write(tmp_path / "random.pth", **changes), allow_pickle=True)
    export_adapted(adapted, tmp_path / "model.pt")
    results = check(tmp_path / "model.pt")
    assert passed(results), [result for result in results if result.passed is False]
    assert read_info(tmp_path / "model.pt").equivariant == (not changes)


def test_blocks_and_the_chain_over_layers_are_autograd_of_the_whole(small):
    network = adapt("sevennet", small, allow_pickle=True).module.to(torch.float64)
    graph = build_graph(parity_structures([8, 14, 22], 4.0)["slab"], 4.0)
    vectors = graph.edge_vectors.clone().requires_grad_(True)
    arguments = (graph.species, graph.edge_index, vectors, graph.reverse_edges, {})
    whole = network(*arguments, [])
    for weights in (torch.ones(len(graph.species)), torch.arange(len(graph.species)) % 3 == 0):
        weights = weights.to(torch.float64)
        total = (weights * whole["energies"]).sum()
        expected = torch.autograd.grad(total, vectors, retain_graph=True)[0]
        for network.edges_cpu in (1, 40, 10**6):
            outputs, gradient = network.energies_and_gradients(*arguments, weights, [])
            torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-13)
            wanted = weights * whole["energies"]
            torch.testing.assert_close(weights * outputs["energies"], wanted, rtol=0, atol=1e-13)


def test_edges_beyond_the_cutoff_do_not_count(small):
    network = adapt("sevennet", small, allow_pickle=True).module.to(torch.float64)
    graph = build_graph(bulk("Si", cubic=True), 5.0)
    short = graph.edge_vectors.norm(dim=1) < 4.0
    everything = network(graph.species, graph.edge_index, graph.edge_vectors, graph.reverse_edges, {}, [])
    inside = graph.edge_index[:, short], graph.edge_vectors[short], graph.reverse_edges[short]
    expected = network(graph.species, *inside, {}, [])
    assert (~short).any()
    torch.testing.assert_close(everything["energies"], expected["energies"], rtol=0, atol=1e-13)


# ---- SevenNet-0 --------------------------------------------------------------------------------------------


def test_seven_net_0_describes_itself(seven_net_0):
    info = read_info(seven_net_0)
    assert (info.name, info.cutoff, info.message_passing_layers, info.interaction_range) == (
        "7net-0",
        5,
        5,
        25,
    )
    assert len(info.species) == 89 and not info.equivariant and info.dtype == "float32"
    assert "D3) is not included" in info.description and "not under inversion" in info.description
    assert "MIT" in info.license and "BSD-3-Clause" in info.license and "jctc" in info.citation
    assert info.versions["sevenn"] == sevenn.__version__ and info.training["epoch"] == 600
    assert info.outputs == ["energies", "features"]
    assert info.training["functional"] == "PBE, PBE+U" and "MPtrj" in info.training["data"]
    source = Path(util.pretrained_name_to_path("7net-0"))
    assert info.training["checkpoint"] == source.name
    assert info.training["checkpoint_sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    with zipfile.ZipFile(seven_net_0) as file:
        code = b"".join(file.read(name) for name in file.namelist() if "/code/" in name)
    assert b"sevenn.nn" not in code and b"e3nn" not in code


def test_seven_net_0_beside_its_calculator_in_float32(seven_net_0):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = SevenNetCalculator("7net-0", device="cpu")
    ours = MLIPCalculator(seven_net_0, dtype="float32")
    atoms = bulk("NaCl", "rocksalt", a=5.6).repeat(2)
    atoms.rattle(0.05, seed=2)
    energy, forces, stress = (
        ours.get_potential_energy(atoms),
        ours.get_forces(atoms),
        ours.get_stress(atoms),
    )
    assert energy == pytest.approx(theirs.get_potential_energy(atoms), rel=1e-6)
    np.testing.assert_allclose(forces, theirs.get_forces(atoms), atol=1e-5)
    np.testing.assert_allclose(stress, theirs.get_stress(atoms), atol=1e-6)


@pytest.mark.slow
def test_seven_net_0_passes_every_check(seven_net_0):
    results = check(seven_net_0)
    assert passed(results), [result for result in results if result.passed is False]


def test_a_species_it_does_not_know(seven_net_0):
    with pytest.raises(ValueError, match="Po"):
        MLIPCalculator(seven_net_0).get_potential_energy(Atoms("Po"))


@pytest.mark.parametrize("ranks", [1, 2])
def test_seven_net_0_in_lammps(parallel, seven_net_0, tmp_path, ranks):
    from harness import Case, check_case, in_lammps_frame

    atoms = bulk("NaCl", "rocksalt", a=5.6)
    atoms.rattle(0.05, seed=0)
    pair = f"pair_style mlip device cpu dtype float64\npair_coeff * * {seven_net_0} Cl Na"
    calculator = MLIPCalculator(seven_net_0, dtype="float64")
    check_case(parallel, Case(in_lammps_frame(atoms), pair), tmp_path, calculator, ranks=ranks)


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_chosen_modality_in_lammps(parallel, tmp_path, ranks):
    from harness import Case, check_case, in_lammps_frame

    path = tmp_path / "model.pt"
    checkpoint = write(tmp_path / "fidelities.pth", **MODALITIES)
    export_adapted(adapt("sevennet", checkpoint, allow_pickle=True, modal="r2SCAN"), path)
    atoms = bulk("SiO", "zincblende", a=4.6, cubic=True)
    atoms.rattle(0.05, seed=0)
    pair = f"pair_style mlip device cpu dtype float64\npair_coeff * * {path} O Si"
    calculator = MLIPCalculator(path, dtype="float64")
    check_case(parallel, Case(in_lammps_frame(atoms), pair), tmp_path, calculator, ranks=ranks)


STATE = """
import os, random, sys, warnings
import numpy as np, torch
from ase.build import bulk
from ase_mlip.converters import AdapterError, adapt
def state():
    return (dict(os.environ), torch.get_default_dtype(), slice in torch.serialization.get_safe_globals(),
            list(warnings.filters), torch.random.get_rng_state().tolist(), random.getstate(),
            np.random.get_state()[1].tolist(), sys.stdout)
before = state()
adapt("sevennet", sys.argv[1], allow_pickle=True).reference(bulk("Si"))
assert state() == before, "read"
try:
    adapt("sevennet", "7net-omni", allow_pickle=True)
except AdapterError:
    assert state() == before, "refused"
import sevenn.util as util
assert util.download_checkpoint.__module__ == "sevenn.util"
"""


def test_the_process_is_left_as_it_was(small):
    """In one where nothing imported sevenn before, which sets filters of warnings; building draws numbers."""
    command = [sys.executable, "-c", STATE, str(small)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
