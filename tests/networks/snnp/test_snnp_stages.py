"""The stages of an s-NNP that a GPU works through, on the host: the same numbers as the CPU's kernel."""

import subprocess

import numpy as np
import pytest
import torch
from random_edges import Edges
from snnp_kinds import KINDS, example

from ase_mlip.building import _build, _ops
from ase_mlip.networks.snnp.hypers import SNNPHypers
from ase_mlip.networks.snnp.snnp import SNNP


@pytest.fixture(scope="module")
def in_stages(tmp_path_factory):
    _ops.load()
    folder = tmp_path_factory.mktemp("stages")
    compiler = _build.require_compiler()
    commands = _build.Commands(_build.describe_target(), compiler, folder)
    source = _build.source_folder().parent / "tests" / "cpp" / "snnp_in_stages.cpp"
    library = folder / "stages.so"
    flags = [*commands.common, "-O0", "-shared", "-fPIC", f"-I{_build.source_folder()}"]
    libraries = [f"-L{commands.torch / 'lib'}", "-lc10", "-ltorch_cpu"]
    subprocess.run([compiler, *flags, str(source), *libraries, "-o", str(library)], check=True)
    torch.ops.load_library(library)
    return torch.ops.ase_mlip_test.snnp_in_stages


def compare(found: tuple, expected: tuple, exact: float) -> None:
    for one, other in ((found[0]["energies"], expected[0]["energies"]), (found[1], expected[1])):
        assert np.abs((one.cpu() - other).numpy()).max() <= exact * max(1.0, float(other.abs().max()))
    assert float(expected[1].abs().max()) > 0.1


PRECISIONS = pytest.mark.parametrize(("dtype", "exact"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])


@PRECISIONS
@pytest.mark.parametrize("kind", KINDS)
def test_stages_give_the_numbers_of_the_cpu(in_stages, monkeypatch, kind, dtype, exact):
    network, arguments = example(kind, dtype)
    expected = network.energies_and_gradients(*arguments)
    monkeypatch.setattr(torch.ops.ase_mlip, "snnp", in_stages)
    compare(network.energies_and_gradients(*arguments), expected, exact)


@pytest.mark.parametrize("length", [1, 16, 64])
@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("n_edges", [0, 1, 777])
def test_virials_by_runs_of_edges(in_stages, length, shuffled, n_edges):
    """Edges sorted by centre, as a GPU wants them, and in no order, which is only slower."""
    edges = Edges(n_edges)
    if shuffled:
        order = torch.randperm(n_edges, generator=torch.Generator().manual_seed(3))
        edges.index, edges.structure = edges.index[:, order].contiguous(), edges.structure[order]
    arguments = edges.gradients, edges.vectors, edges.index, edges.n_nodes
    found = torch.ops.ase_mlip_test.virials_in_runs(*arguments, length)
    expected = torch.ops.ase_mlip.virials_from_gradients(*arguments)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    arguments = edges.gradients, edges.vectors, edges.structure, 2
    found = torch.ops.ase_mlip_test.virial_in_runs(*arguments, length)
    torch.testing.assert_close(
        found, torch.ops.ase_mlip.virial_from_gradients(*arguments), rtol=0, atol=1e-12
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@PRECISIONS
@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_gives_the_numbers_of_the_cpu(kind, dtype, exact):
    _ops.load()
    network, arguments = example(kind, dtype)
    expected = network.energies_and_gradients(*arguments)
    moved = [x.cuda() if isinstance(x, torch.Tensor) else x for x in arguments]
    compare(network.cuda().energies_and_gradients(*moved), expected, 10 * exact)


def test_atoms_alone_and_no_atoms(in_stages, monkeypatch):
    torch.manual_seed(0)
    network = SNNP(SNNPHypers(species=[14], hidden=[4])).double()
    monkeypatch.setattr(torch.ops.ase_mlip, "snnp", in_stages)
    for n in (0, 2):
        empty = torch.zeros(2, 0, dtype=torch.int64), torch.zeros(0, 3, dtype=torch.float64)
        species = torch.full((n,), 14)
        found, gradients = network.energies_and_gradients(
            species, *empty, empty[0][0], {}, torch.ones(n, dtype=torch.float64), []
        )
        assert found["energies"].tolist() == [0.0] * n and gradients.shape == (0, 3)
