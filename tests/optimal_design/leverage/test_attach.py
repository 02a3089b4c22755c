"""A leverage in a model file: its numbers against dense ones, its file, the calculator that gives it.

It also tests `calculators.diagnostics.leverage`, `model_file.leverage_file`.
"""

import copy
import hashlib
import pickle

import numpy as np
import pytest
import torch
from ase.build import bulk
from leverage_cases import OPTIONS, Squared, diagnostics, labelled, training_data
from model_files import rewrite
from random_pet import METADATA, export_random, random_network, silicon

from ase_mlip import Ensemble, MLIPCalculator, export_model, load_model
from ase_mlip.converters.export_again import export_again
from ase_mlip.errors import DataError, MLIPError, ModelFileError, StructureError
from ase_mlip.graph.neighbors import build_graph
from ase_mlip.model_file import archive
from ase_mlip.model_file.leverage_file import MEMBER
from ase_mlip.model_file.model import read_info
from ase_mlip.optimal_design.leverage.attach import SIGMA, attach_leverage
from ase_mlip.optimal_design.leverage.whitening import PRIOR


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    path = tmp_path_factory.mktemp("leverage") / "plain.pt"
    export_random(path)
    return path


@pytest.fixture(scope="module")
def attached(plain):
    path = plain.with_name("attached.pt")
    attach_leverage(plain, training_data(), path, hashes={"train.xyz": "0" * 64}, rotations=1)
    return path


def features_of(path, structures) -> list[np.ndarray]:
    model = load_model(path, **OPTIONS)
    graphs = (build_graph(atoms, model.info.cutoff) for atoms in structures)
    return [model(graph, ["features"])["features"].numpy() for graph in graphs]


# ---- numbers -------------------------------------------------------------------------------------


def test_leverage_is_that_of_a_dense_computation(plain, attached):
    data, new = training_data(), silicon(0.3, seed=99)
    features = features_of(plain, data)
    every = np.concatenate(features) / SIGMA
    prior = PRIOR * np.mean((every**2).sum(axis=0)) * np.eye(every.shape[1])

    def variances(rows, without=None):
        kept = np.concatenate([f for k, f in enumerate(features) if k != without]) / SIGMA
        return np.einsum("nf,fn->n", rows, np.linalg.solve(kept.T @ kept + prior, rows.T))

    of_atoms = np.concatenate([variances(rows, k) for k, rows in enumerate(features)])
    of_means = [variances(rows.mean(axis=0)[None], k)[0] for k, rows in enumerate(features)]
    rows = features_of(plain, [new])[0]
    found = diagnostics(attached, new)
    np.testing.assert_allclose(found["leverage"], variances(rows) / np.quantile(of_atoms, 0.99), rtol=1e-6)
    expected = variances(rows.mean(axis=0)[None])[0] / np.quantile(of_means, 0.99)
    assert found["structure_leverage"] == pytest.approx(expected, rel=1e-6)
    assert "energy_uncertainty" not in found
    record = read_info(attached).training["leverage"]
    assert record["rank"] == [np.linalg.matrix_rank(every.T @ every, tol=prior[0, 0])]
    assert (record["structures"], record["atoms"]) == (len(data), sum(map(len, data)))
    assert record["data"] == {"train.xyz": "0" * 64} and record["blocks"] == [[14]]


def test_far_atoms_have_a_large_leverage_and_training_atoms_a_small_one(attached):
    known = diagnostics(attached, training_data()[2])
    assert known["leverage"].max() < 1.0 and known["structure_leverage"] < 1.0
    far = silicon(0.02)
    far.positions[0] += [0.0, 0.0, 0.9]
    leverage = diagnostics(attached, far)["leverage"]
    assert leverage.argmax() == 0 and leverage[0] > 1.0


def test_invariance_under_permutation_and_translation(attached):
    atoms = silicon(0.2, seed=7)
    order = np.random.default_rng(0).permutation(len(atoms))
    moved = atoms[order]
    moved.positions += [0.3, 11.0, -2.0]
    first, second = (diagnostics(attached, one) for one in (atoms, moved))
    np.testing.assert_allclose(second["leverage"], first["leverage"][order], rtol=1e-8)
    assert second["structure_leverage"] == pytest.approx(first["structure_leverage"], rel=1e-8)


