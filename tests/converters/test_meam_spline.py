"""Reading spline MEAM files; tests/lammps/test_meam_spline_in_lammps.py compares the numbers with LAMMPS'."""

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline

from ase_mlip.converters.meam_spline import from_meam_spline, read_meam_spline
from ase_mlip.errors import ModelFileError

RADIAL = "3\n-1.5 0.0\n1 0 1 0\n1.5 2.0 0\n2.5 -0.5 0\n3.5 0.0 0\n"
ANGLE = "2\n-1.0 0.5\n1 1 1 1\n-1 2.0 0\n1 0.5 0\n"
U = "2\n1.0 0.5\n1 1 1 1\n-5 2.0 0\n5 0.5 0\n"
GOOD = f"a comment\n{RADIAL}{RADIAL}{U}{RADIAL}{ANGLE}"
PIECE = "spline3eq\n3\n-1.5 0.0\n1.5 2.0 0\n2.5 -0.5 0\n3.5 0.0 0\n"
SEVERAL = "a comment\nmeam/spline 2 Ti O\n" + PIECE * 13


def write(tmp_path, text, name="Si_test.meam.spline"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_an_element_in_the_name(tmp_path):
    file = read_meam_spline(write(tmp_path, GOOD))
    assert file.elements == ["Si"]
    assert file.phi[0].knots == [1.5, 2.5, 3.5]
    assert file.u[0].slopes == (1.0, 0.5)


def test_end_conditions_are_the_files(tmp_path):
    network = from_meam_spline(write(tmp_path, GOOD))
    x = np.linspace(1.5, 3.5, 50)
    oracle = CubicSpline([1.5, 2.5, 3.5], [2.0, -0.5, 0.0], bc_type=((1, -1.5), (1, 0.0)))
    found = network.phi(torch.tensor(x), torch.zeros(50, dtype=torch.int64))[:, 0]
    np.testing.assert_allclose(found.detach(), oracle(x), atol=1e-12)
    assert network.cutoff == 3.5


def test_elements_of_a_header(tmp_path):
    file = read_meam_spline(write(tmp_path, SEVERAL.replace("Ti O", "O Ti"), "x.spline"))
    assert file.elements == ["O", "Ti"]
    assert [spline.name for spline in file.g] == ["g O-O", "g O-Ti", "g Ti-Ti"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "the file ends"),
        (GOOD.replace("1 1 1 1", "1 2 1 1"), "`u Si`: expected four flags"),
        (GOOD.replace("3\n-1.5", "4\n-1.5", 1), "`phi Si-Si`: expected a knot.*number of knots"),
        (GOOD.replace("3\n-1.5", "2\n-1.5", 1), "number of knots"),
        (GOOD[: GOOD.rindex("1 0.5")], "`g Si-Si`: .*ends within"),
        (GOOD.replace("2\n1.0", "1\n1.0"), "`u Si`: a spline needs at least two knots, got 1"),
        (GOOD.replace("2.5 -0.5", "2.4 -0.5"), "equidistant, got 2.4"),
        (GOOD.replace("-1 2.0", "1.5 2.0"), "`g Si-Si`: the knots must increase"),
        (GOOD.replace("3.5 0.0", "3.5 0.1"), "`phi Si-Si` must end with value and slope zero"),
        (GOOD.replace("-1.5 0.0", "-1.5 0.2"), "must end with value and slope zero"),
        (GOOD.replace("2.5 -0.5", "2.5 x"), "expected a knot"),
        (SEVERAL.replace("spline3eq", "spline3", 1), "`spline3eq`, got `spline3`"),
        (SEVERAL.replace("2 Ti O", "3 Ti O"), "expected `meam/spline N element ...`"),
        (SEVERAL.replace("Ti O", "Ti Xy"), "symbols of elements"),
    ],
)
def test_bad_files(tmp_path, text, message):
    with pytest.raises(ModelFileError, match=message):
        from_meam_spline(write(tmp_path, text))


def test_a_file_that_says_no_element(tmp_path):
    path = write(tmp_path, GOOD, "new.meam.spline")
    with pytest.raises(ModelFileError, match="name it in `elements`"):
        from_meam_spline(path)
    assert read_meam_spline(path, ["Ge"]).elements == ["Ge"]
    with pytest.raises(ModelFileError, match="for one element"):
        read_meam_spline(path, ["Si", "Ge"])


def test_other_elements_than_the_header(tmp_path):
    with pytest.raises(ModelFileError, match=r"for the elements \['Ti', 'O'\]"):
        from_meam_spline(write(tmp_path, SEVERAL), ["O", "Ti"])


def test_no_file(tmp_path):
    with pytest.raises(ModelFileError, match="cannot be read"):
        from_meam_spline(tmp_path / "Si.meam.spline")
