"""Rows of the linear s-NNP: the fit's own, its prior, what no structure determines, a basis from the pool.

It also tests `auto_basis`, `structure_rows`.
"""

import dataclasses

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from random_pet import rotated
from scipy.spatial.transform import Rotation

from ase_mlip.data.batches import GraphDataset
from ase_mlip.data.references import Sample
from ase_mlip.errors import DataError, MLIPError, StructureError
from ase_mlip.graph.neighbors import build_graph
from ase_mlip.model_file.model import load_model
from ase_mlip.networks.snnp.hypers import SNNPHypers
from ase_mlip.networks.snnp.snnp import SNNP
from ase_mlip.optimal_design.rows.auto_basis import auto_basis, basis_from_hypers, basis_from_model
from ase_mlip.optimal_design.rows.linear_basis import LinearBasis, linear_rows, undetermined
from ase_mlip.optimal_design.rows.structure_rows import gram
from ase_mlip.training.linear_fit import fit_linear

HYPERS = SNNPHypers(
    species=[14],
    cutoff=4.0,
    inner=1.8,
    radial_filters=0,
    angular_filters=2,
    radial_intervals=5,
    angular_intervals=5,
    angle_intervals=3,
    hidden=[],
)


def crystal(seed=0, a=5.3, rattle=0.2, numbers=(14,)) -> Atoms:
    atoms = bulk("Si", cubic=True, a=a)
    atoms.numbers[:] = np.resize(numbers, len(atoms))
    atoms.rattle(rattle, seed=seed)
    return atoms


def make(**changes) -> SNNP:
    return SNNP(dataclasses.replace(HYPERS, **changes)).double()


def labelled(atoms: Atoms, rng: np.random.Generator) -> Sample:
    stress = rng.normal(size=(3, 3))
    forces = rng.normal(size=(len(atoms), 3))
    return Sample(atoms, energy=float(rng.normal()), forces=forces, stress=stress + stress.T)


def test_the_fit_is_the_posterior_mean_with_these_rows_and_this_prior():
    """Weighted labels y: the coefficients (A + A₀)⁻¹ Xᵀy are what `fit_linear` writes into the network."""
    rng = np.random.default_rng(0)
    samples = [labelled(crystal(seed), rng) for seed in range(3)]
    samples[1].forces = samples[2].energy = samples[0].stress = None
    network = make(core=False)
    basis = LinearBasis(network)
    doubled = np.sqrt([1, 1, 1, 2, 2, 2])  # of the nine components of a stress
    blocks, right = [], []
    for sample, rows in zip(samples, linear_rows(basis, [s.atoms for s in samples]), strict=True):
        stress = None if sample.stress is None else sample.stress[(0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)]
        labels = (
            (100.0, rows.energy, None if sample.energy is None else [sample.energy / 8]),
            (1.0, rows.forces, None if sample.forces is None else sample.forces.ravel()),
            (50.0 * doubled[:, None], rows.stress, stress),
        )
        for weight, matrix, label in labels:
            if label is not None:
                blocks.append(weight * matrix)
                right.append(np.ravel(weight) * label)
    information = gram(blocks)
    prior = basis.prior(information, ridge=1e-3, curvature=1e-2)
    expected = np.linalg.solve(information + prior, np.concatenate(blocks).T @ np.concatenate(right))
    weights = {"energy_weight": 100.0, "forces_weight": 1.0, "stress_weight": 50.0}
    fit = fit_linear(network, GraphDataset(samples, 4.0), {}, ridge=1e-3, curvature=1e-2, **weights)
    found = torch.cat([bank.coefficients.detach().flatten() for bank in (network.phi, network.g)]).numpy()
    np.testing.assert_allclose(found, expected[:-1], rtol=0, atol=1e-9 * np.abs(expected).max())
    assert fit.constants[14] == pytest.approx(expected[-1], abs=1e-9 * np.abs(expected).max())


