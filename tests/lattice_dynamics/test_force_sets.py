"""FORCE_SETS is checked before phonopy reads it: what phonopy writes passes, what is cut off does not."""

import numpy as np
import pytest
from phonopy.file_IO import get_FORCE_SETS_lines, parse_FORCE_SETS

from ase_mlip.errors import StructureError
from ase_mlip.lattice_dynamics.force_sets import check_force_sets

ATOMS = 3


def listed() -> list[str]:
    """Two displacements, each with forces on three atoms; blank lines between them."""
    rng = np.random.default_rng(0)
    displaced = [
        {"number": k, "displacement": 0.01 * np.eye(3)[k], "forces": rng.normal(size=(ATOMS, 3))}
        for k in range(2)
    ]
    return get_FORCE_SETS_lines({"natom": ATOMS, "first_atoms": displaced})


def rows() -> list[str]:
    """Two supercells with all atoms displaced."""
    arrays = np.random.default_rng(0).normal(size=(2, 2, ATOMS, 3))
    return get_FORCE_SETS_lines({"displacements": arrays[0], "forces": arrays[1]})


def check(folder, lines) -> None:
    (folder / "FORCE_SETS").write_text("\n".join(lines))
    check_force_sets(folder / "FORCE_SETS", ATOMS)


@pytest.mark.parametrize(
    "lines", [listed(), ["", *listed(), "", ""], rows(), [rows()[0], "# rest", *rows()[1:]]]
)
def test_what_phonopy_reads_passes(tmp_path, lines):
    check(tmp_path, lines)
    is_listed = len(lines[-1].split()) in (0, 3)
    dataset = parse_FORCE_SETS(filename=str(tmp_path / "FORCE_SETS"), natom=None if is_listed else ATOMS)
    assert np.shape(dataset["first_atoms"][1]["forces"] if is_listed else dataset["forces"][1]) == (ATOMS, 3)


@pytest.mark.parametrize("lines", [listed(), rows()])
def test_every_piece_is_refused(tmp_path, lines):
    """After any line; but rows of whole supercells cannot be told from a file with fewer of them."""
    whole = ATOMS if len(lines) == 2 * ATOMS else None
    for end in (end for end in range(len(lines)) if end != whole):
        with pytest.raises(StructureError, match=r"FORCE_SETS`: expected .* got a file .*; write it again"):
            check(tmp_path, lines[:end])


def replaced(place: int, text: str) -> list[str]:
    lines = listed()
    lines[place] = text
    return lines


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "0 rows"),
        (["4", *listed()[1:]], "forces on 4 atoms"),
        (["0", *listed()[1:]], "the number of atoms is '0'"),
        (["3.0", *listed()[1:]], "the number of atoms is '3.0'"),
        (["3", "-1", *listed()[2:]], "the number of displacements is '-1'"),
        (["3", "9" * 30, *listed()[2:]], "the atom of displacement 3 of 9+ is missing"),
        (replaced(3, "7"), "displacement 1 of 2 is one of atom 7"),
        (replaced(4, "0.01 0"), "displacement 1 of 2 is '0.01 0'"),
        (replaced(5, "0 0 nan"), "force 1 of displacement 1 of 2 is '0 0 nan'"),
        (replaced(6, "0 0 0 0"), "force 2 of displacement 1 of 2 is '0 0 0 0'"),
        (replaced(7, "0 0 Å"), r"force 3 of displacement 1 of 2 is '0 0 \\xc5'"),
        (rows()[:4], "4 rows .* no multiple of 3"),
        ([*rows()[:2], "1 2 3"], "row 3 is '1 2 3'"),
        (["two words", *rows()], "row 1 is 'two words'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, lines, message):
    with pytest.raises(StructureError, match=message) as caught:
        check(tmp_path, lines)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_named(tmp_path):
    (tmp_path / "FORCE_SETS").write_bytes(b"\x00\xff\xfe" * 100)
    with pytest.raises(StructureError, match="FORCE_SETS`: .*codec can't decode"):
        check_force_sets(tmp_path / "FORCE_SETS", ATOMS)
