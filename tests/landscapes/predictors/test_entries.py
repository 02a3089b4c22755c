"""Other predictors: from what the calculators say of the ends of a bond scan, as a document has them."""

import json

import landscape_cases
import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from random_pet import random_network

from ase_mlip import MLIPCalculator, export_model, landscape, load_model
from ase_mlip.data.references import ReferenceKeys, sample_from_atoms
from ase_mlip.errors import MLIPError
from ase_mlip.landscapes.comparison.files import read_landscape
from ase_mlip.landscapes.document import read_document
from ase_mlip.landscapes.predictors.bond_scan import bonds_of
from ase_mlip.landscapes.predictors.entries import (
    bond_ends,
    committee_deviation,
    predictors_of,
    rotational_spread,
    spread_by_energy,
)
from ase_mlip.rotations.averaging import Averaging


def exported(path, seed=3):
    network = random_network()
    torch.manual_seed(seed)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    claims = {"name": path.stem, "species": [14], "cutoff": 4.0, "message_passing_layers": 2}
    export_model(network, path, {**claims, "interaction_range": 8.0})
    return load_model(path)


def samples(n=3):
    found = []
    for k in range(n):
        atoms = bulk("Si", "diamond", 5.4)
        atoms.rattle(0.1, seed=k)
        forces = np.random.default_rng(k).normal(size=(len(atoms), 3))
        atoms.calc = SinglePointCalculator(atoms, energy=-10.0 - (k == 1), forces=forces)
        found.append(sample_from_atoms(atoms, ReferenceKeys(), f"frame {k}"))
    return found


def test_ends_are_the_shortest_and_the_longest_bond_of_each_scan():
    water = molecule("H2O")
    frames = bond_ends(water)
    assert len(frames) == 4
    for bond, frame, factor in zip(np.repeat(bonds_of(water), 2), frames, [0.8, 1.2] * 2, strict=True):
        assert frame.get_distance(bond.i, bond.j) == pytest.approx(factor * bond.length, abs=0.006)


def test_spread_by_energy_takes_all_parts():
    frames = samples(3) * 10
    assert spread_by_energy(frames, 40) == frames
    chosen = spread_by_energy(frames, 6)
    assert len(chosen) == 6
    assert [sample.energy for sample in chosen].count(-11.0) == 2


def test_document_has_what_was_asked_for(tmp_path):
    model = exported(tmp_path / "one.pt")
    found, notes = predictors_of(["sharpness", "bonds", "rotation", "leverage"], model, samples(), probes=2)
    document = json.loads(json.dumps(found, allow_nan=False))
    assert list(document) == ["sharpness_trace", "sharpness_largest", "bond_roughness", "rotational_spread"]
    assert document["sharpness_trace"]["error"] >= 0.0
    assert {entry["sense"] for entry in document.values()} == {-1}
    assert "design --attach" in notes[0]
    with pytest.raises(MLIPError, match="`predictors`: expected some of sharpness, .* got 'luck'"):
        predictors_of(["luck"], model, samples())


def test_landscape_computes_keeps_and_shows_them(tmp_path):
    model = landscape_cases.export(landscape_cases.linear_snnp(), tmp_path / "model.pt")
    settings = {"lines": 2, "points": 5, "output": tmp_path / "out"}
    frames = landscape_cases.labelled(model, landscape_cases.silicon(3))
    first = landscape(model, frames, predictors=["bonds", "leverage"], **settings)
    assert list(first.predictors) == ["bond_roughness"]
    assert any("design --attach" in note for note in first.notes)
    assert "bond roughness, eV/Å³" in first.to_text()
    again = landscape(model, frames, predictors=["sharpness"], **settings)
    assert list(again.predictors) == ["bond_roughness", "sharpness_trace", "sharpness_largest"]
    assert read_document(tmp_path / "out" / "landscape.json")["predictors"] == again.predictors
    entry = read_landscape(tmp_path / "out" / "landscape.json")
    assert "sharpness trace" in {quantity.name for quantity in entry.predictors}
    # the trace is the mean curvature of lines
    trace, curvature = again.predictors["sharpness_trace"], again.numbers["curvature_forces"]
    assert trace["value"] == pytest.approx(curvature, rel=1.0)


def test_rotational_spread_is_that_of_rotated_copies(tmp_path):
    """√⟨|F_g - ⟨F⟩|²⟩ over the 24 rotations, from structures that were rotated by hand."""
    model = exported(tmp_path / "one.pt")
    atoms = samples(1)[0].atoms
    rotations = MLIPCalculator(model, symmetrize="octahedral").averaging
    assert isinstance(rotations, Averaging)
    plain, forces = MLIPCalculator(model), []
    for matrix in rotations.rotations:
        copy = atoms.copy()
        copy.set_cell(atoms.cell.array @ matrix.T, scale_atoms=False)
        copy.positions = atoms.positions @ matrix.T
        forces.append(plain.get_property("forces", copy) @ matrix)
    expected = np.sqrt(np.mean(np.var(forces, axis=0).sum(axis=-1)))
    assert rotational_spread(model, [atoms]) == pytest.approx(expected, rel=1e-9)


def test_committee_deviation_is_that_between_the_members(tmp_path):
    models = [exported(tmp_path / f"{seed}.pt", seed) for seed in (1, 2, 3)]
    frames = [sample.atoms for sample in samples(2)]
    forces = np.array([[MLIPCalculator(m).get_property("forces", a) for a in frames] for m in models])
    expected = np.sqrt(np.mean(np.var(forces, axis=0).sum(axis=-1)))
    assert committee_deviation(models, frames) == pytest.approx(expected, rel=1e-9)
