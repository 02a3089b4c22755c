"""Rotations written for LAMMPS and read back."""

import numpy as np
import pytest
from ase.build import bulk
from click.testing import CliRunner

from ase_mlip import MLIPCalculator
from ase_mlip.cli.program import main
from ase_mlip.errors import MLIPError
from ase_mlip.rotations.rotation_file import read_rotations, write_rotations
from ase_mlip.rotations.schemes import find_averaging


@pytest.mark.parametrize("scheme", ["octahedral+inversion", "lebedev 5", bulk("Si")], ids=str)
def test_what_is_written_is_read(tmp_path, scheme):
    averaging = find_averaging(scheme)
    write_rotations(averaging, tmp_path / "rotations.txt")
    found = find_averaging(f"file {tmp_path / 'rotations.txt'}")
    np.testing.assert_array_equal(found.rotations, averaging.rotations)
    np.testing.assert_array_equal(found.weights, averaging.weights)
    assert (found.name, found.lattice) == (averaging.name, averaging.lattice)


def test_the_command_writes_the_group_of_a_crystal(tmp_path):
    bulk("Si").write(tmp_path / "silicon.cif")
    path = tmp_path / "group.txt"
    result = CliRunner().invoke(main, ["rotations", str(tmp_path / "silicon.cif"), "-o", str(path)])
    assert result.exit_code == 0, result.output
    assert "crystal m-3m, 48 rotations" in result.output
    found = read_rotations(path)
    assert found.lattice
    assert len(found.rotations) == 48


def test_the_command_says_that_a_file_is_missing(tmp_path):
    result = CliRunner().invoke(main, ["rotations", "silicon.cif", "-o", str(tmp_path / "group.txt")])
    assert result.exit_code == 2
    assert "`silicon.cif`: no such file" in result.output


def test_the_calculator_takes_a_file(tmp_path):
    write_rotations(find_averaging("octahedral"), tmp_path / "o.txt")
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.1, seed=1)
    results = []
    for scheme in (f"file {tmp_path / 'o.txt'}", "octahedral"):
        atoms.calc = MLIPCalculator("pet-si", device="cpu", dtype="float64", symmetrize=scheme)
        results.append(atoms.get_forces())
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("scheme", ["none", "random 3"])
def test_what_needs_no_file_is_refused(tmp_path, scheme):
    with pytest.raises(MLIPError, match="expected a group, a rule or a crystal"):
        write_rotations(find_averaging(scheme), tmp_path / "rotations.txt")


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "1 0 0 0 1 0 0 0 1\n",
        "ase_mlip rotations 1\nx\nany 2\n1 1 0 0 0 1 0 0 0 1\n",
        "ase_mlip rotations 1\nx\nsome 1\n1 1 0 0 0 1 0 0 0 1\n",
        "ase_mlip rotations 1\nx\nany 1\n0.5 1 0 0 0 1 0 0 0 1\n",
        "ase_mlip rotations 1\nx\nany 1\n1 2 0 0 0 1 0 0 0 1\n",
        "ase_mlip rotations 1\nx\nany 1\n1 nan 0 0 0 1 0 0 0 1\n",
    ],
)
def test_a_wrong_file_is_refused(tmp_path, text):
    path = tmp_path / "rotations.txt"
    if text is not None:
        path.write_text(text)
    with pytest.raises(MLIPError, match="ase-mlip rotations"):
        read_rotations(path)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (
            None,
            "expected a file of rotations, got: No such file or directory; write one with: ase-mlip",
        ),
        (b"hello\n", "in its first lines, got 'hello' in the first; write one"),
        (b"\xff\xfe\x00", "expected a text file, got bytes that are no text; write one"),
        (b"ase_mlip rotations 1\nx\nany 2\n1 1 0 0 0 1 0 0 0 1\n", "expected 2 lines of ten numbers"),
    ],
)
def test_a_wrong_file_is_named_with_the_option_and_the_remedy(content, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bulk("Si").write("si.extxyz")
    if content is not None:
        (tmp_path / "mine.txt").write_bytes(content)
    for command in ("relax", "md", "phonons", "evaluate", "symmetry"):
        found = CliRunner().invoke(main, [command, "snnp-si", "si.extxyz", "--symmetrize", "file:mine.txt"])
        assert found.exit_code == 1 and "Errno" not in found.output
        assert "--symmetrize: rotations file `mine.txt`: " in found.stderr and text in found.stderr


@pytest.mark.parametrize("words", ["lebedev 5", "random 7", "file {folder}/rotations.txt"])
def test_a_colon_stands_for_the_space(words, tmp_path):
    write_rotations(find_averaging("octahedral"), tmp_path / "rotations.txt")
    words = words.format(folder=tmp_path)
    spaced, joined = find_averaging(words), find_averaging(words.replace(" ", ":", 1))
    assert spaced.name == joined.name and spaced.seed == joined.seed
    assert np.array_equal(spaced.rotations, joined.rotations)
