"""The device a file runs on: the rule with facts of machines that are not here, and what follows from it."""

import logging
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ase.build import bulk
from torch import Tensor
from toy import AnisotropicNetwork
from waits import OnGPU

from ase_mlip import MLIPCalculator, load_model
from ase_mlip.building.device import GPUs, covers, devices_to_try, is_lack_of_memory, on_first_that_works
from ase_mlip.errors import DeviceWarning, MLIPError, ModelFileError
from ase_mlip.model_file.export import export_model
from ase_mlip.model_file.self_test import exported_rotations

H200 = GPUs(((9, 0),), 0, ("sm_80", "sm_90", "compute_90"))
TWO = GPUs(((8, 0), (9, 0)), 1, ("sm_80", "sm_90"))
OLD = GPUs(((6, 1),), 0, ("sm_75", "sm_80", "compute_80"))


@pytest.mark.parametrize(
    ("architectures", "capability", "expected"),
    [
        (["sm_80"], (8, 0), True),
        (["sm_80"], (8, 6), True),  # of the same major version, from the minor one on
        (["sm_86"], (8, 0), False),
        (["sm_80"], (9, 0), False),
        (["compute_80"], (9, 0), True),  # PTX, for all that come later
        (["compute_90"], (8, 9), False),
        (["sm_100", "compute_120"], (10, 3), True),  # the last digit is the minor version
        (["sm_90a"], (9, 0), False),  # for one architecture only, and not what we build
        ([], (9, 0), False),
    ],
)
def test_what_code_for_some_architectures_runs_on(architectures, capability, expected):
    assert covers(architectures, capability) == expected


@pytest.mark.parametrize(
    ("device", "gpus", "expected"),
    [
        ("auto", GPUs(), ["cpu"]),
        ("auto", H200, ["cuda:0", "cpu"]),
        ("auto", TWO, ["cuda:1", "cpu"]),
        ("auto", OLD, ["cpu"]),
        ("cpu", H200, ["cpu"]),
        ("cuda", TWO, ["cuda:1"]),
        (torch.device("cuda:0"), TWO, ["cuda:0"]),
    ],
)
def test_devices_in_their_order(device, gpus, expected):
    devices, reason = devices_to_try(device, gpus)
    assert [str(found) for found in devices] == expected
    assert bool(reason) == (str(device) == "auto" and expected == ["cpu"])


@pytest.mark.parametrize(
    ("device", "gpus", "message"),
    [
        ("cuda", GPUs(), "`device` cuda is not there: torch sees 0 GPUs; use `cpu`"),
        ("cuda:2", TWO, "`device` cuda:2 is not there: torch sees 2 GPUs"),
        ("cuda", OLD, r"torch was compiled for sm_75, sm_80, compute_80, .* capability 6.1; use `cpu`"),
        ("gpu", H200, "unknown `device` 'gpu'; expected `auto`"),
        ("meta", H200, "`device` meta is not supported; expected `auto`"),
    ],
)
def test_an_explicit_device_is_taken_or_refused(device, gpus, message):
    with pytest.raises(MLIPError, match=message):
        devices_to_try(device, gpus)


def failing_on_gpus(device: torch.device) -> str:
    if device.type == "cuda":
        raise ModelFileError("`x.pt` fails its self-test in float32 on `cuda:0`:\n `energy`: expected 1")
    return str(device)


def test_auto_takes_the_gpu_that_works():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert on_first_that_works("auto", str, H200) == "cuda:0"


def test_auto_takes_the_cpu_where_the_self_test_fails_and_says_why():
    with pytest.warns(DeviceWarning, match=r"auto takes the CPU: `cuda:0` .*fails its self-test.*expected 1"):
        assert on_first_that_works("auto", failing_on_gpus, H200) == "cpu"


def test_an_explicit_gpu_that_fails_stays_an_error():
    with pytest.raises(ModelFileError, match="fails its self-test"):
        on_first_that_works("cuda", failing_on_gpus, H200)


def test_a_gpu_that_torch_was_not_compiled_for_is_named():
    with pytest.warns(DeviceWarning, match="torch was compiled for sm_75.*compute capability 6.1"):
        assert on_first_that_works("auto", failing_on_gpus, OLD) == "cpu"


def test_a_machine_without_a_gpu_is_no_warning(caplog):
    with warnings.catch_warnings(), caplog.at_level(logging.INFO, logger="ase_mlip"):
        warnings.simplefilter("error")
        assert on_first_that_works("auto", failing_on_gpus, GPUs()) == "cpu"
    assert caplog.messages == ["`device` auto takes the CPU: torch sees no GPU"]


def test_a_file_that_is_no_good_anywhere_is_no_matter_of_the_device():
    def load(device):
        raise ModelFileError("damaged")

    with warnings.catch_warnings(), pytest.raises(ModelFileError, match="damaged"):
        warnings.simplefilter("error")
        on_first_that_works("auto", load, H200)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU would work")
