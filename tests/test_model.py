"""Model files: what is written, what is verified, and which error each kind of bad file gets."""

import hashlib
import io
import json
import os
import pickle
import re
import resource
import subprocess
import sys
import threading
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.neighborlist import neighbor_list
from torch import Tensor
from toy import AnisotropicNetwork, PairNetwork, export_toy

from ase_mlip import _torchscript, archive, self_test
from ase_mlip.errors import MLIPError, ModelFileError
from ase_mlip.model import load_model, read_info
from ase_mlip.model_info import ModelInfo, find_model, shipped_models
from ase_mlip.neighbors import build_graph


def as_atoms(structure: dict) -> Atoms:
    return Atoms(structure["numbers"], positions=structure["positions"], cell=structure["cell"], pbc=True)


def rewrite(source, target, members=None, document=None, resign=True):
    """Copy a model file with some members or claims of the document replaced, signed anew if asked."""
    members, document = members or {}, document or {}
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            content = old.read(entry)
            name = entry.filename.partition("/")[2]
            if name == archive.DOCUMENT:
                claims = {**json.loads(content), **document}
                if resign:
                    claims.pop("document_sha256")
                    text = json.dumps(claims, sort_keys=True, separators=(",", ":"))
                    claims["document_sha256"] = hashlib.sha256(text.encode()).hexdigest()
                content = json.dumps(claims)
            new.writestr(entry.filename, members.get(name, content))
    return target


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
    plain = network(graph.species, graph.edge_index, graph.edge_vectors, graph.reverse_edges, {})["energies"]
    constants = torch.tensor([{8: -1.5, 14: -4.25}[number] for number in atoms.numbers])
    torch.testing.assert_close(model(graph)["energies"], plain.detach() + constants, rtol=0, atol=1e-12)


def test_document_is_read_without_torch(pair_model_path):
    program = (
        "import sys; from ase_mlip.model_info import read_info; "
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
    from ase_mlip.model import export_model

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


# ---- the self-test -----------------------------------------------------------------------------------------


def info_for(species, cutoff, **claims) -> ModelInfo:
    return ModelInfo("x", species, cutoff, 1, cutoff, **claims)


@pytest.mark.parametrize("species", [[14], [1, 8], [3, 8, 22, 56], list(range(1, 95))])
@pytest.mark.parametrize("cutoff", [3.0, 6.0])
def test_structure_is_small_sensible_and_sees_its_own_images(species, cutoff):
    structure = self_test.make_structure(info_for(species, cutoff))
    atoms = as_atoms(structure)
    assert 2 <= len(atoms) <= 8
    assert set(atoms.numbers) <= set(species)
    assert len(set(atoms.numbers)) == min(len(species), len(atoms))
    i, j, d = neighbor_list("ijd", atoms, cutoff)
    assert (i == j).any(), "no atom sees its own image"
    assert set(i) == set(range(len(atoms))), "an atom has no neighbours"
    assert d.min() > 0.6 * min(2.0, cutoff)


@pytest.mark.parametrize("cutoff", [2.5, 4.0, 7.0])
def test_images_agree_with_ase_and_with_our_neighbour_list(cutoff):
    pairs = {"O-O": 2.2, "O-Si": 0.9 * cutoff}
    info = info_for([8, 14], cutoff, pair_cutoffs=pairs)
    structure = self_test.make_structure(info)
    edges, vectors, shifts = self_test.neighbour_images(structure, cutoff, info.pair_cutoff_numbers())

    def ordered(i, j, S, D):
        order = np.lexsort((*np.asarray(S).T, j, i))
        return [np.asarray(x)[order] for x in (i, j, S, D)]

    ours = ordered(*edges.numpy(), shifts.numpy(), vectors.numpy())
    i, j, S, D = neighbor_list("ijSD", as_atoms(structure), {("O", "O"): 2.2, ("O", "Si"): 0.9 * cutoff,
                                                              ("Si", "Si"): cutoff})  # fmt: skip
    for mine, other in zip(ours, ordered(i, j, S, D), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-12)
    graph = build_graph(as_atoms(structure), cutoff, pairs)
    theirs = ordered(*graph.edge_index.numpy(), graph.shifts.numpy(), graph.edge_vectors.numpy())
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-12)


