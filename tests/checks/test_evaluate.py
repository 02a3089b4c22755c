"""Errors against references: known perturbations give known errors.

It also tests `pictures.parity`.
"""

import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.io import write

from ase_mlip import MLIPCalculator
from ase_mlip.checks.evaluate import evaluate
from ase_mlip.errors import DataError
from ase_mlip.model_file.model import load_model
from ase_mlip.pictures.parity import plot_parity

ENERGY_SHIFT, FORCE_SHIFT, STRESS_SHIFT = 0.012, 0.3, 0.002  # eV/atom, eV/Å, eV/Å^3


def labelled(n_frames: int = 4, shift: float = 0.0) -> list[Atoms]:
    """Rattled copper with EMT's results; the references of frame k differ by ±shift times the constants."""
    rng = np.random.default_rng(0)
    frames = []
    for k in range(n_frames):
        atoms = bulk("Cu", cubic=True).repeat((1, 1, 1 + k % 2))
        atoms.rattle(0.1, rng=rng)
        results = results_of(EMT(), atoms)
        sign = shift * (-1) ** k
        results["energy"] += sign * ENERGY_SHIFT * len(atoms)
        results["forces"] = results["forces"] + sign * FORCE_SHIFT * np.array([1.0, 0.0, 0.0])
        results["stress"] = results["stress"] + sign * STRESS_SHIFT * np.array([0, 0, 0, 0, 0, 1.0])
        atoms.calc = SinglePointCalculator(atoms, **results)
        atoms.info["group"] = "odd" if k % 2 else "even"
        frames.append(atoms)
    return frames


def results_of(calculator, atoms) -> dict:
    return {name: calculator.get_property(name, atoms.copy()) for name in ("energy", "forces", "stress")}


def test_exact_predictions_have_no_error():
    result = evaluate(EMT(), labelled())
    for name in ("energy_rmse", "energy_mae", "forces_rmse", "forces_mae", "stress_rmse"):
        assert getattr(result, name) == pytest.approx(0.0, abs=1e-13)


def test_known_shifts_give_known_errors():
    result = evaluate(EMT(), labelled(shift=1.0))
    assert result.energy_rmse == pytest.approx(ENERGY_SHIFT)
    assert result.energy_mae == pytest.approx(ENERGY_SHIFT)
    assert result.forces_rmse == pytest.approx(FORCE_SHIFT / np.sqrt(3))  # one of three components
    assert result.forces_mae == pytest.approx(FORCE_SHIFT / 3)
    assert result.stress_rmse == pytest.approx(STRESS_SHIFT / np.sqrt(6))
    counts = (result.n_structures, result.n_atoms, result.n_energies, result.n_forces, result.n_stresses)
    assert counts == (4, 24, 4, 24, 4)


def test_groups_are_counted_apart():
    frames = labelled()
    frames[1].calc.results["energy"] += 8 * ENERGY_SHIFT
    result = evaluate(EMT(), frames)
    assert list(result.groups) == ["even", "odd"]
    assert result.groups["even"].energy_rmse == pytest.approx(0.0, abs=1e-13)
    assert result.groups["odd"].energy_rmse == pytest.approx(ENERGY_SHIFT / np.sqrt(2))
    assert result.energy_mae == pytest.approx(ENERGY_SHIFT / 4)
    assert [group.n_atoms for group in result.groups.values()] == [8, 16]
    assert evaluate(EMT(), frames, group_key=None).groups == {}


def test_another_key_may_name_the_groups():
    frames = labelled(2)
    for atoms, temperature in zip(frames, (300, 600), strict=True):
        atoms.info["temperature"] = temperature
    assert list(evaluate(EMT(), frames, group_key="temperature").groups) == ["300", "600"]


def test_missing_references_are_skipped_and_counted():
    frames = labelled(3)
    frames[0].calc = None
    del frames[1].calc.results["forces"], frames[1].calc.results["stress"]
    frames[2].calc.results["energy"] += 8 * ENERGY_SHIFT
    result = evaluate(EMT(), frames)
    assert (result.n_structures, result.n_energies, result.n_forces, result.n_stresses) == (3, 2, 4, 1)
    assert result.energy_mae == pytest.approx(ENERGY_SHIFT)  # 0 in frame 1, twice that in frame 2
    assert "1 lack an energy, 2 lack a stress, 12 atoms lack forces" in result.to_text()


