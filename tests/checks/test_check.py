"""Checks of models: sound ones pass, and every check catches a model that is broken in its way.

It also tests `continuity`, `graphs`, `physics`, `probe`.
"""

import dataclasses

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from broken_networks import (
    CUTOFF,
    SPECIES,
    Average,
    Broken,
    BrokenPotential,
    CountsNodes,
    Detached,
    ForgetsBeyondBlocks,
    InfiniteSlope,
    JumpInside,
    LinearCutoff,
    MessagePassing,
    NeedsEdges,
    NoImagesOfItself,
    NumbersAtoms,
    NumbersNeighbours,
    Remembers,
    StepCutoff,
    Undeclared,
    WritesInput,
    failures,
    make_model,
)
from toy import AnisotropicNetwork

from ase_mlip.checks import continuity as check_continuity
from ase_mlip.checks import graphs as check_graph
from ase_mlip.checks import physics as check_physics
from ase_mlip.checks.check import CHECKS, check, format_checks, passed
from ase_mlip.checks.probe import Probe, take_edges
from ase_mlip.checks.structures import default_structures, disordered_structure
from ase_mlip.errors import StructureError
from ase_mlip.graph.neighbors import build_graph
from ase_mlip.model_file.model import load_model
from ase_mlip.model_file.potential import Potential

# ---- sound models pass ---------------------------------------------------------------------------------


def test_sound_models_pass(pair_model_path, anisotropic_model_path):
    for path in (pair_model_path, anisotropic_model_path):
        results = check(path)
        assert passed(results), format_checks(results)


def test_a_given_structure_is_used(pair_model_path):
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.1, seed=0)
    results = check(pair_model_path, atoms)
    assert passed(results), format_checks(results)
    details = " ".join(result.detail for result in results)
    assert "Si8" in details


@pytest.mark.parametrize("pbc", [False, (True, False, True)])
def test_structures_with_open_ends_pass(pair_model_path, pbc):
    atoms = disordered_structure(np.array([14, 8, 8, 14]), pbc, np.random.default_rng(1))
    results = check(pair_model_path, atoms)
    assert passed(results), format_checks(results)


def test_a_single_atom_passes(anisotropic_model_path):
    results = check(anisotropic_model_path, Atoms("Si", cell=3 * np.eye(3), pbc=True))
    assert passed(results), format_checks(results)


def test_message_passing_passes_with_its_range():
    results = check(make_model(MessagePassing(), interaction_range=2 * CUTOFF))
    assert passed(results), format_checks(results)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("neighbours", [None, 8.0])
def test_random_pet_passes(tmp_path, layers, neighbours):
    from ase_mlip.model_file.model import export_model
    from ase_mlip.networks.pet.hypers import PETHypers
    from ase_mlip.networks.pet.pet import PET

    hypers = PETHypers(
        species=SPECIES,
        cutoff=3.5,
        num_neighbors_adaptive=neighbours,
        num_gnn_layers=layers,
        **{"d_pet": 8, "d_node": 8, "d_head": 8, "d_feedforward": 8, "num_heads": 2},
    )
    torch.manual_seed(0)
    network = PET(hypers)
    document = {
        name: getattr(hypers, name) for name in ("cutoff", "message_passing_layers", "interaction_range")
    }
    export_model(network, tmp_path / "pet.pt", {"name": "pet", "species": SPECIES, **document})
    results = check(tmp_path / "pet.pt")
    assert passed(results), format_checks(results)
    reach = {result.name: result.value for result in results}["reach of an atom's energy"]
    assert reach > hypers.interaction_range - hypers.cutoff  # the declared range is not a cutoff too large


# ---- every check catches its defect --------------------------------------------------------------------


@pytest.mark.parametrize(
    "network, check, names",
    [
        (
            MessagePassing,
            check_graph.halo,
            ["halo: energies", "halo: forces", "halo: virial", "thin halo: forces"],
        ),
        (MessagePassing, check_graph.reach, ["reach of an atom's energy"]),
        (StepCutoff, check_continuity.at_the_cutoff, ["continuity at the cutoff: energy"]),
        (LinearCutoff, check_continuity.at_the_cutoff, ["continuity at the cutoff: forces"]),
        (JumpInside, check_continuity.along_a_path, ["continuity on a path: energy"]),
        (StepCutoff, check_continuity.along_a_path, ["continuity on a path: energy"]),
        (LinearCutoff, check_continuity.along_a_path, ["continuity on a path: forces"]),
        (Detached, check_physics.forces, ["forces: finite differences"]),
        (Detached, check_physics.stress, ["stress: finite differences"]),
        (Average, check_graph.isolated_atom, ["isolated atom: finite"]),
        (Average, check_graph.halo, ["finite with truncated ghosts", "finite with padding"]),
        (InfiniteSlope, check_graph.halo, ["finite with truncated ghosts", "finite with padding"]),
        (WritesInput, check_graph.input_not_mutated, ["input not mutated"]),
        (Remembers, check_graph.input_not_mutated, ["input not mutated", "evaluated again: energies"]),
        (NumbersAtoms, check_graph.permutation, ["permuted atoms: energies"]),
        (NumbersNeighbours, check_graph.permutation, ["permuted neighbours: energies"]),
        (CountsNodes, check_graph.batch, ["batch equals single: energies", "batch equals single: forces"]),
        (CountsNodes, check_graph.halo, ["halo: energies", "padding changes nothing: energies"]),
        (
            NoImagesOfItself,
            check_graph.small_cell,
            ["small cell, 1 atom: energies", "small cell, 2 atoms: virial"],
        ),
        (ForgetsBeyondBlocks, check_graph.large_structure, ["large structure: energies"]),
        (Undeclared, check_graph.shapes_and_dtypes, ["shapes and dtypes"]),
    ],
)
def test_a_broken_network_fails(network, check, names):
    failed = failures(network(), check)
    assert set(names) <= set(failed)
    assert failures(Broken(), check) == []