def test_reference_forces_and_virial_are_derivatives_of_the_energy(anisotropic_model_path):
    model = load_model(anisotropic_model_path, device="cpu", dtype="float64")
    reference = model.info.self_test["reference"]
    atoms = as_atoms(model.info.self_test["structure"])

    def energy(displaced):
        return float(model(build_graph(displaced, model.info.cutoff), derivatives=False)["energy"])

    h = 1e-4
    for axis in range(3):
        ends = []
        for sign in (h, -h):
            displaced = atoms.copy()
            displaced.positions[1, axis] += sign
            ends.append(energy(displaced))
        assert -(ends[0] - ends[1]) / (2 * h) == pytest.approx(reference["forces"][1][axis], abs=1e-6)
    for a, b in [(0, 0), (1, 2), (2, 1)]:
        ends = []
        for sign in (h, -h):
            strain = np.eye(3)
            strain[a, b] += sign
            ends.append(energy(Atoms(atoms.numbers, positions=atoms.positions @ strain,
                                     cell=atoms.cell.array @ strain, pbc=True)))  # fmt: skip
        assert -(ends[0] - ends[1]) / (2 * h) == pytest.approx(reference["virial"][0][a][b], abs=1e-5)


def test_tolerance_in_single_precision_is_small_and_not_exceeded(anisotropic_model_path):
    model = load_model(anisotropic_model_path, device="cpu", dtype="float32")
    tolerances = model.info.self_test["tolerances"]
    assert tolerances["float32"]["cpu"]["forces"] < 1e-3
    assert tolerances["float64"]["cpu"]["forces"] < 1e-7
    outputs = self_test.evaluate(model.module, model.info.self_test["structure"], model.info)
    assert not self_test.compare(outputs, model.info.self_test, "float32", "cpu")
    assert self_test.compare(outputs, model.info.self_test, "float64", "cpu")


@pytest.mark.parametrize("quantity", ["energy", "forces", "virial", "direct_forces", "direct_stresses"])
def test_wrong_reference_fails_the_self_test_and_says_by_how_much(tmp_path, anisotropic_model_path, quantity):
    document = json.loads(archive.read_document(anisotropic_model_path))
    reference = np.array(document["self_test"]["reference"][quantity])
    reference.flat[-1] += 0.01
    document["self_test"]["reference"][quantity] = reference.tolist()
    path = rewrite(anisotropic_model_path, tmp_path / "bad.pt", document=document)
    message = rf"self-test.*`{quantity}`: expected .* got .* tolerance"
    with pytest.raises(ModelFileError, match=message) as caught:
        load_model(path, device="cpu")
    assert str(path) in str(caught.value)
    load_model(path, device="cpu", self_test=False)


# ---- files that must be refused ----------------------------------------------------------------------------


def bad_file(kind, good, folder):
    """A file that is wrong in one way."""
    path = folder / f"{kind}.pt"
    data = good.read_bytes()
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif kind == "text":
        path.write_text("pair_coeff * * potential\n" * 10)
    elif kind == "json":
        path.write_text('{"a": 1}')
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({"weights": [1.0]}))
    elif kind == "safetensors":
        from safetensors.torch import save

        path.write_bytes(save({"weight": torch.ones(2)}))
    elif kind == "checkpoint":
        torch.save({"weight": torch.ones(2)}, path)
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as zipped:
            zipped.writestr("a/readme.txt", "hello")
    elif kind == "undocumented":
        _torchscript.save(_torchscript.script(PairNetwork([14], 4.0)), str(path))
    elif kind == "garbled document":
        rewrite(good, path, members={archive.DOCUMENT: "{"})
    elif kind == "newer":
        rewrite(good, path, document={"schema_version": 2})
    elif kind == "edited document":
        rewrite(good, path, document={"cutoff": 5.0, "interaction_range": 5.0}, resign=False)
    elif kind == "edited member":
        rewrite(good, path, members={"data/1": b"\0" * 476})
    elif kind == "damaged member":
        content = bytearray(data)
        with zipfile.ZipFile(good) as zipped:
            tensors = [entry for entry in zipped.infolist() if "/data/" in entry.filename]
            entry = max(tensors, key=lambda tensor: tensor.file_size)
        content[entry.header_offset + 400] ^= 1
        path.write_bytes(content)
    elif kind == "added member":
        rewrite(good, path)
        with zipfile.ZipFile(path, "a") as zipped:
            zipped.writestr("model/code/extra.py", "")
    elif kind == "doubled member":
        rewrite(good, path)
        with zipfile.ZipFile(path, "a") as zipped, pytest.warns(UserWarning, match="Duplicate name"):
            zipped.writestr("model/version", "3\n")
    elif kind == "unknown input":
        rewrite(good, path, document={"inputs": ["magnetic_moments"]})
    elif kind == "cell":
        rewrite(good, path, document={"inputs": ["cell"]})
    elif kind == "unknown output":
        rewrite(good, path, document={"outputs": ["energies", "charges"]})
    elif kind == "unknown field":
        rewrite(good, path, document={"colour": "red"})
    elif kind == "newer operators":
        rewrite(good, path, document={"operators": {"ase_mlip": 99}})
    elif kind == "unknown operators":
        rewrite(good, path, document={"operators": {"ase_mlip": 1, "elsewhere": 1}})
    elif kind == "no self-test":
        rewrite(good, path, document={"self_test": {}})
    elif kind == "wrong type":
        rewrite(good, path, document={"species": "Si"})
    return path


