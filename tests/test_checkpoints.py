"""Checkpoints that lost or changed a bit are refused or computed anew, never taken as they are.

It also tests `training.checkpoint`.
"""

import hashlib
import random
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.emt import EMT
from phonopy import Phonopy

from ase_mlip.errors import DataError
from ase_mlip.lattice_dynamics.files import Checkpoint
from ase_mlip.lattice_dynamics.supercells.cells import to_phonopy
from ase_mlip.provenance import write_atomically
from ase_mlip.relaxation.relax import relax
from ase_mlip.relaxation.store import Store, to_frame
from ase_mlip.training.checkpoint import TrainState, load_checkpoint, save_checkpoint

FLIPS = 60


def flipped(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    changed[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def training_state(seed: int) -> TrainState:
    torch.manual_seed(seed)
    network = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.BatchNorm1d(8))
    average = [parameter.detach().clone() for parameter in network.parameters()]
    best = {name: value.detach() for name, value in network.named_parameters()}
    return TrainState(network, [], average, 3, 17, 0.125, best, [{"epoch": 1, "loss": 0.1}])


def test_every_flipped_bit_of_a_training_checkpoint_is_refused(tmp_path):
    path, rng = tmp_path / "checkpoint.safetensors", random.Random(0)
    save_checkpoint(path, training_state(0), {"model": "a"})
    content = path.read_bytes()
    fresh = training_state(1)
    load_checkpoint(path, fresh, {"model": "a"})
    assert torch.equal(fresh.network[0].weight, training_state(0).network[0].weight)
    for _ in range(FLIPS):
        path.write_bytes(flipped(content, rng))
        with pytest.raises(
            DataError, match="damaged or altered since|cannot be read as a|another config|earlier version"
        ):
            load_checkpoint(path, training_state(1), {"model": "a"})


def test_a_training_checkpoint_of_other_numbers_is_refused(tmp_path):
    """As a foreign program would write it: a whole file, but for the digest."""
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, training_state(0), {"model": "a"})
    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors["parameter/0.weight"][0, 0] += 1e-3
    save_file(tensors, path, metadata)
    with pytest.raises(DataError, match="damaged or altered since it was written"):
        load_checkpoint(path, training_state(1), {"model": "a"})


def test_every_flipped_bit_of_phonon_forces_is_found(tmp_path):
    """The forces are computed anew, with a warning; a flip in a date of the archive may change nothing."""
    path, rng = tmp_path / "forces.npz", random.Random(0)
    phonopy = Phonopy(to_phonopy(bulk("Cu")), np.diag([2, 2, 2]))
    phonopy.generate_displacements()
    cells = [phonopy.supercell, *phonopy.supercells_with_displacements]
    calculator = EMT()
    kept = Checkpoint(path, cells, calculator)
    forces = np.random.default_rng(0).normal(size=(len(cells), len(cells[0]), 3))
    for part in forces:
        kept.add(part, 1)
    content = path.read_bytes()
    found = 0
    for _ in range(FLIPS):
        path.write_bytes(flipped(content, rng))
        read = Reader(path)
        assert read.forces is None or np.array_equal(read.forces, forces.reshape(-1, 3))
        found += read.forces is None
    assert found > FLIPS // 2


class Reader:
    """What a checkpoint says without a calculator that could contradict it."""

    def __init__(self, path):
        from ase_mlip.lattice_dynamics.files import _content

        try:
            with path.open("rb") as stream, np.load(stream) as stored:
                key, forces, counts = str(stored["key"]), stored["forces"], stored["evaluations"]
                self.forces = forces if str(stored["sha256"]) == _content(key, forces, counts) else None
        except Exception:
            self.forces = None


def relaxed_file(path):
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=0)
    atoms.calc = EMT()
    settings = {"command": "relax", "fmax": 0.1, "tolerance": None, "words": ["a b", 'with "quotes"', "Å\\n"]}
    store = Store(path, settings)
    (path.parent / "trajectories").mkdir()
    result = relax(atoms, fmax=0.1, optimizer="LBFGS", check_noise=False)
    store.add(to_frame(result, "copper", "x1", settings), result.to_dict())
    store.flush()
    return settings


def test_relaxed_structures_are_taken_as_they_were_written(tmp_path):
    path = tmp_path / "out.extxyz"
    settings = relaxed_file(path)
    store = Store(path, settings)
    store.claim({})
    assert list(store.frames) == list(store.documents) == ["x1"]
    frame, document = store.frames["x1"], store.documents["x1"]
    assert document["atoms"]["positions"] == pytest.approx(frame.positions, abs=1e-8)
    assert document["energies"][-1] == pytest.approx(frame.get_potential_energy(), abs=1e-8)


def test_a_changed_number_of_a_document_is_refused(tmp_path):
    settings = relaxed_file(tmp_path / "out.extxyz")
    path = tmp_path / "trajectories" / "copper-x1.json"
    text = path.read_text()
    place = text.index('"energies": [') + len('"energies": [')
    path.write_text(text[:place] + "1" + text[place:])
    with pytest.raises(DataError, match="copper-x1.json` exists; .*, got something else;"):
        Store(tmp_path / "out.extxyz", settings).claim({})


def test_a_changed_number_of_a_relaxed_structure_is_refused(tmp_path):
    path, rng = tmp_path / "out.extxyz", random.Random(0)
    settings = relaxed_file(path)
    text = path.read_text()
    header, *rows = text.splitlines()[1:]
    digits = [k for k, letter in enumerate(text) if letter.isdigit() and k > len(text) - sum(map(len, rows))]
    for _ in range(FLIPS):
        place = rng.choice(digits)
        other = str((int(text[place]) + 1) % 10)
        path.write_text(text[:place] + other + text[place + 1 :])
        with pytest.raises(DataError, match="damaged or altered|nothing that ASE reads"):
            Store(path, settings)
    energy = header.split(" energy=")[1].split()[0]
    path.write_text(text.replace(f" energy={energy}", f" energy={float(energy) - 1e-3}"))
    with pytest.raises(DataError, match="numbers of `copper` that were damaged or altered"):
        Store(path, settings)


def test_sums_do_not_depend_on_the_order_of_tensors():
    from ase_mlip.training.checkpoint import _digest

    tensors = {"a": torch.zeros(2), "b": torch.ones(3, dtype=torch.float64), "c": torch.tensor(5)}
    assert _digest(tensors, {}) == _digest(dict(reversed(tensors.items())), {})
    assert _digest(tensors, {}) != _digest({**tensors, "a": -torch.zeros(2)}, {})
    assert len(_digest(tensors, {})) == len(hashlib.sha256().hexdigest())


def test_what_a_killed_process_was_writing_is_removed_by_the_next(tmp_path):
    code = """
import os, signal, sys
from ase_mlip import provenance
os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
provenance.write_atomically(sys.argv[1], b"half")
"""
    path = tmp_path / "a[1].json"
    killed = subprocess.run([sys.executable, "-c", code, path])
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    running = left.with_name(left.name.replace(left.name.split("-")[-1], "1.tmp"))
    running.write_text("of a process that runs")
    write_atomically(path, b"whole")
    assert {file.name for file in tmp_path.iterdir()} == {path.name, running.name}
    assert path.read_bytes() == b"whole"