def test_pair_cutoffs_are_crossed_where_they_are():
    """A network that ends at 4 Å jumps where its file says that silicon and oxygen end at 3 Å."""
    pair_cutoffs = {"O-Si": 3.0}
    model = make_model(Broken(), pair_cutoffs=pair_cutoffs)
    results = check_continuity.at_the_cutoff(Probe(model, default_structures(SPECIES)))
    assert not passed(results)
    assert "OSi 3," in results[0].detail


def test_linear_cutoff_has_a_continuous_energy():
    assert "continuity at the cutoff: energy" not in failures(LinearCutoff(), check_continuity.at_the_cutoff)


def test_an_error_is_a_failed_check():
    results = check(make_model(NeedsEdges()))
    failed = [result for result in results if result.passed is False]
    assert "empty" in [result.name for result in failed]
    assert all("max()" in result.detail for result in failed)
    assert not passed(results)


def derivatives(function):
    """A change of results with derivatives; others stay as they are."""
    return lambda outputs, *arguments: function(outputs, *arguments) if "forces" in outputs else outputs


def ignoring_weights(outputs, species, edge_index, edge_vectors, reverse_edges, weights, structure, *rest):
    zeros = torch.zeros_like(outputs["energy"])
    return {**outputs, "energy": zeros.index_add(0, structure, outputs["energies"])}


@pytest.mark.parametrize(
    "change, check, names",
    [
        (ignoring_weights, check_graph.domains, ["domains add up: energy", "domain without atoms: all zero"]),
        (
            derivatives(lambda outputs, *_: {**outputs, "forces": outputs["forces"] + 1e-6}),
            check_physics.sums,
            ["net force", "virial of a cluster: r ⊗ F"],
        ),
        (
            derivatives(lambda outputs, *_: {**outputs, "virials": 1.001 * outputs["virials"]}),
            check_physics.sums,
            ["sum of virials"],
        ),
        (
            derivatives(lambda outputs, *_: {**outputs, "virial": -outputs["virial"]}),
            check_physics.stress,
            ["stress: finite differences"],
        ),
        (
            derivatives(lambda outputs, *_: {**outputs, "forces": outputs["forces"].to(torch.float32)}),
            check_graph.shapes_and_dtypes,
            ["shapes and dtypes"],
        ),
        (
            lambda outputs, *_: {name: value for name, value in outputs.items() if name != "virials"},
            check_graph.shapes_and_dtypes,
            ["shapes and dtypes"],
        ),
        (
            derivatives(lambda outputs, *_: {**outputs, "forces": outputs["forces"] + 1e-3}),
            check_graph.isolated_atom,
            ["isolated atom: force and virial"],
        ),
        (
            derivatives(lambda outputs, *_: {**outputs, "energy": outputs["energy"] + 1e-3}),
            check_graph.empty,
            ["empty graph"],
        ),
        (
            lambda outputs, *_: {**outputs, "energies": outputs["energies"] * float("nan")},
            check_graph.shapes_and_dtypes,
            ["finite outputs"],
        ),
    ],
)
def test_a_broken_potential_fails(change, check, names):
    assert set(names) <= set(failures(BrokenPotential(change), check))


def test_symmetric_strains_do_not_see_the_torque():
    """A virial whose antisymmetric part has the wrong sign gives the right stress; the torque shows it."""
    network = AnisotropicNetwork(SPECIES, CUTOFF)
    sound, broken = Potential(network, {}), Potential(network, {})
    original = broken.forward

    def transposed(*arguments):
        outputs = original(*arguments)
        return {n: v.transpose(-1, -2) if n in ("virial", "virials") else v for n, v in outputs.items()}

    broken.forward = transposed
    assert failures(sound, check_physics.stress, check_physics.sums) == []
    failed = failures(broken, check_physics.stress, check_physics.sums)
    assert failed == ["torque: finite differences", "virial of a cluster: r ⊗ F"]