def test_the_prior_follows_the_pool_and_not_a_selection():
    basis = LinearBasis(make())
    pool = gram(rows.block() for rows in linear_rows(basis, [crystal(seed) for seed in range(4)]))
    prior = basis.prior(pool)
    np.testing.assert_allclose(basis.prior(4.0 * pool), 4.0 * prior, rtol=1e-12, atol=0)
    assert np.linalg.eigvalsh(prior).min() > 0
    assert np.array_equal(prior, prior.T)


def test_rows_are_per_atom_sums_and_only_those_asked_for():
    basis = LinearBasis(make())
    structures = [crystal(1), molecule("Si2H6")[:2], crystal(2).repeat((2, 1, 1))]
    rows = list(linear_rows(basis, structures, atoms=True))
    assert [one.n_atoms for one in rows] == [8, 2, 16]
    for one in rows:
        np.testing.assert_allclose(one.atoms.mean(axis=0), one.energy[0], rtol=1e-13, atol=0)
        assert one.forces.shape == (3 * one.n_atoms, basis.size)
        np.testing.assert_allclose(one.forces.reshape(-1, 3, basis.size).sum(axis=0), 0, atol=1e-12)
    assert [len(one.stress) for one in rows] == [6, 0, 6]  # a molecule has none
    alone = next(linear_rows(basis, structures, labels=["energy"]))
    assert len(alone.forces) == len(alone.stress) == len(alone.atoms) == 0
    assert np.array_equal(alone.energy, rows[0].energy) and alone.block("energy").shape == (1, basis.size)
    with pytest.raises(MLIPError, match="`labels`: expected some of energy, forces, stress, got force"):
        linear_rows(basis, structures, labels=["force"])


def test_information_does_not_see_rotation_translation_and_order():
    basis = LinearBasis(make())
    atoms = crystal(3)
    rotation = Rotation.from_rotvec([0.3, -1.1, 0.4]).as_matrix()
    moved = atoms.copy()
    moved.positions += [0.7, -0.2, 5.1]
    others = [rotated(atoms, rotation), moved, atoms[np.random.default_rng(0).permutation(8)]]
    found = [gram([rows.block(("energy", "forces"))]) for rows in linear_rows(basis, [atoms, *others])]
    for one in found[1:]:
        np.testing.assert_allclose(one, found[0], rtol=0, atol=1e-11 * np.abs(found[0]).max())


def test_coefficients_that_no_structure_determines_are_named():
    basis = LinearBasis(make(species=[8, 14]))
    information = gram(rows.block() for rows in linear_rows(basis, [crystal(seed) for seed in range(6)]))
    missing = undetermined(information, basis.names)
    assert {name for name in basis.names if "O" in name} <= set(missing)
    assert not {name for name in missing if "O" not in name}
    narrow = gram(rows.block() for rows in linear_rows(basis, [crystal(k, 5.6, 0.02) for k in range(6)]))
    assert "phi Si-Si at 1.36" in undetermined(narrow, basis.names)
    assert "phi Si-Si at 2.24" not in undetermined(narrow, basis.names)


def test_a_structure_that_cannot_be_evaluated_is_named():
    basis = LinearBasis(make())
    broken = crystal()
    broken.positions[2] = np.nan
    with pytest.raises(StructureError, match=r"structure 1 of the list: `atoms.positions`"):
        list(linear_rows(basis, [crystal(), broken]))
    with pytest.raises(StructureError, match=r"structure 0 of the list: `atoms` holds O"):
        list(linear_rows(basis, [crystal(numbers=(14, 8))]))


def test_sketched_force_rows_have_the_same_gram_matrix_in_the_mean():
    rows = next(linear_rows(LinearBasis(make()), [crystal(1)]))
    exact = rows.forces.T @ rows.forces
    sketches = [rows.sketched(4, seed).forces for seed in range(400)]
    grams = np.stack([one.T @ one for one in sketches])
    error = np.abs(grams.mean(axis=0) - exact) / (grams.std(axis=0) / 20.0 + 1e-12)
    assert sketches[0].shape == (4, rows.size) and error.max() < 5.0
    assert rows.sketched(24, 0) is rows


