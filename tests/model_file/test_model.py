"""Model files: what is written and read again, and how a loaded one runs.

It also tests `derivatives`, `export`, `potential`.
"""

import io
import os
import pickle
import re
import subprocess
import sys
import threading
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from model_files import as_atoms
from toy import AnisotropicNetwork, PairNetwork, export_toy

from ase_mlip import _torchscript
from ase_mlip.errors import ModelFileError
from ase_mlip.graph.neighbors import build_graph
from ase_mlip.model_file import archive
from ase_mlip.model_file.model import load_model, read_info

# ---- round trip --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", torch.float64, None])
def test_loaded_model_runs_in_the_asked_precision(anisotropic_model_path, dtype):
    model = load_model(anisotropic_model_path, device="cpu", dtype=dtype)
    expected = torch.float64 if "64" in str(dtype) else torch.float32
    assert model.dtype == expected
    assert {parameter.dtype for parameter in model.module.network.parameters()} == {expected}
    assert model.module.reference_energies.dtype == torch.float64
    outputs = model(build_graph(as_atoms(model.info.self_test["structure"]), model.info.cutoff))
    assert {value.dtype for value in outputs.values()} == {torch.float64}


def test_loaded_energies_equal_the_exported_network(tmp_path):
    network = AnisotropicNetwork([8, 14], 4.0).double()
    info = export_toy(tmp_path / "a.pt", network)
    atoms = as_atoms(info.self_test["structure"])
    model = load_model(tmp_path / "a.pt", device="cpu")
    graph = build_graph(atoms, 4.0)
    plain = network(graph.species, graph.edge_index, graph.edge_vectors, graph.reverse_edges, {}, [])
    plain = plain["energies"]
    constants = torch.tensor([{8: -1.5, 14: -4.25}[number] for number in atoms.numbers])
    torch.testing.assert_close(model(graph)["energies"], plain.detach() + constants, rtol=0, atol=1e-12)


