"""Digests in users' files have the values that earlier versions wrote: else nothing is found again."""

import hashlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms
from ase.constraints import FixAtoms

from ase_mlip.data.training_data import _fingerprint
from ase_mlip.landscapes.sample import frame_hash
from ase_mlip.lattice_dynamics.comparison import reference_digest
from ase_mlip.lattice_dynamics.files import _content, _key
from ase_mlip.lattice_dynamics.supercells.cells import to_phonopy
from ase_mlip.optimal_design.output.row_store import RowStore
from ase_mlip.provenance import file_sha256, structure_content, structures_sha256
from ase_mlip.relaxation.store import digest, key_of
from ase_mlip.report.validate import Job, _made_with
from ase_mlip.report.validate_steps import Settings


def crystal(**options) -> Atoms:
    cell = [[4, 0, 0], [0.5, 5, 0], [0, 0, 6]]
    positions = [[0.0, 0.0, 0.0], [1.25, 0.5, -0.75]]
    return Atoms("SiO", positions=positions, cell=cell, pbc=[True, True, False], **options)


def test_of_a_file(tmp_path):
    """NIST's example of one block (FIPS 180-2, appendix B.1)."""
    (tmp_path / "abc").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_sha256(tmp_path / "abc") == file_sha256(str(tmp_path / "abc")) == expected
    with pytest.raises(FileNotFoundError):
        file_sha256(tmp_path / "nothing")


def test_of_a_structure_whatever_the_order_of_its_memory():
    atoms = crystal()
    expected = np.array([14, 8], dtype="<i8").tobytes()
    expected += np.array([0, 0, 0, 1.25, 0.5, -0.75, 4, 0, 0, 0.5, 5, 0, 0, 0, 6], dtype="<f8").tobytes()
    assert structure_content(atoms) == expected + b"\1\1\0"
    atoms.arrays["positions"] = np.asfortranarray(atoms.positions)
    assert structure_content(atoms) == expected + b"\1\1\0"


def test_of_relaxed_structures():
    """As they stand in ``relaxed.extxyz``."""
    assert digest({"fmax": 0.01, "b": None}) == "x56810f602a090154"
    assert key_of("a", crystal(), "set") == "xcfb9d028e20dc072"
    assert key_of("", crystal(constraint=FixAtoms([1])), "") == "x3b3774836b02ea1d"


def test_of_forces_of_supercells():
    periodic = crystal()
    periodic.pbc = True
    key = _key([to_phonopy(periodic)], {"calculator": {}, "versions": {}})
    assert key == "af18cc700727ae36750944b505ceb3391e04581b6cd2be582cf0ccef81aeea3c"
    content = _content("k", np.arange(6.0).reshape(2, 3), np.array([1, 2]))
    assert content == "103d59ff0af757dc8338dd46ce9e93443ff5f9da13bf7c242d9b73442f970642"


def test_of_the_files_of_a_reference(tmp_path):
    for name, text in (("phonopy_params.yaml", "a: 1\n"), ("FORCE_SETS", "1\n"), ("other", "x")):
        (tmp_path / name).write_text(text)
    (tmp_path / "POSCAR").write_text("x\n")
    expected = "22a8d9f1bb36276494b4151dde6d2f767c2401dbccb0dfebc5181706cf7e972e"
    assert reference_digest(tmp_path) == expected


def test_of_rows_of_a_design(tmp_path):
    store = RowStore(tmp_path, {"seed": 0, "model_sha256": "0"})
    assert store._path(crystal()).name == "95cbcf173147535329b2650ca6b6fdbe.npz"


def test_of_the_frames_of_a_landscape():
    sample = SimpleNamespace(atoms=crystal(), energy=-1.5, forces=np.arange(6.0).reshape(2, 3))
    assert frame_hash(sample) == "8a258958b1b2fba29725b0573d74eab03e48291aaadefe395918fd63e5181471"


def test_of_a_validated_structure_and_of_the_starts_of_a_training():
    """These two had code of their own for the same."""
    job = Job("a", crystal(), None, Path("nowhere"), Settings())
    made = _made_with(SimpleNamespace(document_sha256="0"), job)
    assert made["structure_sha256"] == hashlib.sha256(structure_content(crystal())).hexdigest()
    assert made["structure_sha256"] == structures_sha256([crystal()])
    assert structures_sha256([crystal(), crystal()[:1]]) == (
        "2d0f31a070ba285c38c4115d7414384cbaf754566bebf950961bca23ac8c8b87"
    )


def test_of_equal_structures_among_training_data():
    expected = "d7abcdf65f91e1e25c96b81b8fff0d192e147a3c5863b84536283c72a8f34794"
    assert _fingerprint(crystal()).hex() == expected