REFUSED = {
    "empty": "is empty",
    "truncated": "is truncated",
    "text": "is not TorchScript",
    "json": "is JSON, not TorchScript",
    "pickle": "is a Python pickle",
    "safetensors": "is a safetensors checkpoint.*export",
    "checkpoint": "not TorchScript but a checkpoint of `torch.save`.*export",
    "zip": "not TorchScript but a zip archive of something else",
    "undocumented": "is TorchScript, but not a model file of ase_mlip",
    "garbled document": "is not JSON with a `schema_version`",
    "newer": "schema version 2, expected at most 1; upgrade",
    "edited document": "its document was altered",
    "edited member": "archive member `data/1` was altered",
    "damaged member": r"archive member `data/\d+` was altered since",
    "added member": "archive was altered: `code/extra.py` was added",
    "doubled member": "archive was altered: `a member stored twice`",
    "unknown input": "unknown input `magnetic_moments`",
    "cell": "needs the input `cell`.*not supported",
    "unknown output": "unknown output `charges`",
    "unknown field": "unknown field `colour`",
    "newer operators": "version 99 of the operators `ase_mlip`.*upgrade",
    "unknown operators": "needs the operators `elsewhere`",
    "no self-test": "carries no self-test",
    "wrong type": "`species` must be list, got 'Si'",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_bad_file_is_refused_with_its_name_and_cause(pair_model_path, tmp_path, kind):
    path = bad_file(kind, pair_model_path, tmp_path)
    with pytest.raises(ModelFileError, match=REFUSED[kind]) as caught:
        load_model(path, device="cpu")
    assert str(path) in str(caught.value)


def test_each_kind_of_bad_file_has_a_message_of_its_own():
    assert len(set(REFUSED.values())) == len(REFUSED)


def test_every_single_byte_of_the_weights_is_guarded(pair_model_path, tmp_path):
    data = pair_model_path.read_bytes()
    path = tmp_path / "flipped.pt"
    for position in np.random.default_rng(0).integers(0, len(data), 40):
        flipped = bytearray(data)
        flipped[position] ^= 0x10
        path.write_bytes(flipped)
        try:
            model = load_model(path, device="cpu")
        except MLIPError:
            continue
        # a flip in the padding between members or in a date changes nothing that is loaded
        original = load_model(pair_model_path, device="cpu")
        assert model.info == original.info
        states = model.module.state_dict(), original.module.state_dict()
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])


def test_missing_file_lists_the_shipped_potentials(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"`no-such-potential` not found.*shipped potential"):
        load_model("no-such-potential")
    with pytest.raises(FileNotFoundError, match="it is a folder"):
        find_model(tmp_path)
    for name in shipped_models():
        assert find_model(name).stem == name


@pytest.mark.parametrize("dtype", ["bfloat16", torch.float16, "double"])
def test_unsupported_dtype_is_named(pair_model_path, dtype):
    with pytest.raises(MLIPError, match="unsupported `dtype`.*float32 or float64"):
        load_model(pair_model_path, dtype=dtype)


@pytest.mark.parametrize("device", ["gpu", "meta", "cuda:77"])
def test_unsupported_device_is_named(pair_model_path, device):
    with pytest.raises(MLIPError, match="`device`"):
        load_model(pair_model_path, device=device)


def test_old_schema_has_its_upgrade_path(pair_model_path, tmp_path):
    path = rewrite(pair_model_path, tmp_path / "old.pt", document={"schema_version": 0})
    with pytest.raises(ModelFileError, match="schema version 0 never existed"):
        load_model(path, device="cpu")