@pytest.mark.parametrize("name", ["pet-si", "snnp-si"])
def test_shipped_potentials_run_where_a_gpu_is_seen_that_cannot_be_used(monkeypatch, name):
    """As with a broken driver: torch says that there is a GPU, and nothing can be put there."""
    monkeypatch.setattr("ase_mlip.building.device.find_gpus", lambda: H200)
    with pytest.warns(DeviceWarning, match="`cuda:0` cannot be used"):
        calculator = MLIPCalculator(name)
    assert calculator.model.device.type == "cpu"
    atoms = bulk("Si", cubic=True)
    atoms.calc = calculator
    assert np.isfinite(atoms.get_potential_energy())
    with pytest.raises((MLIPError, AssertionError, RuntimeError), match="CUDA"):
        load_model(name, device="cuda")


def test_rotations_of_a_model_on_a_gpu_are_brought_to_the_cpu():
    """NumPy reads them; here they only say that they are on a GPU, where `numpy` would fail."""
    network = SimpleNamespace(
        rotations=torch.eye(3)[None].as_subclass(OnGPU), weights=torch.ones(1).as_subclass(OnGPU)
    )
    OnGPU.reads.clear()
    exported_rotations(SimpleNamespace(network=network))
    assert OnGPU.reads == {"cpu": 2}


# ---- lack of memory ---------------------------------------------------------------------------------------


class Greedy(torch.nn.Module):
    """Fits no more nodes than ``most``, and says so as torch does on a GPU."""

    def __init__(self, network: torch.nn.Module, most: int):
        super().__init__()
        self.network = network
        self.species: list[int] = network.species
        self.cutoff: float = network.cutoff
        self.most = most

    def forward(self, species: Tensor, edge_index: Tensor, edge_vectors: Tensor, reverse_edges: Tensor,
                inputs: dict[str, Tensor], outputs: list[str]) -> dict[str, Tensor]:  # fmt: skip
        # an error of libtorch, as the allocator's is: `raise` would be one of TorchScript's own
        fits = torch.tensor(species.size(0) <= self.most)
        text = "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity ..."
        nothing = torch._functional_assert_async(fits, text, torch.zeros_like(edge_vectors))
        edge_vectors = edge_vectors + nothing  # or the assertion would be left out as dead code
        return self.network(species, edge_index, edge_vectors, reverse_edges, inputs, outputs)


@pytest.fixture(scope="module")
def greedy(tmp_path_factory):
    """Two files: of a network that takes at most 20 nodes at once, and of the same network without limit."""
    folder = tmp_path_factory.mktemp("greedy")
    network = AnisotropicNetwork([14], 4.0)
    claims = {"name": "toy", "species": [14], "cutoff": 4.0}
    claims.update(message_passing_layers=1, interaction_range=4.0)
    paths = [folder / "greedy.pt", folder / "all.pt"]
    for path, most in zip(paths, (20, 10**9), strict=True):
        export_model(Greedy(network, most), path, claims)
    return paths


def test_torchscript_leaves_only_the_message(greedy):
    model = load_model(greedy[0], "cpu")
    with pytest.raises(RuntimeError) as caught:
        MLIPCalculator(model).get_potential_energy(bulk("Si", cubic=True) * (3, 1, 1))
    assert not isinstance(caught.value, torch.cuda.OutOfMemoryError)
    assert is_lack_of_memory(caught.value)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.cuda.OutOfMemoryError("anything"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("`edge_index` must be sorted"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_lack_of_memory_is_recognised(error, expected):
    assert is_lack_of_memory(error) == expected


def test_structures_that_do_not_fit_together_are_evaluated_apart(greedy, monkeypatch):
    structures = [bulk("Si", cubic=True) * (1, 1, 1) for _ in range(5)]
    for seed, atoms in enumerate(structures):
        atoms.rattle(0.05, seed=seed)
    calculators = [MLIPCalculator(load_model(path, "cpu", "float64")) for path in greedy]
    expected = calculators[1].evaluate(structures, ["energy", "forces"])
    monkeypatch.setattr("ase_mlip.calculators.batches.batch_limit.FIRST_BATCH", 10**6)
    limit = "ase_mlip.calculators.batches.batch_limit.BatchLimit"
    monkeypatch.setattr(
        f"{limit}.__init__", lambda self, device: vars(self).update(_on_gpu=False, edges=10**6)
    )
    for found, right in zip(calculators[0].evaluate(structures), expected, strict=True):
        np.testing.assert_allclose(found["forces"], right["forces"], atol=1e-12)
        assert found["energy"] == pytest.approx(right["energy"], abs=1e-10)


def test_rotations_that_do_not_fit_together_are_evaluated_apart(greedy):
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.05, seed=1)
    found, right = (
        MLIPCalculator(load_model(path, "cpu", "float64"), symmetrize="octahedral") for path in greedy
    )
    found._rotations_limit.edges = 10**6  # all 24 at once
    np.testing.assert_allclose(found.get_forces(atoms), right.get_forces(atoms), atol=1e-12)
