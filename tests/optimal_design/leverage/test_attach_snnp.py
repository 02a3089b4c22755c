"""The leverage of an s-NNP: by its least-squares basis, with a block for the centres of each element."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from leverage_cases import OPTIONS, diagnostics, labelled

from ase_mlip import export_model, load_model
from ase_mlip.building import _build
from ase_mlip.errors import MLIPError
from ase_mlip.model_file.model import read_info
from ase_mlip.networks.snnp.hypers import SNNPHypers
from ase_mlip.networks.snnp.snnp import SNNP
from ase_mlip.optimal_design.leverage.attach import SIGMA, attach_leverage
from ase_mlip.optimal_design.leverage.whitening import PRIOR
from ase_mlip.optimal_design.rows.auto_basis import basis_from_model
from ase_mlip.optimal_design.rows.linear_basis import linear_rows


def oxide(seed, rattle=0.1) -> Atoms:
    atoms = bulk("SiO", "rocksalt", a=4.4, cubic=True)
    atoms.rattle(rattle, seed=seed)
    return atoms


def export_snnp(path, **changes):
    values = {"species": [8, 14], "cutoff": 4.2, "angular_cutoff": 3.4, "inner": 1.6, "hidden": [5]}
    values |= {"radial_intervals": 6, "angular_intervals": 5, "angle_intervals": 4, "angular_filters": 3}
    hypers = SNNPHypers(**{**values, **changes})
    torch.manual_seed(0)
    claims = {"name": "snnp", "species": [8, 14], "cutoff": 4.2, "message_passing_layers": 1}
    claims |= {"interaction_range": 4.2, "equivariant": True}
    claims["architecture"] = {"name": "snnp", **vars(hypers)}
    export_model(SNNP(hypers).double(), path, claims)
    return path


@pytest.fixture(scope="module")
def snnp(tmp_path_factory):
    path = export_snnp(tmp_path_factory.mktemp("leverage") / "snnp.pt")
    attach_leverage(path, [oxide(seed) for seed in range(5)], path)
    return path


@pytest.mark.parametrize("kernel", ["native", "torch"])
@pytest.mark.parametrize("pair", [True, False])
def test_an_snnp_has_that_of_its_linear_basis_by_centre(snnp, tmp_path, kernel, pair):
    path = snnp if pair else export_snnp(tmp_path / "rho.pt", pair=False, core=False, radial_filters=2)
    data, new = [oxide(seed) for seed in range(5)], oxide(9, 0.3)
    if not pair:
        attach_leverage(path, data, path)
    basis = basis_from_model(load_model(path, **OPTIONS), constants=False)
    *rows, mine = (one.atoms for one in linear_rows(basis, [*data, new], atoms=True))
    expected, left_out = np.zeros(len(new)), []
    for number in (8, 14):
        of_data = [r[atoms.numbers == number] / SIGMA for r, atoms in zip(rows, data, strict=True)]
        grams = [r.T @ r for r in of_data]
        diagonal = np.diag(sum(grams))
        prior = PRIOR * np.diag(np.where(diagonal > 0, diagonal, diagonal.max()))
        own = new.numbers == number
        expected[own] = np.einsum("nf,fn->n", mine[own], np.linalg.solve(sum(grams) + prior, mine[own].T))
        for one, gram in zip(of_data, grams, strict=True):
            one = one * SIGMA
            left_out.append(np.einsum("nf,fn->n", one, np.linalg.solve(sum(grams) - gram + prior, one.T)))
    found = diagnostics(path, new, kernel=kernel)
    scale = np.quantile(np.concatenate(left_out), 0.99)
    np.testing.assert_allclose(found["leverage"], expected / scale, rtol=1e-5)
    record = read_info(path).training["leverage"]
    assert record["blocks"] == [[8], [14]] and record["basis"] == "snnp" and record["rotations"] == 1
    assert load_model(path).leverage.record["size"] == basis.size


def test_an_snnp_does_not_notice_rotations(snnp):
    atoms = oxide(9, 0.3)
    rotated = atoms.copy()
    rotated.rotate(31.0, (1, 2, 3), rotate_cell=True)
    first, second = (diagnostics(snnp, one) for one in (atoms, rotated))
    np.testing.assert_allclose(second["leverage"], first["leverage"], rtol=1e-6)


def test_distances_without_data_are_far(snnp):
    atoms = oxide(3)
    atoms.positions[0] += 0.7 * (atoms.positions[1] - atoms.positions[0]) / 2.2
    assert diagnostics(snnp, atoms)["leverage"][:2].min() > 10.0


@pytest.mark.parametrize(("hidden", "linear"), [([], True), ([5], False)])
def test_an_snnp_is_calibrated_where_it_is_linear(tmp_path, hidden, linear):
    path = export_snnp(tmp_path / "snnp.pt", hidden=hidden, core=False)
    data, new = [oxide(seed) for seed in range(5)], labelled([oxide(9), oxide(10)], [1.0, -2.0])
    if linear:
        attach_leverage(path, data, path, new)
        assert diagnostics(path, new[0])["energy_uncertainty"] > 0.0
    else:
        with pytest.raises(MLIPError, match="`calibration`: expected a model whose energies are linear"):
            attach_leverage(path, data, path, new)


def test_lammps_sums_of_whole_vectors_are_those_of_the_operator(tmp_path):
    """A program without torch, in both precisions, with lengths below the knots, and none, one or few
    neighbours, too."""
    program, root = tmp_path / "test_basis_sums", Path(__file__).parents[3]
    flags = ["-std=c++20", "-O1", "-Wall", "-Wextra", "-Werror"]
    flags += ["-I", str(_build.source_folder()), "-I", str(root / "lammps_plugin")]
    source = str(root / "tests/cpp/test_basis_sums.cpp")
    subprocess.run([_build.require_compiler(), *flags, source, "-o", str(program)], check=True)
    result = subprocess.run([program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
    assert result.stdout.count("sums of the basis") == 2 * 18
    assert result.stdout.count("whitened squares") == 2 * 18