# ---- exports that must be refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ({"cutoff": 0.0}, "`cutoff` must be a positive length"),
        ({"cutoff": float("nan")}, "`cutoff` must be a positive length"),
        ({"species": []}, "`species` must be sorted"),
        ({"species": [8, 8, 14]}, "`species` must be sorted"),
        ({"species": [14, 200]}, "`species` must be sorted"),
        ({"interaction_range": 1.0}, "`interaction_range` must be at least the cutoff"),
        ({"pair_cutoffs": {"Si-O": 9.0}}, r"`pair_cutoffs\[Si-O\]` must be between"),
        ({"pair_cutoffs": {"Si": 2.0}}, "`pair_cutoffs` must have keys such as"),
        ({"outputs": ["energies", "direct_forces"]}, "but the network returns"),
        ({"outputs": ["energies", "charges"]}, "unknown output `charges`"),
        ({"inputs": ["cell"]}, "needs the input `cell`"),
        ({"reference_energies": {"Au": -1.0}}, "`reference_energies` name .*Au"),
        ({"units": {"length": "nm", "energy": "eV"}}, "`units` must be"),
        ({"colour": "red"}, "unknown field `colour`"),
        ({"training": {"loss": float("nan")}}, "must be finite JSON values"),
        ({"training": {"network": object()}}, "must be finite JSON values"),
    ],
)  # fmt: skip
def test_untrue_or_unknown_claims_are_refused(tmp_path, claims, message):
    with pytest.raises(ModelFileError, match=message):
        export_toy(tmp_path / "a.pt", **claims)
    assert not list(tmp_path.iterdir())


class Wrong(torch.nn.Module):
    """Energies of a wrong shape, or not finite, or with an output nobody knows."""

    def __init__(self, how: str):
        super().__init__()
        self.how = how
        self.species = [14]
        self.cutoff = 4.0
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, species: Tensor, edge_index: Tensor, edge_vectors: Tensor, reverse_edges: Tensor,
                inputs: dict[str, Tensor]) -> dict[str, Tensor]:  # fmt: skip
        energies = self.weight * torch.ones(species.size(0), dtype=edge_vectors.dtype)
        energies = energies + 0.0 * edge_vectors.sum()
        if self.how == "shape":
            return {"energies": energies[:1]}
        if self.how == "nan":
            return {"energies": energies / 0.0}
        return {"energies": energies, "charges": energies}


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("shape", r"`energies` must have shape \[4\]"),
        ("nan", "is not finite"),
        ("name", "unknown output `charges`"),
    ],
)
def test_network_that_breaks_the_contract_is_not_exported(tmp_path, how, message):
    with pytest.raises(MLIPError, match=message):
        export_toy(tmp_path / "a.pt", Wrong(how), reference_energies={})
    assert not list(tmp_path.iterdir())


def test_weights_that_are_not_finite_are_not_exported(tmp_path):
    network = PairNetwork([8, 14], 4.0)
    with torch.no_grad():
        network.strength[3] = float("inf")
    with pytest.raises(MLIPError, match="weight `network.strength` is not finite"):
        export_toy(tmp_path / "a.pt", network)


def test_half_precision_weights_are_not_exported(tmp_path):
    with pytest.raises(MLIPError, match=r"all be float32 or all float64.*bfloat16"):
        export_toy(tmp_path / "a.pt", PairNetwork([8, 14], 4.0).to(torch.bfloat16))


def test_missing_metadata_is_named(tmp_path):
    from ase_mlip.model import export_model

    with pytest.raises(ModelFileError, match="`metadata` needs `cutoff`"):
        export_model(PairNetwork([14], 4.0), tmp_path / "a.pt", {"name": "x", "species": [14]})


# ---- writing -----------------------------------------------------------------------------------------------


def test_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.pt"
    export_toy(path)
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        export_toy(path, PairNetwork([8, 14], 4.5))
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.pt"]


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"cannot write `.*nowhere/a.pt`: there is no folder"):
        export_toy(tmp_path / "nowhere" / "a.pt")


def test_file_size_limit_leaves_the_old_file(tmp_path):
    """A real failure of write(), in the middle of the file."""
    path = tmp_path / "a.pt"
    path.write_bytes(b"old")
    code = (
        "import resource, signal, sys; from ase_mlip.archive import write_atomically\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "write_atomically(sys.argv[1], b'x' * 100_000)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.pt"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 4096


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
    for graph in graphs[:3]:  # the same calls with profiling: this is what the test above can tell apart
        model.module(graph.species, graph.edge_index, graph.edge_vectors, graph.reverse_edges,
                     graph.node_weights, graph.structure, 1, True, {})  # fmt: skip
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
    from ase_mlip import model

    calls = []
    monkeypatch.setattr(model, "_tune_allocator", lambda: calls.append(1))
    load_model(pair_model_path, device="cpu", tune_allocator=False)
    assert not calls
    load_model(pair_model_path, device="cpu")
    assert calls == [1]


def test_without_profiling_holds_in_this_thread_only_while_it_lasts():
    before = torch._C._get_graph_executor_optimize()
    with _torchscript.without_profiling():
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
