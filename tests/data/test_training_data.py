"""Training data: what is read, what is refused, and what the trainer is handed."""

import json
import re

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.io import write

from ase_mlip.data.frames import read_structures
from ase_mlip.data.training_data import DataConfig, load_data
from ase_mlip.errors import DataError


def labelled(n=12, seed=0, **changes):
    """Rattled copper cells with EMT's energies, forces and stresses in two groups."""
    frames = []
    for index in range(n):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.1, seed=seed * 1000 + index)
        emt = atoms.copy()
        emt.calc = EMT()
        results = {
            "energy": emt.get_potential_energy(),
            "forces": emt.get_forces(),
            "stress": emt.get_stress(),
        }
        results.update(changes)
        atoms.info["group"] = "even" if index % 2 == 0 else "odd"
        atoms.calc = SinglePointCalculator(atoms, **{k: v for k, v in results.items() if v is not None})
        frames.append(atoms)
    return frames


def saved(path, frames):
    write(path, frames)
    return path.name


def error_of(tmp_path, **config):
    with pytest.raises(DataError) as caught:
        load_data(DataConfig(**config), tmp_path)
    return str(caught.value)


# reading and units


def test_references_come_back_as_they_were_written(tmp_path):
    frames = labelled(5)
    split = load_data(DataConfig(train=saved(tmp_path / "a.xyz", frames), validation_fraction=0.2), tmp_path)
    assert (len(split.train), len(split.validation), len(split.test)) == (4, 1, 0)
    for sample in split.train + split.validation:
        frame = frames[int(sample.source.split()[-1])]
        assert sample.energy == pytest.approx(frame.get_potential_energy(), abs=1e-7)
        np.testing.assert_allclose(sample.forces, frame.get_forces(), atol=1e-7)
        np.testing.assert_allclose(sample.stress, frame.get_stress(voigt=False), atol=1e-7)
        np.testing.assert_allclose(sample.to_atoms().get_stress(), frame.get_stress(), atol=1e-7)
        assert sample.to_atoms().get_potential_energy() == sample.energy


def test_other_keys_are_found_in_info_and_arrays(tmp_path):
    frame = bulk("Cu", cubic=True)
    virial = np.array([[1.0, 0.2, 0.3], [0.2, 2.0, 0.4], [0.3, 0.4, 3.0]])
    frame.info.update(dft_energy=-3.0, dft_virial=virial)
    frame.arrays["dft_forces"] = np.full((4, 3), 0.5)
    keys = {"energy_key": "dft_energy", "forces_key": "dft_forces", "virial_key": "dft_virial"}
    file = saved(tmp_path / "a.xyz", [frame, frame])
    with pytest.warns(UserWarning, match="1 structures"):  # the frame is there twice
        (sample,) = load_data(DataConfig(train=file, **keys), tmp_path).train
    assert sample.energy == -3.0
    np.testing.assert_array_equal(sample.forces, 0.5)
    np.testing.assert_allclose(sample.stress, -virial / frame.get_volume())


def test_units_scale_energies_lengths_forces_and_stresses(tmp_path):
    """A file in Hartree and Bohr gives what the same file in eV and Å gives."""
    frames = labelled(4)
    file = saved(tmp_path / "ev.xyz", frames)
    for frame in frames:
        results = frame.calc.results
        atomic = {
            "energy": results["energy"] / units.Hartree,
            "forces": results["forces"] / (units.Hartree / units.Bohr),
            "stress": results["stress"] / (units.Hartree / units.Bohr**3),
        }
        frame.set_cell(frame.cell / units.Bohr, scale_atoms=True)
        frame.calc = SinglePointCalculator(frame, **atomic)
    atomic_file = saved(tmp_path / "atomic.xyz", frames)
    expected = load_data(DataConfig(train=file), tmp_path).train
    got = load_data(
        DataConfig(train=atomic_file, units={"energy": "Hartree", "length": "Bohr"}), tmp_path
    ).train
    for a, b in zip(expected, got, strict=True):
        assert a.energy == pytest.approx(b.energy, abs=1e-6)
        np.testing.assert_allclose(a.atoms.positions, b.atoms.positions, atol=1e-6)
        np.testing.assert_allclose(a.atoms.cell, b.atoms.cell, atol=1e-6)
        np.testing.assert_allclose(a.forces, b.forces, atol=1e-6)
        np.testing.assert_allclose(a.stress, b.stress, atol=1e-6)


def test_kcal_per_mol_is_four_point_three_percent_of_an_ev(tmp_path):
    file = saved(tmp_path / "a.xyz", labelled(2, energy=1.0))
    (sample,) = load_data(DataConfig(train=file, units={"energy": "kcal/mol"}), tmp_path).train
    assert sample.energy == pytest.approx(0.0433641, abs=1e-7)  # CODATA: 1 kcal/mol = 43.3641 meV