def test_rotated_copies_of_the_data_are_data_of_a_network_that_depends_on_the_frame(plain, tmp_path):
    attach_leverage(plain, training_data(3), tmp_path / "rotated.pt")
    assert read_info(tmp_path / "rotated.pt").training["leverage"]["rotations"] == 4


def test_averages_over_rotations_have_the_leverage_of_averaged_features(attached):
    atoms = silicon(0.2, seed=5)
    model = load_model(attached, **OPTIONS)
    calculator = MLIPCalculator(model, symmetrize="octahedral", leverage=True)
    calculator.calculate(atoms)
    graph = build_graph(atoms, model.info.cutoff)
    rows = model(graph, ["features"], calculator.averaging)["features"].numpy()
    whitened = rows @ model.leverage.whitening[0].numpy().T
    expected = (whitened**2).sum(axis=1) / model.leverage.record["scale"]
    np.testing.assert_allclose(calculator.diagnostics["leverage"], expected, rtol=1e-8)
    assert "forces_spread" in calculator.diagnostics


# ---- the calculator ------------------------------------------------------------------------------


def test_nothing_is_computed_that_nobody_asked_for(attached):
    calculator = MLIPCalculator(attached, **OPTIONS)
    calculator.calculate(silicon())
    assert "leverage" not in calculator.diagnostics
    assert calculator._wanted(["energy"]) == [] and "features" not in calculator._wanted(["forces"])
    asked = MLIPCalculator(attached, leverage=True, **OPTIONS)
    assert asked._wanted(["energy"]) == ["features"]
    asked.calculate(silicon())
    for name in ("energies", "forces", "stress"):
        np.testing.assert_allclose(asked.results[name], calculator.results[name], rtol=0, atol=1e-12)
    assert set(asked.results) == set(calculator.results)


@pytest.mark.parametrize("forces", ["conservative", "direct"])
def test_many_structures_get_what_one_gets(attached, forces):
    structures = [silicon(0.1), bulk("Si"), silicon(0.4, seed=3)]
    calculator = MLIPCalculator(attached, forces=forces, leverage=True, **OPTIONS)
    found = calculator.evaluate(structures, ["energy", "diagnostics"])
    for atoms, one in zip(structures, found, strict=True):
        alone = diagnostics(attached, atoms, forces=forces)
        np.testing.assert_allclose(one["diagnostics"]["leverage"], alone["leverage"], rtol=1e-9)
        assert one["diagnostics"]["structure_leverage"] == pytest.approx(alone["structure_leverage"])
        assert isinstance(alone["structure_leverage"], float)


def test_copies_keep_it(attached):
    atoms = silicon(0.2)
    calculator = MLIPCalculator(attached, leverage=True, **OPTIONS)
    calculator.calculate(atoms)
    for other in (copy.deepcopy(calculator), pickle.loads(pickle.dumps(calculator))):
        other.calculate(atoms)
        assert np.array_equal(other.diagnostics["leverage"], calculator.diagnostics["leverage"])


def test_a_committee_has_the_largest_of_its_members(plain, attached, tmp_path):
    attach_leverage(plain, training_data(2), tmp_path / "other.pt", rotations=1)
    atoms = silicon(0.2, seed=8)
    committee = Ensemble.from_files([attached, tmp_path / "other.pt"], leverage=True, **OPTIONS)
    committee.calculate(atoms)
    of_members = [diagnostics(path, atoms) for path in (attached, tmp_path / "other.pt")]
    expected = np.max([found["leverage"] for found in of_members], axis=0)
    np.testing.assert_allclose(committee.diagnostics["leverage"], expected, rtol=1e-9)
    largest = max(found["structure_leverage"] for found in of_members)
    assert committee.diagnostics["structure_leverage"] == pytest.approx(largest)


def test_a_file_without_leverage_says_how_to_get_one(plain):
    with pytest.raises(MLIPError, match=r"`leverage=True` needs.*plain.pt` has none; .*design --attach"):
        MLIPCalculator(plain, leverage=True, **OPTIONS)