def test_quantities_without_any_reference_have_no_error():
    frames = labelled(2)
    for atoms in frames:
        atoms.calc = SinglePointCalculator(atoms, energy=atoms.calc.results["energy"])
    result = evaluate(EMT(), frames)
    assert result.forces_rmse is result.forces_mae is result.stress_rmse is None
    assert result.to_dict()["forces_rmse"] is None


def test_no_reference_at_all_is_an_error():
    with pytest.raises(DataError, match="`structures`.*in 1;"):
        evaluate(EMT(), [bulk("Cu")])


def test_bad_references_name_the_structure():
    frames = labelled(2)
    frames[1].calc.results["forces"][0, 0] = np.nan
    with pytest.raises(DataError, match="structure 1.*forces"):
        evaluate(EMT(), frames)


def test_references_may_stand_in_info_and_arrays():
    frames = labelled(shift=1.0)
    for atoms in frames:
        results = atoms.calc.results
        atoms.calc = None
        atoms.info.update(energy=results["energy"], stress=results["stress"])
        atoms.arrays["forces"] = results["forces"]
    result = evaluate(EMT(), frames)
    assert result.energy_rmse == pytest.approx(ENERGY_SHIFT)
    assert result.forces_mae == pytest.approx(FORCE_SHIFT / 3)
    assert result.stress_rmse == pytest.approx(STRESS_SHIFT / np.sqrt(6))


def test_constraints_hide_no_error():
    frames = labelled(shift=1.0)
    for atoms in frames:
        atoms.set_constraint(FixAtoms(range(len(atoms))))
    assert evaluate(EMT(), frames).forces_rmse == pytest.approx(FORCE_SHIFT / np.sqrt(3))


def test_files_give_the_same_errors(tmp_path):
    frames = labelled(shift=1.0)
    write(tmp_path / "a.xyz", frames[:1])
    write(tmp_path / "b.xyz", frames[1:])
    expected = evaluate(EMT(), frames)
    result = evaluate(EMT(), [tmp_path / "a.xyz", tmp_path / "b.xyz"])
    assert evaluate(EMT(), [str(tmp_path / "a.xyz"), *frames[1:]]).n_forces == result.n_forces == 24
    assert result.stress_rmse == pytest.approx(expected.stress_rmse, rel=1e-6)
    assert result.energy_rmse == pytest.approx(expected.energy_rmse, rel=1e-5)
    assert list(result.groups) == ["even", "odd"]
    assert evaluate(EMT(), tmp_path / "a.xyz").n_structures == 1


def test_unreadable_files_are_errors(tmp_path):
    (tmp_path / "no.xyz").write_text("not a structure\n")
    with pytest.raises(DataError, match="no.xyz"):
        evaluate(EMT(), tmp_path / "no.xyz")


def test_molecules_have_no_stress():
    atoms = molecule("N2")
    atoms.calc = SinglePointCalculator(atoms, energy=1.0, forces=np.zeros((2, 3)))
    result = evaluate(LennardJones(), atoms)
    assert (result.n_energies, result.n_forces, result.n_stresses) == (1, 2, 0)


def test_structures_are_not_changed():
    frames = labelled(2)
    before = [atoms.calc for atoms in frames]
    evaluate(EMT(), frames)
    assert [atoms.calc for atoms in frames] == before


def silicon(calculator) -> list[Atoms]:
    frames = []
    for seed in range(3):
        atoms = bulk("Si", cubic=True)
        atoms.rattle(0.1, seed=seed)
        atoms.calc = SinglePointCalculator(atoms, **results_of(calculator, atoms))
        frames.append(atoms)
    return frames