# ---- a basis from the pool ------------------------------------------------------------------------------


def test_the_knots_come_from_the_pool():
    pool = [crystal(seed, a=5.43, rattle=0.05) for seed in range(3)]
    shortest = min(float(build_graph(atoms, 5.0).edge_vectors.norm(dim=1).min()) for atoms in pool)
    basis = auto_basis(pool)
    assert basis.species == [14] and basis.cutoff == 5.0
    hypers = basis.network.hypers
    assert 0.96 * shortest - 0.05 <= hypers.inner <= 0.96 * shortest
    assert basis.size == 14 + 8 * 13 + 1 and hypers.angular_cutoff == 5.0


def test_large_atoms_get_a_longer_cutoff_and_dense_ones_a_shorter_one_for_angles():
    caesium = bulk("Cs", "bcc", a=6.1, cubic=True)
    assert auto_basis([caesium]).cutoff == pytest.approx(9.6)
    carbon = bulk("C", cubic=True)
    basis = auto_basis([carbon.repeat(2)])
    assert basis.cutoff == 5.0 and basis.network.angular_cutoff < 4.0
    near = build_graph(carbon, basis.network.angular_cutoff - 1e-6).edge_index.shape[1] / 8
    assert 20 < near <= 40


def test_several_elements_get_as_many_filters_as_columns_allow():
    found = {}
    for species in ((14,), (8, 14), (6, 8, 14), (6, 7, 8, 14)):
        hypers = auto_basis([crystal(numbers=species)]).network.hypers
        found[len(species)] = hypers.angular_filters, hypers.filters
    assert found == {1: (8, "pair"), 2: (4, "pair"), 3: (4, "neighbour"), 4: (1, "neighbour")}
    assert all(auto_basis([crystal(numbers=(6, 7, 8, 14))], columns=n).size <= n for n in (150, 300, 800))


def test_atoms_alone_have_a_basis_of_constants():
    basis = auto_basis([Atoms("Si", cell=[20] * 3, pbc=True)])
    assert basis.cutoff == 5.0
    information = gram(rows.block() for rows in linear_rows(basis, [Atoms("Si")]))
    assert undetermined(information, basis.names) == basis.names[:-1]


def test_a_basis_is_the_same_whatever_was_drawn_before():
    pool = [crystal()]
    torch.manual_seed(0)
    first = next(linear_rows(auto_basis(pool), pool)).energy
    state = torch.random.get_rng_state()
    second = next(linear_rows(auto_basis(pool), pool)).energy
    assert np.array_equal(first, second) and torch.equal(torch.random.get_rng_state(), state)


def test_a_recipe_and_a_model_file_are_bases_too():
    pool = [crystal(a=5.43, rattle=0.05)]
    from_recipe = basis_from_hypers(dataclasses.replace(HYPERS, inner="auto", species=[]), pool)
    assert from_recipe.size == 5 + 2 * 6 + 1 and from_recipe.network.hypers.inner > 1.8
    model = load_model("snnp-si", device="cpu")
    basis = basis_from_model(model)
    trained = model.module.network.network.f.coefficients.double()
    torch.testing.assert_close(basis.network.f.coefficients, trained, rtol=0, atol=0)
    assert basis.size == 14 + 8 * 13 + 1
    with pytest.raises(MLIPError, match="expected the file of an s-NNP"):
        basis_from_model(load_model("pet-si", device="cpu"))


def test_an_empty_pool_and_impossible_recipes_are_refused():
    with pytest.raises(DataError, match="`pool`: expected at least one structure"):
        auto_basis([])
    with pytest.raises(DataError, match=r"\[model\]: "):
        basis_from_hypers(dataclasses.replace(HYPERS, inner=9.0), [crystal()])
    broken = crystal()
    broken.positions[0] = np.inf
    with pytest.raises(StructureError, match="structure 1 of the pool"):
        auto_basis([crystal(), broken])