def test_stress_is_taken_only_where_all_directions_are_periodic(tmp_path):
    frames = labelled(4)
    for frame in frames:
        frame.pbc = (True, True, False)
    split = load_data(DataConfig(train=saved(tmp_path / "a.xyz", frames)), tmp_path)
    assert all(sample.stress is None for sample in split.train)
    assert split.description["references"] == ["energy", "forces"]


def test_constraints_change_no_reference(tmp_path):
    frames = labelled(3)
    for frame in frames:
        frame.set_constraint(FixAtoms([0, 1]))
    split = load_data(DataConfig(train=saved(tmp_path / "a.traj", frames)), tmp_path)
    assert all(np.abs(sample.forces[:2]).max() > 0.01 for sample in split.train)


def test_a_slice_takes_part_of_a_file(tmp_path):
    file = saved(tmp_path / "a.xyz", labelled(10))
    split = load_data(
        DataConfig(train=f"{file}@0:6", validation=f"{file}@6:8", test=[f"{file}@-1"]), tmp_path
    )
    assert (len(split.train), len(split.validation), len(split.test)) == (6, 2, 1)
    assert split.test[0].source.endswith("frame 9")
    assert split.description["files"]["train"][0]["slice"] == "0:6"
    assert len(read_structures([file, f"{file}@::5"], tmp_path)) == 12


# splits


def test_split_takes_its_share_of_every_group_and_depends_on_the_seed_alone(tmp_path):
    file = saved(tmp_path / "a.xyz", labelled(40))

    def validation(seed):
        config = DataConfig(train=file, validation_fraction=0.25, split_seed=seed, group_key="group")
        split = load_data(config, tmp_path)
        sources = {sample.source for sample in split.validation}
        assert sources.isdisjoint(sample.source for sample in split.train)
        assert split.description["groups"]["validation"] == {"even": 5, "odd": 5}
        return sources

    assert validation(1) == validation(1)
    assert validation(1) != validation(2)


def test_description_can_be_stored_and_names_files_by_hash(tmp_path):
    import hashlib

    file = saved(tmp_path / "a.xyz", labelled(6))
    description = load_data(DataConfig(train=file), tmp_path).description
    expected = hashlib.sha256((tmp_path / file).read_bytes()).hexdigest()
    assert json.loads(json.dumps(description))["files"]["train"] == [{"file": "a.xyz", "sha256": expected}]
    assert str(tmp_path) not in json.dumps(description)
    assert description["structures"] == {"train": 5, "validation": 1, "test": 0}


def test_structures_in_two_sets_are_counted_in_a_warning(tmp_path):
    file = saved(tmp_path / "a.xyz", labelled(8))
    with pytest.warns(UserWarning, match="3 structures"):
        split = load_data(DataConfig(train=file, validation_fraction=0.2, test=f"{file}@5:"), tmp_path)
    assert split.description["duplicates_across_sets"] == 3


# composition baseline


# bad input


@pytest.mark.parametrize("name", ["energy", "forces"])
def test_training_data_without_energies_or_forces_is_refused(tmp_path, name):
    file = saved(tmp_path / "a.xyz", labelled(3, **{name: None}))
    message = error_of(tmp_path, train=file)
    assert name in message and "a.xyz" in message and f"data.{name}_key" in message
    assert len(load_data(DataConfig(train=file, **{f"{name}_key": ""}), tmp_path).train) == 2


def test_a_named_virial_that_is_nowhere_is_refused(tmp_path):
    message = error_of(tmp_path, train=saved(tmp_path / "a.xyz", labelled(3)), virial_key="virials")
    assert "`virials`" in message


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["energy", "forces", "stress"])
def test_nan_and_infinity_are_refused_with_file_and_frame(tmp_path, name, bad):
    frames = labelled(3)
    results = frames[1].calc.results
    if name == "energy":
        results["energy"] = bad
    else:
        results[name].flat[2] = bad
    message = error_of(tmp_path, train=saved(tmp_path / "a.xyz", frames))
    assert "`a.xyz`, frame 1" in message and f"`{name}`" in message and "NaN" in message


def test_positions_with_nan_are_refused_with_file_and_frame(tmp_path):
    frames = labelled(3)
    frames[2].positions[0, 0] = np.nan
    frames[2].calc.atoms.positions[0, 0] = np.nan
    assert "`a.traj`, frame 2" in error_of(tmp_path, train=saved(tmp_path / "a.traj", frames))


def test_two_atoms_at_one_place_are_refused_with_file_and_frame(tmp_path):
    frames = labelled(2)
    frames[0].positions[1] = frames[0].positions[0]
    frames[0].calc.atoms.positions[1] = frames[0].positions[0]
    assert "`a.xyz`, frame 0" in error_of(tmp_path, train=saved(tmp_path / "a.xyz", frames))