def test_own_models_are_taken_by_path_model_or_calculator(anisotropic_model_path):
    frames = silicon(MLIPCalculator(anisotropic_model_path, dtype="float64"))
    for model in (
        anisotropic_model_path,
        str(anisotropic_model_path),
        load_model(anisotropic_model_path),
        MLIPCalculator(anisotropic_model_path),
    ):
        result = evaluate(model, frames)
        assert 0 < result.forces_rmse < 1e-5  # float32 against float64
        assert result.n_stresses == 3
    exact = evaluate(load_model(anisotropic_model_path, dtype="float64"), frames)
    assert exact.forces_rmse == pytest.approx(0.0, abs=1e-12)


def test_direct_forces_are_evaluated_as_such(anisotropic_model_path):
    direct = MLIPCalculator(anisotropic_model_path, forces="direct")
    frames = silicon(direct)
    assert evaluate(direct, frames).forces_rmse == pytest.approx(0.0, abs=1e-6)
    assert evaluate(anisotropic_model_path, frames).forces_rmse > 0.01


def test_the_document_has_the_promised_keys():
    document = json.loads(json.dumps(evaluate(EMT(), labelled(shift=1.0)).to_dict(), allow_nan=False))
    errors = {"energy_rmse", "energy_mae", "forces_rmse", "forces_mae", "stress_rmse"}
    counts = {"n_structures", "n_atoms", "n_energies", "n_forces", "n_stresses"}
    assert set(document) == errors | counts | {"groups"}
    assert all(set(group) == errors | counts for group in document["groups"].values())
    assert document["energy_rmse"] == pytest.approx(ENERGY_SHIFT)


def test_text_has_a_line_per_group_and_one_for_all():
    lines = evaluate(EMT(), labelled(shift=1.0)).to_text().splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["even", "odd", "all"]
    assert lines[-1].split() == ["all", "4", "24", "12.00", "12.00", "0.1732", "0.1000", "0.00082"]


@pytest.mark.parametrize("suffix, start", [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_parity_plot_is_written(tmp_path, suffix, start):
    path = tmp_path / f"parity.{suffix}"
    evaluate(EMT(), labelled(shift=1.0)).plot(path)
    assert path.read_bytes().startswith(start)


def test_parity_plot_leaves_out_what_was_not_compared(tmp_path):
    atoms = molecule("N2")
    atoms.calc = SinglePointCalculator(atoms, energy=1.0)
    evaluate(LennardJones(), atoms).plot(tmp_path / "one.png")
    assert (tmp_path / "one.png").stat().st_size > 1000


def test_forces_without_groups_have_the_colours_of_the_elements():
    atoms = molecule("CH3CH2OH")
    results = {"energy": 0.0, "forces": np.arange(27.0).reshape(9, 3)}
    atoms.calc = SinglePointCalculator(atoms, **results)
    result = evaluate(EMT(), [atoms, atoms])
    assert result.parity_elements.tolist() == 2 * np.repeat(atoms.get_chemical_symbols(), 3).tolist()
    energy, forces = plot_parity(result).axes
    shown = {drawn.get_label(): drawn.get_offsets() for drawn in forces.collections}
    assert {name: len(points) for name, points in shown.items()} == {"C": 12, "H": 36, "O": 6}
    hydrogen = [atoms.get_forces()[index] for index in range(9) if atoms.symbols[index] == "H"]
    assert np.asarray(shown["H"])[:18, 0] == pytest.approx(np.ravel(hydrogen))
    assert energy.get_legend() is None and forces.get_legend() is not None


def test_groups_keep_their_points():
    """The points of the parity plot belong to the group of their structure."""
    frames = labelled(shift=1.0)
    result = evaluate(EMT(), frames)
    for name, per_structure in (("energy", [1, 1]), ("stress", [6, 6]), ("forces", [12, 24])):
        counts = [int((result.parity_groups[name] == group).sum()) for group in ("even", "odd")]
        assert counts == [2 * count for count in per_structure]
    odd = result.parity_groups["energy"] == "odd"
    reference, predicted = result.parity["energy"].T
    assert np.allclose((reference - predicted)[odd], -ENERGY_SHIFT)
    assert np.allclose((reference - predicted)[~odd], ENERGY_SHIFT)