def test_document_is_read_without_torch(pair_model_path):
    program = (
        "import sys; from ase_mlip.model_file.info import read_info; "
        "info = read_info(sys.argv[1]); assert 'torch' not in sys.modules; print(info.name)"
    )
    command = [sys.executable, "-c", program, str(pair_model_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "toy-PairNetwork"


def test_document_survives_the_round_trip(tmp_path):
    errors = {"test": {"energy_rmse": np.float64(0.1), "n": np.int64(3)}}
    training = {"errors": errors, "by epoch": {10: 1, 9: 2}}
    written = export_toy(tmp_path / "a.pt", training=training, pair_cutoffs={"O-O": 2.5, "O-Si": 3.0})
    read = read_info(tmp_path / "a.pt")
    assert read.training == {"errors": {"test": {"energy_rmse": 0.1, "n": 3}}, "by epoch": {"10": 1, "9": 2}}
    assert replace(read, training={}) == replace(written, training={})
    assert read.pair_cutoff_numbers() == {(8, 8): 2.5, (8, 14): 3.0, (14, 8): 3.0}


def test_same_network_gives_the_same_archive(tmp_path):
    first, second = (export_toy(tmp_path / f"{name}.pt", AnisotropicNetwork([14], 4.0), reference_energies={})
                     for name in "ab")  # fmt: skip
    assert first.members == second.members
    assert first.self_test == second.self_test


def test_file_holds_no_folder_of_the_exporting_machine(pair_model_path):
    with zipfile.ZipFile(pair_model_path) as zipped:
        content = b"".join(zipped.read(name) for name in zipped.namelist())
    assert os.getcwd().encode() not in content
    assert sys.prefix.encode() not in content


def test_stored_tensors_are_aligned_for_mapping(pair_model_path):
    with zipfile.ZipFile(pair_model_path) as zipped, pair_model_path.open("rb") as stream:
        for entry in zipped.infolist():
            if "/data/" in entry.filename:
                stream.seek(entry.header_offset + 26)
                name, extra = (int.from_bytes(stream.read(2), "little") for _ in range(2))
                assert (entry.header_offset + 30 + name + extra) % archive.ALIGNMENT == 0


def test_export_leaves_the_network_alone(tmp_path):
    network = AnisotropicNetwork([8, 14], 4.0).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    export_toy(tmp_path / "a.pt", network)
    assert network.training
    assert all(weight.requires_grad and weight.dtype == torch.float32 for weight in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_loaded_model_can_be_exported_again(tmp_path, anisotropic_model_path):
    from ase_mlip.model_file.model import export_model

    model = load_model(anisotropic_model_path, device="cpu")
    again = export_model(model.module, tmp_path / "again.pt", replace(model.info, name="again"))
    assert again.name == "again"
    assert again.reference_energies == model.info.reference_energies
    assert again.self_test["reference"] == model.info.self_test["reference"]
    load_model(tmp_path / "again.pt", device="cpu")


def test_model_pickles_by_path_and_notices_a_replaced_file(tmp_path):
    path = tmp_path / "a.pt"
    export_toy(path)
    data = pickle.dumps(load_model(path, device="cpu", dtype="float64"))
    assert len(data) < 2000
    model = pickle.loads(data)
    assert (model.path, model.dtype) == (path, torch.float64)
    export_toy(path, PairNetwork([8, 14], 4.5))
    with pytest.raises(ModelFileError, match="was replaced"):
        pickle.loads(data)


def test_weights_need_no_gradients_after_loading(pair_model_path):
    model = load_model(pair_model_path, device="cpu")
    assert not any(parameter.requires_grad for parameter in model.module.parameters())


def test_hyperparameters_are_recorded(tmp_path):
    from dataclasses import dataclass

    @dataclass
    class Hypers:
        width: int = 8

    network = AnisotropicNetwork([8, 14], 4.0)
    network.hypers = Hypers()
    assert export_toy(tmp_path / "a.pt", network).architecture == {"name": "AnisotropicNetwork", "width": 8}


# ---- running -----------------------------------------------------------------------------------------------


def test_later_shapes_trigger_no_recompilation(anisotropic_model_path):
    """Profiling compiles an optimised plan on the second call; without, libtorch says there is none."""
    model = load_model(anisotropic_model_path, device="cpu")
    atoms = as_atoms(model.info.self_test["structure"])
    graphs = [build_graph(atoms.repeat((repeat, 1, 1)), model.info.cutoff) for repeat in (1, 2, 3, 1)]
    for graph in graphs:
        model(graph)
    with pytest.raises(RuntimeError, match="optimized_plan_"):
        model.module.get_debug_state()
    none = torch.zeros(0, 3, 3, dtype=torch.float64)
    for graph in graphs[:3]:  # the same calls with profiling: this is what the test above can tell apart
        model.module(graph.species, graph.edge_index, graph.edge_vectors, graph.reverse_edges,
                     graph.node_weights, graph.structure, 1, {}, none, none, 0, ["forces"])  # fmt: skip
    assert model.module.get_debug_state().execution_plans


def test_threads_do_not_profile_either(anisotropic_model_path):
    """The flag that turns profiling off is libtorch's, per thread."""
    model = load_model(anisotropic_model_path, device="cpu", self_test=False)
    graph = build_graph(as_atoms(model.info.self_test["structure"]), model.info.cutoff)
    for _ in range(3):
        thread = threading.Thread(target=model, args=(graph,))
        thread.start()
        thread.join()
    with pytest.raises(RuntimeError, match="optimized_plan_"):
        model.module.get_debug_state()


def test_allocator_is_tuned_unless_one_opts_out(pair_model_path, monkeypatch):
    from ase_mlip.model_file import model

    calls = []
    monkeypatch.setattr(model, "_tune_allocator", lambda: calls.append(1))
    load_model(pair_model_path, device="cpu", tune_allocator=False)
    assert not calls
    load_model(pair_model_path, device="cpu")
    assert calls == [1]


def test_the_state_of_a_call_holds_in_this_thread_only_while_it_lasts():
    before = torch._C._get_graph_executor_optimize()
    with _torchscript.calling():
        assert not torch._C._get_graph_executor_optimize()
    assert torch._C._get_graph_executor_optimize() == before


def test_torchscript_is_called_from_one_file_only():
    from pathlib import Path

    import ase_mlip

    calls = re.compile(r"torch\.jit\.(script|load|save|trace|freeze|optimized_execution)\b")
    folder = Path(ase_mlip.__file__).parent
    files = [file.name for file in folder.rglob("*.py") if calls.search(file.read_text())]
    assert files == ["_torchscript.py"]


def test_importing_the_package_does_not_import_torch():
    code = "import sys, ase_mlip; ase_mlip.ModelInfo; assert 'torch' not in sys.modules; print(dir(ase_mlip))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "load_model" in done.stdout


def test_unknown_attribute_of_the_package_is_an_attribute_error():
    import ase_mlip

    with pytest.raises(AttributeError, match="`ase_mlip` has no attribute `nothing`"):
        _ = ase_mlip.nothing


def test_buffers_can_be_loaded_from_memory(pair_model_path):
    assert _torchscript.is_scripted(_torchscript.load(io.BytesIO(pair_model_path.read_bytes())))