def test_translations_need_a_sound_neighbour_list(monkeypatch):
    def without_images(atoms, cutoff, pair_cutoffs=None):
        graph = build_graph(atoms, cutoff, pair_cutoffs)
        return take_edges(graph, (graph.shifts == 0).all(dim=1).nonzero().squeeze(1))

    def stretched(atoms, cutoff, pair_cutoffs=None):
        graph = build_graph(atoms, cutoff, pair_cutoffs)
        return dataclasses.replace(
            graph, edge_vectors=graph.edge_vectors * (1 + 1e-6 * atoms.positions[0, 0])
        )

    assert failures(Broken(), check_physics.translation) == []
    monkeypatch.setattr("ase_mlip.checks.probe.build_graph", without_images)
    assert "lattice translation: energies" in failures(Broken(), check_physics.translation)
    monkeypatch.setattr("ase_mlip.checks.probe.build_graph", stretched)
    assert "translation: energies" in failures(Broken(), check_physics.translation)


# ---- what is judged depends on the claims --------------------------------------------------------------


def test_equivariance_is_judged_only_if_claimed():
    network = AnisotropicNetwork(SPECIES, CUTOFF, direct=True)
    claims = {"outputs": ["energies", "direct_forces", "direct_stresses"]}
    checks = (check_physics.rotations, check_physics.stress)
    assert failures(network, *checks, **claims) == []
    failed = failures(network, *checks, equivariant=True, **claims)
    expected = {
        f"{name}: {key}" for name in ("24 rotations", "inversion") for key in ("forces", "direct_forces")
    }
    assert expected | {"a random rotation: energy", "virial, antisymmetric part"} <= set(failed)


def test_a_symmetrised_model_need_not_stand_every_rotation():
    """Averaged over the cube's rotations it is exact for those; others are reported."""
    claims = {"equivariant": True, "symmetrization": {"group": "octahedral"}}
    probe = Probe(make_model(Broken(), **claims), default_structures(SPECIES))
    verdicts = {result.name: result.passed for result in check_physics.rotations(probe)}
    assert verdicts["24 rotations: forces"] is True
    assert verdicts["a random rotation: forces"] is None


def test_a_loaded_model_is_converted_and_left_as_it_was(pair_model_path):
    model = load_model(pair_model_path)
    assert model.dtype == torch.float32
    results = {result.name: result for result in check(model)}
    assert results["forces: finite differences"].passed
    assert 0 < results["float32 - float64: forces"].value < 1e-5
    assert model.dtype == torch.float32
    assert model.module.network.network.strength.dtype == torch.float32


def test_derivatives_are_judged_only_if_claimed_and_in_float64(pair_model_path):
    checks = (check_physics.forces, check_physics.stress)
    assert failures(Detached(), *checks, conservative=False) == []
    results = check(pair_model_path, dtype=torch.float32)
    assert passed(results), format_checks(results)
    assert {result.passed for result in results if "finite differences" in result.name} == {None}


def test_direct_heads_are_reported(anisotropic_model_path):
    results = {result.name: result for result in check(anisotropic_model_path)}
    mean = results["direct forces: mean"]
    assert mean.passed is None
    assert mean.value > 1e-3
    assert results["halo: direct_stresses"].passed


# ---- the public edge -----------------------------------------------------------------------------------


def test_nonsense_structures_are_refused(pair_model_path):
    with pytest.raises(StructureError, match="Cu"):
        check(pair_model_path, bulk("Cu"))
    atoms = bulk("Si")
    atoms.positions[0, 0] = np.nan
    with pytest.raises(StructureError, match="positions"):
        check(pair_model_path, atoms)


def test_a_structure_may_be_a_file(pair_model_path, tmp_path):
    atoms = bulk("Si", cubic=True)
    atoms.write(tmp_path / "si.xyz")
    found = check(pair_model_path, structure=tmp_path / "si.xyz")
    assert [result.name for result in found] == [result.name for result in check(pair_model_path, atoms)]
    with pytest.raises(StructureError, match=r"`structure`: expected an `ase.Atoms` or the path"):
        check(pair_model_path, structure=3)


def test_the_given_structure_is_not_changed(pair_model_path):
    atoms = bulk("Si", cubic=True)
    before = atoms.copy()
    check(pair_model_path, atoms)
    assert atoms == before
    assert atoms.calc is None


def test_table_is_aligned_and_says_the_verdict(pair_model_path):
    results = check(pair_model_path)
    table = format_checks(results)
    lines = table.splitlines()
    assert len(lines) == len(results) + 4
    assert lines[-1].startswith("passed: ")
    for result, line in zip(results, lines[2:], strict=False):
        assert line.startswith(result.name)
        assert line.index(f"{result.value:.3e}") + 9 == lines[0].index("measured") + len("measured")
    assert format_checks(check(make_model(StepCutoff()))).splitlines()[-1].startswith("FAILED: ")


def test_two_runs_measure_the_same(pair_model_path):
    assert check(pair_model_path) == check(pair_model_path)


def test_every_check_says_what_it_does():
    assert all(check.__doc__ for check in CHECKS)