@pytest.mark.parametrize(
    ("units_table", "fragments"),
    [
        (
            {"energy": "Rydberg"},
            ["`units.energy`", "'Rydberg'", "'kcal/mol'", "'Hartree'", "'meV'", "'kJ/mol'"],
        ),
        ({"length": "pm"}, ["`units.length`", "'pm'", "'Bohr'", "'nm'"]),
        ({"forces": "eV/Å"}, ["`units`", "'forces'", "'energy'", "'length'"]),
    ],
)
def test_unknown_units_are_refused_with_the_known_ones(units_table, fragments):
    with pytest.raises(DataError) as caught:
        DataConfig(train="a.xyz", units=units_table)
    assert all(fragment in str(caught.value) for fragment in fragments)


def test_inconsistent_shapes_are_refused(tmp_path):
    text = (
        '2\nLattice="9 0 0 0 9 0 0 0 9" Properties=species:S:1:pos:R:3:forces:R:2 energy=1.0 pbc="T T T"\n'
        "H 0 0 0 1 1\nH 0 0 1 -1 -1\n"
    )
    (tmp_path / "a.xyz").write_text(text)
    message = error_of(tmp_path, train="a.xyz")
    assert "a.xyz" in message and "forces" in message and "(2, 3)" in message and "(2, 2)" in message


def test_references_that_are_no_numbers_are_refused(tmp_path):
    frame = bulk("Cu")
    frame.info["dft"] = "converged"
    message = error_of(tmp_path, train=saved(tmp_path / "a.xyz", [frame]), energy_key="dft")
    assert "`dft`" in message and "'converged'" in message


@pytest.mark.parametrize("name", ["energy", "forces", "stress"])
def test_frames_that_lack_what_others_have_need_permission(tmp_path, name):
    file = saved(tmp_path / "a.xyz", labelled(3) + labelled(2, seed=1, **{name: None}))
    message = error_of(tmp_path, train=file)
    assert "`a.xyz`, frame 3" in message and "2 of 5" in message and "allow_missing" in message
    split = load_data(DataConfig(train=file, allow_missing=True), tmp_path)
    lacking = [getattr(sample, name) is None for sample in split.train + split.validation]
    assert sum(lacking) == 2


def test_species_that_training_lacks_are_refused(tmp_path):
    train = saved(tmp_path / "a.xyz", labelled(3))
    frame = labelled(1, seed=1)[0]
    frame.numbers[0] = frame.calc.atoms.numbers[0] = 28
    message = error_of(tmp_path, train=train, test=saved(tmp_path / "b.xyz", [frame]))
    assert "`b.xyz`, frame 0" in message and "Ni" in message and "Cu" in message


@pytest.mark.parametrize("content", [None, "", "not a structure\n", "5\ncomment\nH 0 0 0\n"])
def test_missing_empty_and_unreadable_files_are_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "bad.xyz").write_text(content)
    assert "bad.xyz" in error_of(tmp_path, train="bad.xyz")
    with pytest.raises(DataError, match=r"bad\.xyz"):
        read_structures("bad.xyz", tmp_path)


@pytest.mark.parametrize("index", ["20:30", "50", "nonsense"])
def test_a_slice_without_structures_is_refused(tmp_path, index):
    file = saved(tmp_path / "a.xyz", labelled(2))
    assert f"a.xyz@{index}" in error_of(tmp_path, train=f"{file}@{index}")


def test_a_frame_without_its_group_is_refused(tmp_path):
    frames = labelled(3)
    del frames[1].info["group"]
    message = error_of(tmp_path, train=saved(tmp_path / "a.xyz", frames), group_key="group")
    assert "`a.xyz`, frame 1" in message and "`group`" in message
    assert "`nowhere`" in error_of(tmp_path, train="a.xyz", group_key="nowhere")


def test_a_set_may_be_without_groups(tmp_path):
    frames = labelled(3)
    for frame in frames:
        del frame.info["group"]
    train, test = saved(tmp_path / "a.xyz", frames), saved(tmp_path / "b.xyz", labelled(2, seed=1))
    split = load_data(DataConfig(train=train, test=test, group_key="group"), tmp_path)
    assert [sample.to_atoms().info for sample in split.test] == [{"group": "even"}, {"group": "odd"}]
    assert len(split.train) == 2


def test_a_single_structure_cannot_be_split(tmp_path):
    assert "validation" in error_of(tmp_path, train=saved(tmp_path / "a.xyz", labelled(1)))


@pytest.mark.parametrize(
    ("config", "fragment"),
    [
        ({"train": []}, "`data.train`"),
        ({"train": "a.xyz", "validation_fraction": 0.0}, "`data.validation_fraction`"),
        ({"train": "a.xyz", "energy_key": "", "forces_key": ""}, "`data.energy_key`"),
    ],
)
def test_contradictory_settings_are_refused(config, fragment):
    with pytest.raises(DataError, match=re.escape(fragment)):
        DataConfig(**config)


def test_zero_atoms_are_refused(tmp_path):
    write(tmp_path / "a.traj", [Atoms()])
    assert "a.traj" in error_of(tmp_path, train="a.traj")