def test_elements_that_the_data_do_not_hold_are_infinitely_far(tmp_path):
    from ase_mlip.networks.pet.hypers import PETHypers
    from ase_mlip.networks.pet.pet import PET

    torch.manual_seed(0)
    small = {"d_pet": 16, "d_node": 24, "d_head": 16, "d_feedforward": 32, "num_heads": 2}
    network = PET(PETHypers(species=[8, 14], cutoff=4.0, **small)).double()
    export_model(network, tmp_path / "two.pt", {**METADATA, "species": [8, 14]})
    attach_leverage(tmp_path / "two.pt", training_data(2), tmp_path / "two.pt", rotations=1)
    atoms = silicon()
    atoms.symbols[3] = "O"
    found = diagnostics(tmp_path / "two.pt", atoms)
    assert np.isinf(found["leverage"][3]) and np.isfinite(np.delete(found["leverage"], 3)).all()
    assert np.isinf(found["structure_leverage"])


# ---- calibration ---------------------------------------------------------------------------------


def test_calibration_finds_the_factor_of_errors_that_the_model_describes(plain, tmp_path):
    """Errors drawn with 2.5 times the predicted deviations, for 24 structures it was not trained on."""
    path, factor, count = tmp_path / "calibrated.pt", 2.5, 24
    new = [silicon(0.1 + 0.002 * k, seed=100 + k) for k in range(count)]
    attach_leverage(plain, training_data(), path, labelled(new, np.ones(count)), rotations=1)
    unit = read_info(path).training["leverage"]["calibration"]["factor"]
    calculator = MLIPCalculator(path, leverage=True, **OPTIONS)
    found = calculator.evaluate(new, ["energy", "diagnostics"])
    deviations = np.array([one["diagnostics"]["energy_uncertainty"] for one in found]) / unit
    errors = factor * deviations * np.random.default_rng(0).normal(size=count)
    energies = np.array([one["energy"] for one in found])
    attach_leverage(plain, training_data(), path, labelled(new, energies + errors), rotations=1)
    record = read_info(path).training["leverage"]["calibration"]
    expected = np.sqrt(np.mean((errors / deviations) ** 2))
    assert record["factor"] == pytest.approx(expected, rel=1e-6)
    assert abs(record["factor"] / factor - 1.0) < 0.4  # 2.8 deviations of the estimate
    assert record["structures"] == count and record["within_2"] > 0.85
    uncertainty = diagnostics(path, new[0])["energy_uncertainty"]
    assert isinstance(uncertainty, float) and uncertainty == pytest.approx(record["factor"] * deviations[0])


def test_error_bars_are_refused_where_energies_are_not_linear_in_the_features(tmp_path):
    claims = {**METADATA, "message_passing_layers": 1, "equivariant": True}
    export_model(Squared(), tmp_path / "squared.pt", claims)
    new = labelled([silicon(0.2, seed=5)], [1.0])
    with pytest.raises(MLIPError, match="`calibration`: expected a model whose energies are linear in"):
        attach_leverage(tmp_path / "squared.pt", training_data(), tmp_path / "new.pt", new)
    assert not (tmp_path / "new.pt").exists()
    info = attach_leverage(tmp_path / "squared.pt", training_data(), tmp_path / "new.pt")
    assert info.training["leverage"]["calibration"] is None
    assert diagnostics(tmp_path / "new.pt", new[0])["leverage"].shape == (8,)


def test_calibration_needs_energies(plain, tmp_path):
    with pytest.raises(DataError, match="`calibration`: expected a reference energy in every structure"):
        attach_leverage(plain, training_data(), tmp_path / "new.pt", [silicon()])


# ---- the file ------------------------------------------------------------------------------------


def members_of(path) -> dict[str, bytes]:
    return {name: content for name, (content, _) in archive.strip(path.read_bytes()).items()}


def test_attaching_changes_the_document_and_adds_one_member(plain, attached):
    before, after = members_of(plain), members_of(attached)
    changed = {name for name in after if before.get(name) != after[name]}
    assert changed == {MEMBER, archive.DOCUMENT, archive.DIGEST}
    info = read_info(attached)
    assert info.members[MEMBER] == hashlib.sha256(after[MEMBER]).hexdigest()
    assert info.schema_version == 2 and load_model(plain, device="cpu").leverage is None


