"""The forecast beside what came back, where the truth is a linear model with noise of a known size.

It also tests `output.stored`, `rows.fixed`.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

sys.path.insert(0, str(Path(__file__).resolve().parent))
from designs import copper, labelled, pool

from ase_mlip import design
from ase_mlip.errors import DataError
from ase_mlip.optimal_design.forecast import covariance
from ase_mlip.optimal_design.verify import to_text, verify

NOISE = 0.3  # of the truth, times the design's σ


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verify")
    result = design(pool(), 16, output=folder / "out")
    picks = read(folder / "out" / "picks.xyz", ":")
    write(folder / "emt.xyz", labelled(picks, EMT()))
    write(folder / "linear.xyz", well_specified(result, picks))
    write(folder / "plain.xyz", picks)
    write(folder / "others.xyz", labelled([copper("bulk", 900)], EMT()))
    write(folder / "two.xyz", labelled(picks[:2], EMT()))
    return folder


def well_specified(result, picks):
    """Labels of a model in the span of the basis, drawn from the prior, with Gaussian noise."""
    generator = np.random.default_rng(5)
    scale = NOISE * np.linalg.cholesky(covariance(result.prior))
    theta = scale @ generator.standard_normal(len(scale))
    found = []
    for atoms, rows in zip(picks, result.rows.make(picks), strict=True):
        noisy = {
            kind: getattr(rows, kind) @ theta
            + NOISE * result.sigma[kind] * generator.standard_normal(len(getattr(rows, kind)))
            for kind in ("energy", "forces")
        }
        atoms = atoms.copy()
        forces = noisy["forces"].reshape(-1, 3)
        atoms.calc = SinglePointCalculator(
            atoms, energy=float(noisy["energy"][0]) * len(atoms), forces=forces
        )
        found.append(atoms)
    return found


def test_errors_are_those_of_fits_without_the_structure(folder):
    """Against least squares on the other picks, solved anew."""
    found = verify(folder / "emt.xyz", folder / "out")
    result = design(pool(), 16)
    frames = read(folder / "emt.xyz", ":")
    rows = list(result.rows.make(frames))
    kinds = ("energy", "forces")
    labels = [
        {"energy": np.array([a.get_potential_energy() / len(a)]), "forces": a.get_forces().ravel()}
        for a in frames
    ]
    left_out = 3
    root = np.linalg.cholesky(result.prior).T
    matrix, right = [root], [np.zeros(len(root))]
    for k, (one, values) in enumerate(zip(rows, labels, strict=True)):
        if k != left_out:
            matrix += [getattr(one, kind) / result.sigma[kind] for kind in kinds]
            right += [values[kind] / result.sigma[kind] for kind in kinds]
    solution = np.linalg.lstsq(np.concatenate(matrix), np.concatenate(right), rcond=None)[0]
    for comparison in found.comparisons:
        errors = labels[left_out][comparison.kind] - getattr(rows[left_out], comparison.kind) @ solution
        assert comparison.error[left_out] == pytest.approx(np.sqrt(np.mean(errors**2)), rel=2e-3)


def test_noise_of_a_known_size_is_found_and_covered(folder):
    found = verify(folder / "linear.xyz", folder / "out")
    assert (found.labelled, found.picks) == (16, 16)
    forces = found.comparisons[1]
    assert forces.kind == "forces"
    assert forces.factor == pytest.approx(NOISE, rel=0.15)
    count = sum(3 * len(atoms) for atoms in read(folder / "linear.xyz", ":"))
    for share, expected in zip(forces.coverage, (0.683, 0.95), strict=True):
        assert share == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / count) + 0.02)
    for forecast, error in forces.groups.values():
        assert 0.5 < error / forecast < 2.0
    energy = found.comparisons[0]
    assert NOISE / 2 < energy.factor < 2 * NOISE


def test_the_text_has_each_group_and_its_numbers(folder):
    found = verify(folder / "emt.xyz", folder / "out")
    text = to_text(found)
    assert "16 of 16 picks are labelled" in text
    for name in found.groups:
        assert name in text
    assert text.count("σ of a label") == 2


def test_some_picks_are_enough_and_too_few_are_not(folder):
    some = read(folder / "emt.xyz", ":7")
    write(folder / "some.xyz", some)
    assert verify(folder / "some.xyz", folder / "out").labelled == 7
    with pytest.raises(DataError, match="expected labels of at least 3 picks, got 2"):
        verify(folder / "two.xyz", folder / "out")


def test_other_structures_are_refused(folder):
    with pytest.raises(
        DataError, match=r"others.xyz`, frame 0: expected a structure of `.*picks.xyz`.*got another"
    ):
        verify(folder / "others.xyz", folder / "out")


def test_picks_without_labels_are_refused(folder):
    with pytest.raises(DataError, match="plain.xyz`, frame 0: expected its energy, got none"):
        verify(folder / "plain.xyz", folder / "out")


def test_a_folder_without_a_design_is_refused(folder, tmp_path):
    with pytest.raises(DataError, match="expected the folder of a design"):
        verify(folder / "emt.xyz", tmp_path)
    (tmp_path / "design.json").write_text(json.dumps({"settings": 3}))
    with pytest.raises(DataError, match="as they were written.*make the design again"):
        verify(folder / "emt.xyz", tmp_path)


def test_what_was_labelled_before_takes_part(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frames = pool()
    write("have.xyz", labelled(frames[:6], EMT()))
    design(frames[6:], 6, have="have.xyz", output="out")
    write("back.xyz", labelled(read("out/picks.xyz", ":"), EMT()))
    with_have = verify("back.xyz", "out")
    assert with_have.notes == []
    Path("have.xyz").unlink()
    without = verify("back.xyz", "out")
    assert "compared without the structures of `have.xyz`" in without.notes[0]
    assert with_have.comparisons[1].error.mean() < without.comparisons[1].error.mean()