def test_another_leverage_takes_the_place_of_the_first(attached, tmp_path):
    attach_leverage(attached, training_data(2), tmp_path / "new.pt", rotations=1)
    attach_leverage(tmp_path / "new.pt", training_data(), tmp_path / "new.pt", rotations=1)
    record = read_info(tmp_path / "new.pt").training["leverage"]
    assert record["scale"] == read_info(attached).training["leverage"]["scale"]
    assert members_of(tmp_path / "new.pt").keys() == members_of(attached).keys()


def test_a_file_that_is_written_anew_keeps_it(attached, tmp_path):
    export_again(attached, tmp_path / "new.pt")
    atoms = silicon(0.2)
    expected, found = diagnostics(attached, atoms), diagnostics(tmp_path / "new.pt", atoms)
    np.testing.assert_allclose(found["leverage"], expected["leverage"], rtol=1e-9)


def test_an_export_of_a_network_does_not_claim_the_leverage_of_another(attached, tmp_path):
    info = export_model(
        random_network(direct_forces=True, direct_stress=True),
        tmp_path / "new.pt",
        {**METADATA, "training": read_info(attached).training},
    )
    assert "leverage" not in info.training


def changed_record(**changes):
    def edit(claims):
        claims["training"]["leverage"].update(changes)

    return {"edit": edit}


def removed(claims):
    del claims["members"][MEMBER]


def of_other_size(claims):
    claims["members"][MEMBER] = hashlib.sha256(b"\0" * 16).hexdigest()


REFUSED = {
    "altered": ({"members": {MEMBER: b"\0" * 16}}, f"archive member `{MEMBER}` was altered"),
    "taken out": ({"members": {MEMBER: None}}, f"archive was altered: `{MEMBER}` was .*removed"),
    "missing": ({"members": {MEMBER: None}, "edit": removed}, f"needs the member `{MEMBER}` of .*got"),
    "of another size": (
        {"members": {MEMBER: b"\0" * 16}, "edit": of_other_size},
        f"needs the member `{MEMBER}` of .* bytes, got 16",
    ),
    "a newer version": (changed_record(version=2), "`training.leverage.version` must be 1"),
    "another basis": (changed_record(basis="soap"), "`training.leverage.basis` must be"),
    "no size": (changed_record(size=0), "`training.leverage.size` must be between"),
    "no scale": (changed_record(scale=0.0), "`training.leverage.scale` must be a positive number"),
    "other species": (changed_record(blocks=[[8]]), "`training.leverage.blocks` must be lists"),
    "twice in blocks": (changed_record(blocks=[[14], [14]]), "`training.leverage.blocks` must be lists"),
    "no object": ({"edit": lambda claims: claims["training"].update(leverage=3)}, "must be an object"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_leverage_that_cannot_be_right_is_refused(attached, tmp_path, kind):
    changes, message = REFUSED[kind]
    path = rewrite(attached, tmp_path / "bad.pt", **changes)
    with pytest.raises(ModelFileError, match=message):
        load_model(path, device="cpu")


# ---- bad input -----------------------------------------------------------------------------------


def test_a_model_without_features(pair_model_path, tmp_path):
    with pytest.raises(MLIPError, match=r"pair.pt` must declare the output `features`.*, got energies"):
        attach_leverage(pair_model_path, training_data(), tmp_path / "new.pt")


def test_data_that_the_model_cannot_take(plain, tmp_path):
    with pytest.raises(DataError, match="`data`: expected at least one structure, got none"):
        attach_leverage(plain, [], tmp_path / "new.pt")
    with pytest.raises(StructureError, match="structure 1 of `data`: .*Ge"):
        attach_leverage(plain, [silicon(), bulk("Ge")], tmp_path / "new.pt")
    broken = silicon()
    broken.positions[2] = np.nan
    with pytest.raises(StructureError, match="structure 0 of `data`: .*finite"):
        attach_leverage(plain, [broken], tmp_path / "new.pt")
    with pytest.raises(DataError, match="`sigma`: expected a positive number"):
        attach_leverage(plain, training_data(1), tmp_path / "new.pt", sigma=-1.0, rotations=1)
    with pytest.raises(MLIPError, match="`rotations`: expected at least 1, got 0"):
        attach_leverage(plain, training_data(1), tmp_path / "new.pt", rotations=0)
    assert not list(tmp_path.iterdir())
